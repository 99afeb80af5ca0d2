//! The server against slow, silent and too many peers.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use futures::{SinkExt, StreamExt};
use inzira_ingest::listen::{Drained, ServeLimits, serve};
use support::{House, TOKEN, fix, reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;

struct Running {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<Drained>,
}

fn quick() -> ServeLimits {
    ServeLimits {
        head_max: Duration::from_millis(300),
        idle_max: Duration::from_millis(1_500),
        body_grace: Duration::from_millis(300),
        body_bytes_per_s_min: 1_000,
        drain_max: Duration::from_secs(3),
        ..ServeLimits::default()
    }
}

async fn run(router: Router, limits: ServeLimits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, router, limits, stop.clone()));
    Running { address, stop, server }
}

/// Whatever comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn request(body: &str) -> String {
    format!(
        "POST /api/v1/tracking/location HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_head_that_drips_in_is_cut_off_even_before_its_protocol_is_known() {
    let running = run(House::new().router, quick()).await;
    for begin in ["", "P", "GET / HT", "POST /osmand HTTP/1.1\r\nhost: x\r\nx-a: "] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        rest(&mut stream).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(1_200), "{begin:?} {took:?}");
    }
}

#[tokio::test]
async fn a_phone_may_rest_between_requests_but_not_within_one() {
    let running = run(House::new().router, quick()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let mut answer = vec![0; 4096];
    for second in 1..3 {
        stream.write_all(request(&fix(-second)).as_bytes()).await.unwrap();
        let read = stream.read(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..read]).contains("200 OK"));
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    stream.write_all(b"POST /api/v1/tracking/location HTTP/1.1\r\nhost:").await.unwrap();
    let begun = Instant::now();
    rest(&mut stream).await;
    assert!(begun.elapsed() < Duration::from_millis(1_000));
}

#[tokio::test]
async fn a_body_that_drips_in_is_answered_408_on_every_route() {
    let other = Router::new().route(
        "/other",
        post(|body: axum::Json<serde_json::Value>| async move { body.0.to_string() }),
    );
    let running = run(House::new().router.merge(other), quick()).await;
    for path in ["/api/v1/tracking/location", "/other"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: 100\r\n\r\n["
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let (mut reading, mut writing) = stream.split();
        let mut answer = String::new();
        let drip = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if writing.write_all(b" ").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            _ = reading.read_to_string(&mut answer) => {}
            () = drip => {}
        }
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_slow_but_steady_body_gets_through() {
    let running = run(House::new().router, quick()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let body = format!("{}{}", fix(-1), " ".repeat(4_000));
    let head = request(&body);
    for piece in head.as_bytes().chunks(700) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer[..read]).contains(&reply(1, 0, 0)));
}

#[tokio::test]
async fn one_connection_over_the_cap_is_told_to_come_again() {
    let limits = ServeLimits { connections_max: 2, ..quick() };
    let running = run(House::new().router, limits).await;
    let first = TcpStream::connect(running.address).await.unwrap();
    let _second = TcpStream::connect(running.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut third = TcpStream::connect(running.address).await.unwrap();
    third.write_all(request(&fix(-1)).as_bytes()).await.unwrap();
    let answer = rest(&mut third).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{body}");
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut fourth = TcpStream::connect(running.address).await.unwrap();
    fourth.write_all(request(&fix(-1)).as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = fourth.read(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer[..read]).contains("200 OK"));
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish_and_closes_the_idle() {
    let slow = Router::new().route(
        "/slow",
        get(|| async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            "done"
        }),
    );
    let running = run(slow, quick()).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop.cancel();
    assert!(rest(&mut busy).await.ends_with("done"));
    rest(&mut idle).await;
    assert_eq!(running.server.await.unwrap(), Drained { cut_off: 0 });
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn what_is_not_done_at_the_deadline_is_cut_off_and_counted() {
    let stuck =
        Router::new().route("/stuck", get(|| async { std::future::pending::<String>().await }));
    let running =
        run(stuck, ServeLimits { drain_max: Duration::from_millis(200), ..quick() }).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop.cancel();
    assert_eq!(running.server.await.unwrap(), Drained { cut_off: 1 });
    rest(&mut stream).await;
}

#[tokio::test]
async fn the_stream_answers_each_message_once_it_is_kept_and_closes_on_a_stop() {
    let house = House::new();
    let running = run(house.router.clone(), quick()).await;
    let url = format!("ws://{}/api/v1/tracking/stream", running.address);
    assert!(tokio_tungstenite::connect_async(&url).await.is_err());
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let mut say = async |message: Message| {
        socket.send(message).await.unwrap();
        match socket.next().await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(say(Message::text(fix(-1))).await, reply(1, 0, 0));
    assert_eq!(say(Message::text(format!("[{},{}]", fix(-1), fix(-2)))).await, reply(1, 1, 0));
    assert_eq!(say(Message::binary(fix(-2))).await, reply(0, 1, 0));
    assert!(say(Message::text("nonsense")).await.contains("\"status\":400"));
    *house.log.fail.lock().unwrap() = Some(|| inzira_event_log::LogError::Full);
    assert!(say(Message::text(fix(-3))).await.contains("\"status\":503"));
    *house.log.fail.lock().unwrap() = None;
    assert_eq!(say(Message::text(fix(-3))).await, reply(1, 0, 0));
    assert_eq!(house.log.fixes().len(), 3);
    running.stop.cancel();
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1001),
        other => panic!("{other:?}"),
    }
    drop(socket);
    assert_eq!(running.server.await.unwrap(), Drained { cut_off: 0 });
}

#[tokio::test]
async fn a_revoked_device_is_put_out_of_the_stream() {
    let house = House::new();
    let running = run(house.router.clone(), quick()).await;
    let mut request =
        format!("ws://{}/api/v1/tracking/stream", running.address).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    house.identity.revoked.store(true, std::sync::atomic::Ordering::SeqCst);
    socket.send(Message::text(fix(-1))).await.unwrap();
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 4401),
        other => panic!("{other:?}"),
    }
    assert!(house.log.fixes().is_empty());
}
