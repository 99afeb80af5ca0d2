//! The HTTP server of the whole public port.
//!
//! In:    a listener, a router, a signal to stop.
//! Out:   answers over HTTP/1.1, HTTP/2 and WebSocket.
//! Keeps: at most `connections_max` connections, upgraded ones included; one more is answered
//!        503 with `Retry-After` and closed, so that a phone knows to come again.
//! Never: waits for ever: not for a head, a body, the next request, or a peer that stopped
//!        reading; drops a request that it has begun, until the drain's deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::{HeaderValue, Request, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use inzira_schemas::Problem;
use metrics::{counter, gauge};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::answer::Correlation;
use super::connection::{Guarded, Phase};
use super::timed_body::{BodyPace, TimedBody};

/// Bounds of the server, and what happens at each.
#[derive(Debug, Clone, PartialEq)]
pub struct ServeLimits {
    /// Connections at once, WebSockets included; one more is answered 503 and closed.
    pub connections_max: u32,
    /// The head of a request must be complete within this; else the connection is closed.
    pub head_max: Duration,
    /// A connection without a request is closed after this.
    pub idle_max: Duration,
    /// How long a body may let us wait in all, before its bytes are counted; else 408.
    pub body_grace: Duration,
    /// For every so many bytes of a body, a second more.
    pub body_bytes_per_s_min: u32,
    /// A peer that reads nothing for so long is cut off.
    pub stall_max: Duration,
    /// Bytes that one connection buffers while reading a head or writing an answer.
    pub buffer_bytes_max: usize,
    /// Most headers of a request; more are answered 431.
    pub headers_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// After the signal to stop, requests in flight have this long.
    pub drain_max: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            head_max: Duration::from_secs(10),
            idle_max: Duration::from_secs(75),
            body_grace: Duration::from_secs(10),
            body_bytes_per_s_min: 512,
            stall_max: Duration::from_secs(30),
            buffer_bytes_max: 64 * 1024,
            headers_max: 100,
            streams_max: 100,
            drain_max: Duration::from_secs(20),
        }
    }
}

/// The signal to stop, as handlers of long connections find it in the request's extensions.
#[derive(Debug, Clone, Default)]
pub struct Draining(pub CancellationToken);

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off at the deadline; 0 when everything was answered.
    pub cut_off: u32,
}

/// Over the cap this many are told so at once; more are closed without a word.
const REFUSALS_MAX: usize = 64;
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n\
content-type: application/problem+json\r\nconnection: close\r\ncontent-length: 73\r\n\r\n\
{\"status\":503,\"code\":\"unavailable\",\"detail\":\"too many connections: wait\"}";

/// Serves until `stop`, then drains.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    stop: CancellationToken,
) -> Drained {
    let server = Arc::new(Server {
        places: Arc::new(Semaphore::new(limits.connections_max as usize)),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        builder: builder(&limits),
        cut: CancellationToken::new(),
        router,
        limits,
        stop,
    });
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => server.welcome(stream, peer),
            Err(error) => {
                // Out of descriptors, or a peer that left: pause, so as not to spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    server.drain().await
}

struct Server {
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    builder: Builder<TokioExecutor>,
    cut: CancellationToken,
    router: Router,
    limits: ServeLimits,
    stop: CancellationToken,
}

fn builder(limits: &ServeLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_max)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.buffer_bytes_max.max(8 * 1024));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle_max)
        .keep_alive_timeout(limits.head_max)
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.buffer_bytes_max).unwrap_or(u32::MAX))
        .max_send_buf_size(limits.buffer_bytes_max);
    builder
}

impl Server {
    fn welcome(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            counter!("inzira_http_shed_total", "reason" => "connections").increment(1);
            if let Ok(slot) = Arc::clone(&self.refusals).try_acquire_owned() {
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(Duration::from_secs(2), refuse(stream)).await;
                    drop(slot);
                });
            }
            return;
        };
        let phase = Arc::new(Phase::default());
        let limits = &self.limits;
        let stream =
            Guarded::new(stream, Arc::clone(&phase), limits.head_max, limits.stall_max, place);
        let server = Arc::clone(self);
        tokio::spawn(async move { server.converse(stream, peer, phase).await });
    }

    async fn converse(
        self: Arc<Self>,
        stream: Guarded<TcpStream>,
        peer: SocketAddr,
        phase: Arc<Phase>,
    ) {
        gauge!("inzira_http_connections").increment(1.0);
        let server = Arc::clone(&self);
        let service = service_fn(move |request| {
            let (server, phase) = (Arc::clone(&server), Arc::clone(&phase));
            async move { server.answer(request, peer, phase).await }
        });
        let connection = self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = self.stop.cancelled() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.cut.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            // A peer's doing: slow, gone, or not speaking HTTP.
            tracing::debug!(%error, "a connection ended badly");
        }
        gauge!("inzira_http_connections").decrement(1.0);
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        phase: Arc<Phase>,
    ) -> Result<Response, std::convert::Infallible> {
        let many = request.version() == Version::HTTP_2;
        if many {
            phase.free()
        } else {
            phase.busy()
        }
        let timed_out = Arc::new(AtomicBool::new(false));
        let pace = BodyPace {
            grace: self.limits.body_grace,
            bytes_per_s_min: self.limits.body_bytes_per_s_min,
        };
        let correlation = Correlation::of(request.headers());
        let mut request =
            request.map(|body| Body::new(TimedBody::new(body, pace, Arc::clone(&timed_out))));
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Draining(self.stop.clone()));
        let mut response = self.router.clone().call(request).await?;
        let failed = response.status().is_client_error() || response.status().is_server_error();
        if timed_out.load(Ordering::Relaxed) && failed {
            response = too_slow(&correlation);
        }
        if !many {
            let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            if upgraded { phase.free() } else { phase.idle() }
        }
        Ok(response)
    }

    async fn drain(&self) -> Drained {
        let all = self.limits.connections_max;
        let everyone = Arc::clone(&self.places).acquire_many_owned(all);
        if tokio::time::timeout(self.limits.drain_max, everyone).await.is_ok() {
            return Drained { cut_off: 0 };
        }
        let free = u32::try_from(self.places.available_permits()).unwrap_or(all);
        self.cut.cancel();
        let cut_off = all.saturating_sub(free);
        tracing::warn!(cut_off, "connections were cut off at the drain's deadline");
        Drained { cut_off }
    }
}

/// Every room answers a slow body the same way, whatever its handler made of the error.
fn too_slow(correlation: &Correlation) -> Response {
    let problem = Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_too_slow",
        "send it again, in smaller parts on a slow line",
    );
    let mut response = problem.into_response::<Body>(correlation.text());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Says that there is no place, and reads what came, so that the answer is not lost to a reset.
async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(REFUSAL).await?;
    stream.shutdown().await?;
    let mut sink = [0; 4096];
    for _ in 0..16 {
        if stream.read(&mut sink).await? == 0 {
            break;
        }
    }
    Ok(())
}
