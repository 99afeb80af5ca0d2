//! What watchers see, in order, whatever happens.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::SinkExt;
use inzira_fan_out::FanOutLimits;
use serde_json::json;
use support::{House, Line, MemoryLog, TOKEN, quick};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_watcher_sees_a_snapshot_then_positions_and_events() {
    let house = House::new().await;
    house.publish(1).await;
    let mut line = house.watch("").await;
    let snapshot = line.frame().await;
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(snapshot["order_id"], house.order_id.as_str());
    assert_eq!(snapshot["state"], "assigned");
    assert_eq!(snapshot["destination"], json!({"lat": -1.9, "lon": 30.1}));
    assert_eq!(snapshot["cursor"], "e0");
    assert_eq!(snapshot["position"]["age_s"], 2.0);
    line.silent().await;
    house.clock.advance_secs(3);
    house.publish(2).await;
    assert_eq!(
        line.frame().await,
        json!({
            "type": "position", "order_id": house.order_id.as_str(), "lat": -1.90002, "lon": 30.05,
            "speed_mps": 8.25, "bearing_deg": 91.0, "accuracy_m": 5.0,
            "measured_at": "2025-06-15T15:06:38.000000Z", "age_s": 5.0, "eta_s": 95.0,
            "distance_m": 1234.6, "cursor": "e0",
        })
    );
    let id = house.say("ARRIVING", 1);
    assert_eq!(
        line.frame().await,
        json!({
            "type": "event", "order_id": house.order_id.as_str(), "event": "ARRIVING",
            "event_id": id, "at": "2025-06-15T15:06:40.000000Z", "cursor": "e1",
        })
    );
    house.publish(3).await;
    assert_eq!(line.frame().await["cursor"], "e1");
    // An older position never comes.
    house.publish(2).await;
    line.silent().await;
}

#[tokio::test]
async fn events_missed_during_a_break_come_first_and_once() {
    let house = House::new().await;
    let mut line = house.watch("").await;
    let cursor = line.frame().await["cursor"].as_str().unwrap().to_owned();
    drop(line);
    let ids: Vec<String> = (0..100).map(|n| house.say("ENTER", n)).collect();
    house.publish(7).await;
    let mut line = house.watch(&format!("?after={cursor}")).await;
    let snapshot = line.frame().await;
    assert_eq!(
        (snapshot["type"].as_str(), snapshot["cursor"].as_str()),
        (Some("snapshot"), Some("e0"))
    );
    for id in &ids {
        assert_eq!(line.not_position().await["event_id"], id.as_str());
    }
    let next = house.say("EXIT", 1);
    assert_eq!(line.not_position().await["event_id"], next.as_str());
}

#[tokio::test]
async fn an_order_does_not_see_the_events_of_another() {
    let house = House::new().await;
    let mut line = house.watch("").await;
    line.frame().await;
    for n in 0..50 {
        house.log.say(&inzira_schemas::OrderId::new(), "ARRIVING", n);
    }
    let id = house.say("ARRIVED", 1);
    assert_eq!(line.frame().await["event_id"], id.as_str());
}

/// Every event once, in order, across a start in the middle, breaks and resumes, while the
/// writer never pauses; with a window so small that some must be read from the log again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_or_doubled_between_snapshot_resume_and_live_tail() {
    let limits = FanOutLimits { window_bytes_max: 4_000, ..quick() };
    let house = std::sync::Arc::new(House::with(limits, MemoryLog::default()).await);
    let writer = {
        let house = house.clone();
        std::thread::spawn(move || {
            let ids: Vec<String> = (0..3_000)
                .map(|n| {
                    if n % 7 == 0 {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                    house.log.say(&inzira_schemas::OrderId::new(), "ENTER", n);
                    house.say("ENTER", n)
                })
                .collect();
            ids
        })
    };
    let (mut seen, mut cursor, mut breaks) = (Vec::new(), "e0".to_owned(), 0_usize);
    while seen.len() < 3_000 {
        let mut line = house.watch(&format!("?after={cursor}")).await;
        assert_eq!(line.frame().await["cursor"], cursor.as_str());
        for _ in 0..(37 + 53 * (breaks % 11)) {
            if seen.len() == 3_000 {
                break;
            }
            let frame = line.frame().await;
            assert_eq!(frame["type"], "event", "{frame}");
            seen.push(frame["event_id"].as_str().unwrap().to_owned());
            cursor = frame["cursor"].as_str().unwrap().to_owned();
        }
        breaks += 1;
    }
    assert_eq!(seen, writer.join().unwrap());
    assert!(breaks > 5, "{breaks}");
    assert!(house.log.readers.load(Ordering::SeqCst) > 1, "nothing was read from the log again");
}

#[tokio::test]
async fn a_restart_of_the_service_does_not_break_a_cursor() {
    let log = MemoryLog::default();
    let house = House::with(quick(), log.clone()).await;
    let ids: Vec<String> = (0..10).map(|n| house.say("ENTER", n)).collect();
    let again = House::for_order(quick(), log, house.order_id.clone()).await;
    let mut line = again.watch("?after=e4").await;
    line.frame().await;
    for id in &ids[4..] {
        assert_eq!(line.frame().await["event_id"], id.as_str());
    }
    let id = again.say("EXIT", 1);
    assert_eq!(line.frame().await["event_id"], id.as_str());
}

async fn ends(line: &mut Line, code: u16) -> String {
    let frame = line.not_position().await;
    assert_eq!(
        (frame["type"].as_str(), frame["code"].as_u64()),
        (Some("close"), Some(u64::from(code))),
        "{frame}"
    );
    frame["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_cursor_that_is_none_of_ours_ends_with_4400() {
    let house = House::new().await;
    for n in 0..5 {
        house.say("ENTER", n);
    }
    for cursor in ["x", "e", "e999", "e-1"] {
        let mut line = house.watch(&format!("?after={cursor}")).await;
        ends(&mut line, 4400).await;
    }
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(house.ask("events?after=x", &bearer).await.0, 400);
    // What retention took cannot be resumed.
    let log = house.log.clone();
    log.forget_before(&house.order_id, 3);
    let again = House::for_order(quick(), log, house.order_id.clone()).await;
    let mut line = again.watch("?after=e1").await;
    line.frame().await;
    ends(&mut line, 4400).await;
}

#[tokio::test]
async fn access_is_by_header_cookie_or_first_frame_and_by_nothing_else() {
    let house = House::new().await;
    let cookie = format!("inzira_share={TOKEN}");
    let host = house.address.to_string();
    let own = format!("http://{host}");
    for headers in [
        vec![("authorization", "Bearer watcher-token")],
        vec![("cookie", cookie.as_str())],
        vec![("cookie", cookie.as_str()), ("origin", own.as_str())],
    ] {
        let mut line = house.connect("", &headers).await.unwrap();
        assert_eq!(line.frame().await["type"], "snapshot", "{headers:?}");
    }
    let refused = house.connect("", &[("authorization", "Bearer wrong")]).await.err().unwrap();
    assert!(refused.contains("401"), "{refused}");
    let foreign = [("cookie", cookie.as_str()), ("origin", "https://evil.example")];
    let refused = house.connect("", &foreign).await.err().unwrap();
    assert!(refused.contains("403"), "{refused}");
    let mut line = house.connect("", &[("cookie", "inzira_share=expired")]).await.unwrap();
    ends(&mut line, 4401).await;

    let mut line = house.connect("", &[]).await.unwrap();
    line.0.send(Message::text(format!(r#"{{"type":"auth","token":"{TOKEN}"}}"#))).await.unwrap();
    assert_eq!(line.frame().await["type"], "snapshot");
    for first in [Some(r#"{"type":"auth","token":"wrong"}"#), Some("hello"), None] {
        let mut line = house.connect("", &[]).await.unwrap();
        if let Some(first) = first {
            line.0.send(Message::text(first)).await.unwrap();
        }
        ends(&mut line, 4401).await;
    }
    let other = House::new().await;
    let missing = other.ask("location", "authorization: Bearer wrong\r\n").await;
    assert_eq!(missing.0, 401);
    other.identity.revoked.store(true, Ordering::SeqCst);
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(other.ask("location", &bearer).await.0, 404);
    assert_eq!(other.ask("events", &bearer).await.0, 404);
}

#[tokio::test]
async fn revoked_access_ends_a_line_soon_even_while_the_client_keeps_talking() {
    let house = House::new().await;
    let mut line = house.watch("").await;
    line.frame().await;
    house.identity.revoked.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        let _ = line.0.send(Message::text("noise")).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ends(&mut line, 4401).await;
}

#[tokio::test]
async fn a_delivered_order_says_so_and_ends_kindly_without_further_positions() {
    let house = House::new().await;
    let mut line = house.watch("").await;
    line.frame().await;
    house.say("DELIVERED", 1);
    assert_eq!(line.frame().await["event"], "DELIVERED");
    house.publish(9).await;
    house.identity.revoked.store(true, Ordering::SeqCst);
    let frame = line.frame().await;
    assert_eq!(
        (frame["code"].as_u64(), frame["reason"].as_str()),
        (Some(1000), Some("order closed"))
    );
    // Coming late to a closed order: its state, no position, and the same end.
    house.identity.revoked.store(false, Ordering::SeqCst);
    house.identity.view.lock().unwrap().state = "delivered".into();
    let mut line = house.watch("").await;
    let snapshot = line.frame().await;
    assert_eq!(snapshot["state"], "delivered");
    assert!(snapshot.get("position").is_none());
    assert_eq!(line.frame().await["code"], 1000);
}

#[tokio::test]
async fn a_changed_destination_comes_as_a_new_snapshot() {
    let house = House::new().await;
    let mut line = house.watch("").await;
    line.frame().await;
    house.identity.view.lock().unwrap().destination.lat = -2.0;
    let frame = line.frame().await;
    assert_eq!(
        (frame["type"].as_str(), frame["destination"]["lat"].as_f64()),
        (Some("snapshot"), Some(-2.0))
    );
}

#[tokio::test]
async fn a_bus_that_goes_away_is_said_once_and_found_again() {
    let house = House::new().await;
    house.publish(1).await;
    let mut line = house.watch("").await;
    line.frame().await;
    house.bus.drop_watchers();
    assert_eq!(line.frame().await, json!({"type": "stale", "age_s": 2.0}));
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(house.ask("location", &bearer).await.0, 503);
    let mut late = house.watch("").await;
    assert_eq!(late.frame().await["type"], "snapshot");
    assert_eq!(late.frame().await, json!({"type": "stale", "age_s": null}));
    // Events go on meanwhile.
    house.say("ARRIVING", 1);
    assert_eq!(line.frame().await["event"], "ARRIVING");
    house.bus.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(250)).await;
    house.publish(2).await;
    assert_eq!(line.frame().await["type"], "position");
}

#[tokio::test]
async fn a_quiet_line_is_pinged() {
    let limits = FanOutLimits { ping_every: Duration::from_millis(100), ..quick() };
    let house = House::with(limits, MemoryLog::default()).await;
    let mut line = house.watch("").await;
    line.frame().await;
    assert_eq!(line.frame().await, json!({"type": "ping"}));
    assert_eq!(line.frame().await, json!({"type": "ping"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_costs_only_itself() {
    let house = House::new().await;
    let mut stalled = house.watch("").await;
    stalled.frame().await;
    let mut quick = house.watch("").await;
    quick.frame().await;
    // Far more than the sockets' buffers hold; the quick one keeps up with the newest.
    let begun = std::time::Instant::now();
    let mut version = 0;
    while house.watchers() == 2 && begun.elapsed() < Duration::from_secs(20) {
        for _ in 0..200 {
            version += 1;
            house.publish(version).await;
            house.say("ENTER", version);
        }
        let newest = -1.9 - version as f64 * 1e-5;
        loop {
            let frame = quick.frame().await;
            if frame["lat"].as_f64().is_some_and(|lat| (lat - newest).abs() < 1e-6) {
                break;
            }
        }
    }
    assert_eq!(house.watchers(), 1, "the stalled one was closed");
    // What it can still read ends with where it may go on.
    let mut cursor = String::new();
    let end = loop {
        match tokio::time::timeout(Duration::from_secs(2), futures::StreamExt::next(&mut stalled.0))
            .await
        {
            Ok(Some(Ok(Message::Text(text)))) => {
                let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
                cursor = frame["cursor"].as_str().unwrap_or(&cursor).to_owned();
            }
            other => break other,
        }
    };
    let mut line = house.watch(&format!("?after={cursor}")).await;
    assert_eq!(line.frame().await["cursor"], cursor.as_str(), "{end:?}");
    assert_eq!(line.not_position().await["type"], "event");
}

#[tokio::test]
async fn a_stop_closes_lines_spread_out_with_a_hint_when_to_come_back() {
    let mut house = House::new().await;
    let mut lines = Vec::new();
    for _ in 0..10 {
        let mut line = house.watch("").await;
        line.frame().await;
        lines.push(line);
    }
    house.stop.cancel();
    let mut hints = std::collections::BTreeSet::new();
    for line in &mut lines {
        hints.insert(ends(line, 1001).await);
    }
    assert!(hints.len() > 1, "{hints:?}");
    let handle = house.handle.take().unwrap();
    tokio::time::timeout(Duration::from_secs(3), handle.join()).await.unwrap();
}

#[tokio::test]
async fn over_the_cap_a_watcher_is_told_to_come_again() {
    let limits = FanOutLimits { watchers_max: 1, ..quick() };
    let house = House::with(limits, MemoryLog::default()).await;
    let mut line = house.watch("").await;
    line.frame().await;
    let bearer = format!("Bearer {TOKEN}");
    let refused = house.connect("", &[("authorization", &bearer)]).await.err().unwrap();
    assert!(refused.contains("503"), "{refused}");
}

#[tokio::test]
async fn server_sent_events_are_the_same_frames_with_the_cursor_as_id() {
    let house = House::new().await;
    house.publish(1).await;
    let ids: Vec<String> = (0..3).map(|n| house.say("ENTER", n)).collect();
    house.say("DELIVERED", 9);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let bearer = format!("authorization: Bearer {TOKEN}\r\nlast-event-id: e1\r\n");
    let (status, body) = house.ask("events", &bearer).await;
    assert_eq!(status, 200);
    let lines: Vec<&str> = body
        .lines()
        .filter(|line| line.starts_with("data: ") || line.starts_with("id: "))
        .collect();
    let (data, cursors): (Vec<&str>, Vec<&str>) =
        lines.iter().partition(|line| line.starts_with("data: "));
    assert!(data[0].contains("\"snapshot\"") && data[0].contains("\"cursor\":\"e1\""), "{body}");
    assert!(data[1].contains(&ids[1]) && data[2].contains(&ids[2]), "{body}");
    assert!(data[3].contains("DELIVERED") && data[4].contains("order closed"), "{body}");
    assert_eq!(cursors, ["id: e1", "id: e2", "id: e3", "id: e4"]);
}

#[tokio::test]
async fn a_plain_question_is_answered_with_the_last_position_and_its_age() {
    let house = House::new().await;
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let (status, body) = house.ask("location", &bearer).await;
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["position"], &answer["age_s"]), (200, &json!(null), &json!(null)));
    house.publish(1).await;
    house.say("ARRIVING", 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (_, body) = house.ask("location?after=e0", &bearer).await;
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["measured_at"], "2025-06-15T15:06:38.000000Z");
    assert_eq!((answer["age_s"].as_f64(), answer["eta_s"].as_f64()), (Some(2.0), Some(95.4)));
    assert_eq!(answer["position"]["lat"], -1.90001);
    assert_eq!(answer["events"][0]["event"], "ARRIVING");
    assert_eq!(answer["cursor"], "e1");
    assert_eq!(house.ask("location", "").await.0, 401);
}
