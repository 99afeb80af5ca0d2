//! What devices are answered, and what is in the log by then.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use inzira_event_log::LogError;
use inzira_ingest::{IngestLimits, Pace};
use inzira_schemas::{Topic, event_id, wire};
use prost::Message;
use support::{House, NOW, SECRET_ID, TOKEN, fix, post, reply, with_header};

#[tokio::test]
async fn a_fix_is_in_the_log_when_the_phone_is_answered() {
    let house = House::new();
    let (status, body) = house.post(fix(-1)).await;
    assert_eq!((status, body), (StatusCode::OK, reply(1, 0, 0)));
    let fixes = house.log.fixes();
    let (topic, fix) = &fixes[0];
    let device = &house.identity.device;
    assert_eq!(*topic, Topic::GpsFixes);
    assert_eq!(fix.driver_id, device.driver_id.as_str());
    assert_eq!(fix.device_id, device.device_id.as_str());
    assert_eq!((fix.protocol.as_str(), fix.time_source.as_str()), ("json", "device"));
    assert_eq!((fix.accuracy_m, fix.speed_mps, fix.bearing_deg), (Some(5.0), Some(8.5), None));
    assert_eq!(fix.received_at_us, NOW.0);
    assert_eq!(fix.measured_at_us, NOW.plus_secs(-1).0);
    assert_eq!(
        fix.h3_r9,
        inzira_schemas::cell::cell_r9(inzira_schemas::Point { lat: -1.9441, lon: 30.0619 })
    );
    let expected = event_id(&[
        b"fix",
        device.device_id.as_str().as_bytes(),
        &fix.measured_at_us.to_le_bytes(),
        &(-19_441_000_i64).to_le_bytes(),
        &300_619_000_i64.to_le_bytes(),
    ]);
    let envelope = fix.envelope.as_ref().unwrap();
    assert_eq!(
        (envelope.event_id.as_str(), envelope.event_type.as_str()),
        (expected.as_str(), "fix.accepted")
    );
}

#[tokio::test]
async fn nothing_is_acknowledged_before_the_log_has_answered() {
    let house = House::new();
    house.log.hold.store(true, Ordering::SeqCst);
    let request = house.post(fix(-1));
    tokio::pin!(request);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut request).await.is_err());
    house.log.release.notify_one();
    assert_eq!(request.await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_log_that_fails_acknowledges_nothing_and_forgets_nothing() {
    let house = House::new();
    let failures: [fn() -> LogError; 4] = [
        || LogError::Busy("x".into()),
        || LogError::Full,
        || LogError::Unknown("x".into()),
        || LogError::Poisoned("x".into()),
    ];
    for failure in failures {
        *house.log.fail.lock().unwrap() = Some(failure);
        for request in [
            post("/api/v1/tracking/location", fix(-1)),
            post("/osmand?lat=1.5&lon=2&timestamp=1749999999", ""),
            post("/gpslogger?lat=1.5&lon=2&time=1749999999", ""),
            post("/owntracks", r#"{"_type":"location","lat":1,"lon":2,"tst":1749999999}"#),
        ] {
            let (status, headers, body) = house.send_whole(request).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(headers.contains_key("retry-after"));
            assert!(!body.contains("accepted"), "{body}");
        }
    }
    assert!(house.log.fixes().is_empty());
    // The retry is not taken for a repeat.
    *house.log.fail.lock().unwrap() = None;
    assert_eq!(house.post(fix(-1)).await.1, reply(1, 0, 0));
    assert_eq!(house.post(fix(-1)).await.1, reply(0, 1, 0));
}

#[tokio::test]
async fn only_a_secret_lets_a_sender_in() {
    let house = House::new();
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let strangers = [
        Request::post("/api/v1/tracking/location").body(Body::from(fix(0))).unwrap(),
        with_header(post("/api/v1/tracking/location", fix(0)), "authorization", "Bearer wrong"),
        get("/osmand?lat=1&lon=2"),
        get("/osmand?id=123456&lat=1&lon=2"),
        get("/osmand?id=0123456789abcdef0123456789abcdef&lat=1&lon=2"),
        get("/gpslogger?aid=9774d56d682e549c&lat=1&lon=2"),
        Request::post("/osmand").body(Body::from("not even a form")).unwrap(),
        Request::post("/owntracks").body(Body::from(r#"{"_type":"location","tid":"JJ"}"#)).unwrap(),
    ];
    for request in strangers {
        let what = format!("{request:?}");
        assert_eq!(house.send(request).await.0, StatusCode::UNAUTHORIZED, "{what}");
    }
    assert!(house.log.records.lock().unwrap().is_empty());
    let basic = "Basic ".to_owned() + &base64("anyone:".to_owned() + TOKEN);
    let known = [
        get(&format!("/osmand?id={SECRET_ID}&lat=1.5&lon=2")),
        get(&format!("/osmand/?deviceid={SECRET_ID}&lat=1.6&lon=2")),
        Request::post("/osmand").body(Body::from(format!("id={SECRET_ID}&lat=1.7&lon=2"))).unwrap(),
        Request::post("/osmand/")
            .body(Body::from(format!(r#"{{"location":{{"coords":{{"latitude":1.8,"longitude":2}}}},"device_id":"{SECRET_ID}"}}"#)))
            .unwrap(),
        get(&format!("/gpslogger?id={SECRET_ID}&lat=1.9&longitude=2")),
        Request::post(format!("/owntracks?id={SECRET_ID}"))
            .body(Body::from(r#"{"_type":"location","lat":1,"lon":2,"tst":1749999999}"#))
            .unwrap(),
        with_header(post("/owntracks", r#"{"_type":"location","lat":1.1,"lon":2,"tst":1749999999}"#), "authorization", &basic),
    ];
    for request in known {
        let what = format!("{request:?}");
        assert_eq!(house.send(request).await.0, StatusCode::OK, "{what}");
    }
    assert_eq!(house.log.fixes().len(), 7);
    house.identity.down.store(true, Ordering::SeqCst);
    assert_eq!(house.post(fix(-9)).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

fn base64(text: String) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn names_that_prove_nothing_are_passed_on_as_hints_and_do_no_harm() {
    let house = House::new();
    let body = r#"{"_type":"location","lat":1,"lon":2,"tst":1749999999,"tid":"JJ","topic":"owntracks/jane/phone"}"#;
    let request = with_header(post("/owntracks", body), "x-limit-d", "tablet");
    assert_eq!(house.send(request).await, (StatusCode::OK, "[]".into()));
    assert_eq!(house.send(post("/owntracks", body)).await, (StatusCode::OK, "[]".into()));
    let request = post("/osmand?id=short-name&lat=3&lon=4&timestamp=1749999999", "");
    assert_eq!(house.send(request).await.0, StatusCode::OK);
    let hints = house.identity.hints.lock().unwrap().clone();
    let said = |hint: &str| hints.contains(&Some(hint.to_owned()));
    assert!(said("tablet") && said("phone") && said("short-name"), "{hints:?}");
}

#[tokio::test]
async fn phones_are_answered_2xx_whatever_they_send_and_nothing_is_lost() {
    let house = House::new();
    let odd = [
        ("/osmand", "{\"location\":", ""),
        ("/osmand", "\u{1}\u{2}", "Heartbeat"),
        ("/osmand?lat=95&lon=2", "", ""),
        ("/owntracks", "garbage", ""),
        ("/owntracks", r#"{"_type":"encrypted","data":"abc"}"#, ""),
        ("/gpslogger?lat=x&lon=y", "", ""),
    ];
    for (path, body, _) in odd {
        let (status, _) = house.send(post(path, body)).await;
        assert_eq!(status, StatusCode::OK, "{path} {body}");
    }
    let letters = house.log.dead_letters();
    let seen: Vec<(&str, &str)> =
        letters.iter().map(|letter| (letter.source.as_str(), letter.reason.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("osmand", "unreadable"),
            ("osmand", "out_of_range"),
            ("owntracks", "unreadable"),
            ("owntracks", "encrypted"),
            ("gpslogger", "no_position"),
        ]
    );
    assert_eq!(letters[0].body, b"{\"location\":");
    assert_eq!(letters[1].body, b"lat=95&lon=2");
    let (status, body) = house
        .send(with_header(post("/osmand", "\u{1f}not gzip"), "content-encoding", "gzip"))
        .await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
    let request = with_header(post("/owntracks", "x"), "content-encoding", "br");
    assert_eq!(house.send(request).await.0, StatusCode::OK);
    assert_eq!(house.log.dead_letters().len(), 7);
}

#[tokio::test]
async fn a_dead_letter_is_cut_and_holds_no_secret() {
    let house = House::new();
    let long = format!("{{\"_type\":\"location\",\"note\":\"{}\"", "x".repeat(100_000));
    house.send(post("/owntracks", long)).await;
    let request =
        Request::get(format!("/osmand?id={SECRET_ID}&lat=99&lon=2")).body(Body::empty()).unwrap();
    house.send(request).await;
    let letters = house.log.dead_letters();
    assert_eq!(letters[0].body.len(), 64 * 1024);
    assert_eq!(letters[1].body, b"id=***&lat=99&lon=2");
}

#[tokio::test]
async fn messages_that_are_no_positions_are_2xx_and_leave_the_log_alone() {
    let house = House::new();
    for (path, body) in [
        ("/owntracks", r#"{"_type":"lwt","tst":1749999999}"#),
        ("/owntracks", r#"[{"_type":"transition"},{"_type":"card"},{"_type":"status"}]"#),
        ("/owntracks", ""),
    ] {
        assert_eq!(house.send(post(path, body)).await, (StatusCode::OK, "[]".into()));
    }
    let heartbeat = post("/osmand", "timestamp=1749999999&batt=50");
    assert_eq!(house.send(heartbeat).await, (StatusCode::OK, String::new()));
    assert!(house.log.records.lock().unwrap().is_empty());
}

#[tokio::test]
async fn our_json_says_what_it_set_aside_and_400_only_when_it_is_no_json() {
    let house = House::new();
    let body = format!(
        r#"[{}, {{"measured_at":"2025-06-15T15:00:00Z","lat":0,"lon":0}}, {{"lat":1,"lon":2}}, 7,
            {{"measured_at":1749999999,"lat":1,"lon":2,"mock":true}}]"#,
        fix(-1)
    );
    let (status, text) = house.post(body).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        text,
        r#"{"accepted":1,"repeated":0,"set_aside":4,"reasons":{"mock":1,"no_time":1,"null_island":1,"unreadable":1}}"#
    );
    let letters = house.log.dead_letters();
    assert_eq!(letters.len(), 4);
    assert!(letters.iter().any(|letter| letter.body == br#"{"lat":1,"lon":2}"#));
    for body in ["", "lat=1&lon=2", "[1,", "\u{feff}"] {
        let (status, headers, text) =
            house.send_whole(post("/api/v1/tracking/location", body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {text}");
        assert_eq!(headers["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn arrays_lines_protobuf_gzip_and_zstd_are_all_the_same_fixes() {
    let house = House::new();
    let path = "/api/v1/tracking/location";
    let lines = format!("{}\n{}\n", fix(-1), fix(-2));
    assert_eq!(house.post(lines.clone()).await.1, reply(2, 0, 0));
    let array = format!("[{},{}]", fix(-1), fix(-3));
    assert_eq!(house.post(array).await.1, reply(1, 1, 0));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines.as_bytes()).unwrap();
    let request = with_header(post(path, gzip.finish().unwrap()), "content-encoding", "gzip");
    assert_eq!(house.send(request).await.1, reply(0, 2, 0));
    let zstd = zstd::encode_all(lines.as_bytes(), 1).unwrap();
    let request = with_header(post(path, zstd), "content-encoding", "zstd");
    assert_eq!(house.send(request).await.1, reply(0, 2, 0));
    let fix = |seconds| wire::DeviceFix {
        measured_at_us: NOW.plus_secs(seconds).0,
        lat: -1.9441,
        lon: 30.0619,
        ..Default::default()
    };
    let fixes = wire::DeviceFixes { fixes: vec![fix(-1), fix(-4)] }.encode_to_vec();
    let request = with_header(post(path, fixes), "content-type", "application/x-protobuf");
    assert_eq!(house.send(request).await.1, reply(1, 1, 0));
    let request =
        with_header(post(path, fix(-5).encode_to_vec()), "content-type", "application/x-protobuf");
    assert_eq!(house.send(request).await.1, reply(1, 0, 0));
    let request = with_header(post(path, "x"), "content-encoding", "br");
    assert_eq!(house.send(request).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let request = with_header(post(path, "x"), "content-encoding", "gzip");
    assert_eq!(house.send(request).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_backlog_goes_to_a_topic_of_its_own_and_a_fast_clock_is_set_back() {
    let house = House::new();
    let body = format!("[{},{},{}]", fix(-299), fix(-301), fix(3_600));
    assert_eq!(house.post(body).await.1, reply(3, 0, 0));
    let fixes = house.log.fixes();
    let topics: Vec<Topic> = fixes.iter().map(|(topic, _)| *topic).collect();
    assert_eq!(topics, [Topic::GpsFixes, Topic::GpsBacklog, Topic::GpsFixes]);
    assert_eq!(fixes[2].1.time_source, "clamped");
    assert_eq!(fixes[2].1.measured_at_us, NOW.0);
    // The same fix again, later: still the same id, and known as a repeat.
    house.clock.advance_secs(30);
    assert_eq!(house.post(fix(3_600)).await.1, reply(0, 1, 0));
    assert_eq!(
        house.post(fix(25 * 3_600)).await.1,
        r#"{"accepted":0,"repeated":0,"set_aside":1,"reasons":{"future":1}}"#
    );
}

#[tokio::test]
async fn a_repeat_is_one_by_its_count_too() {
    let house = House::new();
    let counted = |seq: u32, at: i64| fix(at).replace('{', &format!("{{\"seq\":{seq},"));
    assert_eq!(house.post(counted(1, -1)).await.1, reply(1, 0, 0));
    assert_eq!(house.post(counted(1, -2)).await.1, reply(0, 1, 0));
    assert_eq!(house.post(counted(2, -1)).await.1, reply(0, 1, 0));
    assert_eq!(house.post(counted(3, -3)).await.1, reply(1, 0, 0));
}

#[tokio::test]
async fn too_large_is_413_in_bytes_inflated_bytes_and_fixes() {
    let limits = IngestLimits {
        wire_bytes_max: 10_000,
        inflated_bytes_max: 20_000,
        fixes_max: 3,
        ..IngestLimits::default()
    };
    let house = House::with(limits);
    let path = "/api/v1/tracking/location";
    let large = vec![b' '; 10_001];
    assert_eq!(house.send(post(path, large.clone())).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let chunks = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 200])));
    assert_eq!(
        house.send(post(path, Body::from_stream(chunks))).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let bomb = zstd::encode_all(&vec![b' '; 50_000_000][..], 1).unwrap();
    let request = with_header(post(path, bomb), "content-encoding", "zstd");
    assert_eq!(house.send(request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(house.post("[1,2,3,4]").await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let array = r#"[{"_type":"lwt"},{"_type":"lwt"},{"_type":"lwt"},{"_type":"lwt"}]"#;
    assert_eq!(house.send(post("/owntracks", array)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn with_no_room_for_bodies_a_request_is_told_to_come_again() {
    let limits = IngestLimits {
        in_flight_bytes_max: 2_048,
        room_wait: Duration::from_millis(50),
        ..IngestLimits::default()
    };
    let house = House::with(limits);
    house.log.hold.store(true, Ordering::SeqCst);
    let first = house.post(format!("{}{}", fix(-1), " ".repeat(2_000)));
    tokio::pin!(first);
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut first).await.is_err());
    let (status, headers, _) = house.send_whole(post("/api/v1/tracking/location", fix(-2))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key("retry-after"));
    house.log.hold.store(false, Ordering::SeqCst);
    house.log.release.notify_one();
    assert_eq!(first.await.0, StatusCode::OK);
    assert_eq!(house.post(fix(-2)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_long_backlog_is_paced_by_a_late_answer_and_never_refused() {
    let pace =
        Pace { burst_fixes: 10.0, fixes_per_s: 100.0, delay_max: Duration::from_millis(200) };
    let house = House::with(IngestLimits { pace, ..IngestLimits::default() });
    let batch = |from: i64| {
        let fixes: Vec<String> = (from..from + 10).map(|second| fix(-1_000 - second)).collect();
        format!("[{}]", fixes.join(","))
    };
    for (from, tenths) in [(0, 0), (10, 1), (20, 2), (30, 2)] {
        let begun = std::time::Instant::now();
        assert_eq!(house.post(batch(from)).await, (StatusCode::OK, reply(10, 0, 0)));
        let took = begun.elapsed().as_millis();
        assert!((tenths * 100..tenths * 100 + 90).contains(&took), "from {from}: {took} ms");
    }
}

#[tokio::test]
async fn twenty_thousand_fixes_in_one_request_are_welcome() {
    let house = House::new();
    let fixes: Vec<String> = (0..20_000).map(|second| fix(-second)).collect();
    let body = zstd::encode_all(format!("[{}]", fixes.join(",")).as_bytes(), 1).unwrap();
    let request = with_header(post("/api/v1/tracking/location", body), "content-encoding", "zstd");
    assert_eq!(house.send(request).await.1, reply(20_000, 0, 0));
    assert_eq!(house.log.fixes().len(), 20_000);
}
