//! One fix from a phone to a buyer's map and into SQL, on real traces, on both sides of each seam.

use std::time::Duration;

use inzira_schemas::{Clock, Point, SystemClock};
use inzira_simulators::replay::{Counts, Pace, Plan, Protocol, Replay, schedule};
use inzira_simulators::traces;
use inzira_tests::driver::{book, drive, post_until};
use inzira_tests::house::trace_data;
use inzira_tests::ledger::Ledger;
use inzira_tests::probe::Probe;
use inzira_tests::{House, Mode};
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_sees_arriving_and_sql_counts_the_fixes_embedded() {
    a_buyer_sees_arriving_and_sql_counts_the_fixes(Mode::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_sees_arriving_and_sql_counts_the_fixes_on_real_services() {
    a_buyer_sees_arriving_and_sql_counts_the_fixes(Mode::Real).await;
}

async fn a_buyer_sees_arriving_and_sql_counts_the_fixes(mode: Mode) {
    let Some(mut house) = House::start(mode).await.unwrap() else { return };
    let operator = house.client("operator").await.unwrap();
    let vehicle = operator.enrol(&["moto-1".to_owned()]).await.unwrap().remove(0);
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::at(&folder.path().join("ledger")).unwrap());
    let mut probe = Probe::new(operator.clone(), vehicle.clone(), ledger);
    let stop = CancellationToken::new();

    let start = Point { lat: -1.9545, lon: 30.0606 };
    let pickup = Point { lat: -1.9500, lon: 30.0606 };
    let destination = Point { lat: -1.9430, lon: 30.0606 };
    probe.send(start, 0.0, 0.0, &stop).await.unwrap();
    let booked = book(&operator, &vehicle.driver_id, pickup, destination).await.unwrap();
    let watcher = house.watch(&booked.order_id, &booked.share).unwrap();
    // What is told before a watcher came is not told again.
    assert!(watcher.until(Duration::from_secs(20), |seen| !seen.frames.is_empty()).await);

    let tick = Duration::from_millis(200);
    drive(&mut probe, start, pickup, 25.0, tick, &stop).await.unwrap();
    let path = format!("/api/v1/orders/{}", booked.order_id);
    post_until(&operator, &format!("{path}/pickup"), &json!({})).await.unwrap();
    drive(&mut probe, pickup, destination, 25.0, tick, &stop).await.unwrap();
    let told = watcher.until(Duration::from_secs(15), |seen| seen.count("ARRIVING") == 2).await;
    assert!(told, "no ARRIVING for each leg: {:?}", watcher.seen().frames);
    post_until(&operator, &format!("{path}/deliver"), &json!({"pin": booked.pin})).await.unwrap();
    let closed = watcher
        .until(Duration::from_secs(10), |seen| {
            seen.frames.iter().any(|(_, frame)| frame["event"] == "DELIVERED")
        })
        .await;
    assert!(closed, "no DELIVERED: {:?}", watcher.seen().frames);
    let seen = watcher.end().await;
    assert_eq!(seen.frames[0].1["type"], "snapshot");
    let positions = seen.frames.iter().filter(|(_, frame)| frame["type"] == "position").count();
    assert!(positions > 10, "{positions} positions");

    let expected = i64::try_from(probe.sent()).unwrap();
    assert_eq!(house.count("SELECT count(*) FROM fixes").unwrap(), expected);
    assert_eq!(house.count("SELECT count(DISTINCT event_id) FROM fixes").unwrap(), expected);
    let state = "SELECT count(*) FROM orders WHERE state = 'delivered'";
    assert_eq!(house.count(state).unwrap(), 1);
    let heatmap =
        operator.get("/api/v1/analytics/revenue/heatmap?resolution=7&format=json").await.unwrap();
    assert!(heatmap.to_string().contains("RWF"), "{heatmap}");
    let took = house.stop().unwrap();
    assert!(took < Duration::from_secs(25), "left after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cabs_and_the_bus_are_counted_exactly_embedded() {
    the_cabs_and_the_bus_are_counted_exactly(Mode::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cabs_and_the_bus_are_counted_exactly_on_real_services() {
    the_cabs_and_the_bus_are_counted_exactly(Mode::Real).await;
}

/// San Francisco cabs and the Limerick bus, flat out through HTTP; SQL counts what was accepted,
/// less what the traces themselves repeat.
async fn the_cabs_and_the_bus_are_counted_exactly(mode: Mode) {
    let Some(data) = trace_data() else { return };
    let Some(mut house) = House::start(mode).await.unwrap() else { return };
    let read = traces::read_all(&[
        data.join("sf_cabspotting"),
        data.join("bus_304_limerick/304_to_UL_2019-02-18_0745.gpx"),
    ])
    .unwrap();
    let distinct: i64 = read.tracks.iter().map(|track| distinct_points(&track.points)).sum();
    let plan = Plan { pace: Pace::FlatOut, as_is: true, squeeze: false, last_s: None };
    let counts = Arc::new(Counts::default());
    let replay = Replay {
        service: house.client("operator").await.unwrap(),
        protocol: Protocol::Json,
        batch_fixes: 500,
        connections: 9,
        counts: counts.clone(),
        stop: CancellationToken::new(),
    };
    let plans = schedule(&read.tracks, plan, SystemClock.now());
    let summary = replay.run(plans).await.unwrap();
    println!("{summary}");
    assert_eq!(summary.unsent, 0);
    assert_eq!(summary.set_aside, 0);
    assert_eq!(house.count("SELECT count(*) FROM fixes").unwrap(), distinct);
    house.kill().unwrap();
    house.launch().await.unwrap();
    assert_eq!(house.count("SELECT count(*) FROM fixes").unwrap(), distinct, "after a kill");
    let by_driver = "SELECT count(DISTINCT driver_id) FROM fixes";
    assert_eq!(house.count(by_driver).unwrap(), i64::try_from(read.tracks.len()).unwrap());
}

/// Points that differ in time or place.
fn distinct_points(points: &[traces::TracePoint]) -> i64 {
    let fine = |degrees: f64| (degrees * 1e7).round() as i64;
    let mut seen: Vec<_> =
        points.iter().map(|p| (p.measured_at, fine(p.lat), fine(p.lon))).collect();
    seen.sort_unstable();
    seen.dedup();
    i64::try_from(seen.len()).unwrap_or(i64::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_watches_the_limerick_bus_arrive_embedded() {
    a_browser_watches_the_limerick_bus_arrive(Mode::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_watches_the_limerick_bus_arrive_on_real_services() {
    a_browser_watches_the_limerick_bus_arrive(Mode::Real).await;
}

/// The last three minutes of the bus at three times the speed, fresh; its order goes where it ends.
async fn a_browser_watches_the_limerick_bus_arrive(mode: Mode) {
    let Some(data) = trace_data() else { return };
    let Some(house) = House::start(mode).await.unwrap() else { return };
    let read =
        traces::read_file(&data.join("bus_304_limerick/304_to_UL_2019-02-18_0745.gpx")).unwrap();
    let points = &read.tracks[0].points;
    let end = points.last().unwrap();
    let far = points.iter().rev().find(|p| metres(p, end) > 550.0).unwrap();
    let last_s = (end.measured_at.0 - far.measured_at.0) / 1_000_000;
    let operator = house.client("operator").await.unwrap();
    let bus = operator.enrol(&[read.tracks[0].vehicle.clone()]).await.unwrap().remove(0);
    let pickup = Point { lat: far.lat, lon: far.lon };
    let destination = Point { lat: end.lat, lon: end.lon };
    let booked = book(&operator, &bus.driver_id, pickup, destination).await.unwrap();
    post_until(&operator, &format!("/api/v1/orders/{}/pickup", booked.order_id), &json!({}))
        .await
        .unwrap();
    let page = format!("{}t/{}", house.base(), booked.share);
    let browser = std::thread::spawn(move || watch_in_browser(&page));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let plan = Plan { pace: Pace::Times(3.0), as_is: false, squeeze: true, last_s: Some(last_s) };
    let replay = Replay {
        service: operator,
        protocol: Protocol::Osmand,
        batch_fixes: 1,
        connections: 1,
        counts: Arc::default(),
        stop: CancellationToken::new(),
    };
    let plans = schedule(&read.tracks, plan, SystemClock.now());
    let devices = [(bus.label.clone(), bus)].into();
    let summary = replay.run_as(plans, &devices).await.unwrap();
    assert_eq!(summary.unsent, 0);
    let told = browser.join().unwrap();
    assert!(told.is_ok(), "{told:?}");
}

fn metres(a: &traces::TracePoint, b: &traces::TracePoint) -> f64 {
    Point { lat: a.lat, lon: a.lon }.distance_m(Point { lat: b.lat, lon: b.lon })
}

/// Waits until the buyer's page announces ARRIVING, in headless Chromium.
fn watch_in_browser(page: &str) -> Result<String, String> {
    let web = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/web");
    if !web.join("node_modules/playwright-core").is_dir() {
        assert!(std::env::var("CI").is_err(), "no playwright-core: npm ci in api/web");
        println!("skipped the browser: no playwright-core (npm ci in api/web)");
        return Ok(String::new());
    }
    let output = std::process::Command::new("node")
        .args(["tools/watch.mjs", page, "240"])
        .current_dir(web)
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(text) } else { Err(text) }
}
