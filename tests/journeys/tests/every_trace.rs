//! Every kind of trace file that we have, through every device protocol, counted by driver.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use inzira_schemas::{Clock, SystemClock};
use inzira_simulators::replay::{Counts, Pace, Plan, Protocol, Replay, VehiclePlan, schedule};
use inzira_simulators::traces;
use inzira_tests::house::trace_data;
use inzira_tests::{House, Mode};
use tokio_util::sync::CancellationToken;

/// A folder of one maker's files, how its phones speak, and how many seconds before the end of
/// each track are enough.
const FOLDERS: [(&str, Protocol, i64); 8] = [
    ("bus_304_limerick", Protocol::Osmand, 600),
    ("comma2k19_segment", Protocol::Json, 60),
    ("geolife", Protocol::Owntracks, 180),
    ("gpslogger_phone_bergen", Protocol::Osmand, 3_600),
    ("munich_vehicle_barefoot", Protocol::Owntracks, 300),
    ("porto_taxi", Protocol::Osmand, 120),
    ("sf_cabspotting", Protocol::Json, 24 * 3_600),
    ("smartloc_berlin", Protocol::Json, 300),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_trace_is_counted_by_driver_embedded() {
    every_kind_of_trace_is_counted_by_driver(Mode::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_trace_is_counted_by_driver_on_real_services() {
    every_kind_of_trace_is_counted_by_driver(Mode::Real).await;
}

/// Flat out through HTTP, the newest of each folder now, so that some fixes are fresh and others
/// a backlog; then SQL counts each driver's fixes and positions.
async fn every_kind_of_trace_is_counted_by_driver(mode: Mode) {
    let Some(data) = trace_data() else { return };
    let Some(house) = House::start(mode).await.unwrap() else { return };
    let service = house.client("operator").await.unwrap();
    let mut expected = BTreeMap::new();
    for (folder, protocol, last_s) in FOLDERS {
        let mut read = traces::read_all(&[data.join(folder)]).unwrap();
        for track in &mut read.tracks {
            track.vehicle = format!("{folder} {}", track.vehicle);
        }
        let plan = Plan { pace: Pace::FlatOut, as_is: false, squeeze: false, last_s: Some(last_s) };
        let plans = schedule(&read.tracks, plan, SystemClock.now());
        let labels: Vec<String> = plans.iter().map(|plan| plan.vehicle.clone()).collect();
        let enrolled = service.enrol(&labels).await.unwrap();
        let devices: HashMap<_, _> =
            enrolled.into_iter().map(|vehicle| (vehicle.label.clone(), vehicle)).collect();
        for plan in &plans {
            let driver_id = devices[&plan.vehicle].driver_id.clone();
            let before = expected.insert(driver_id, distinct_fixes(plan, protocol));
            assert_eq!(before, None, "{} is two vehicles", plan.vehicle);
        }
        let planned: usize = plans.iter().map(|plan| plan.fixes.len()).sum();
        let replay = Replay {
            service: service.clone(),
            protocol,
            batch_fixes: 500,
            connections: 32,
            counts: Arc::new(Counts::default()),
            stop: CancellationToken::new(),
        };
        let summary = replay.run_as(plans, &devices).await.unwrap();
        println!("{folder}: {} vehicles by {protocol:?}: {summary}", devices.len());
        assert_eq!(summary.sent, planned as u64, "{folder}");
        assert_eq!((summary.unsent, summary.set_aside), (0, 0), "{folder}");
    }
    assert!(expected.values().all(|fixes| *fixes > 0), "{expected:?}");
    assert_eq!(by_driver(&house, "fixes"), expected, "fixes");
    // Each fix that is no repeat has one best position: the flow keeps what it would not believe,
    // and flags it.
    let began = Instant::now();
    while by_driver(&house, "positions") != expected && began.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(by_driver(&house, "positions"), expected, "positions");
}

/// Fixes that differ in time or place, as the protocol can tell them apart.
fn distinct_fixes(plan: &VehiclePlan, protocol: Protocol) -> u64 {
    let finest_us = match protocol {
        Protocol::Json => 1,
        Protocol::Osmand => 1_000,
        Protocol::Owntracks => 1_000_000,
    };
    let fine = |degrees: f64| (degrees * 1e7).round() as i64;
    let points = plan.fixes.iter().map(|fix| fix.point);
    let distinct: BTreeSet<_> =
        points.map(|p| (p.measured_at.0 / finest_us, fine(p.lat), fine(p.lon))).collect();
    distinct.len() as u64
}

/// Rows of a table by driver.
fn by_driver(house: &House, table: &str) -> BTreeMap<String, u64> {
    let sql = format!("SELECT driver_id, count(*) FROM {table} GROUP BY driver_id");
    let text = house.command(&["sql", &sql, "--format", "csv"]).unwrap();
    let row = |line: &str| {
        let (driver_id, rows) = line.split_once(',').unwrap();
        (driver_id.to_owned(), rows.trim().parse().unwrap())
    };
    text.lines().skip(1).map(row).collect()
}
