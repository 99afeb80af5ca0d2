//! The engine against the oracle: with 1, 2 and 3 workers, across kills, with every outcome that
//! a commit can have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use inzira_event_log::{NewRecord, Record};
use inzira_schemas::{Clock, HandClock, OrderId, Topic, wire};
use inzira_store::Opened;
use tokio_util::sync::CancellationToken;

use super::{START, fix, late, north, order_of};
use crate::oracle::Oracle;
use crate::stages::{INPUTS, Item, class_of};
use crate::testing::{Fault, MemoryBus, MemoryLog, memory_store};
use crate::{FlowConfig, FlowError, FlowHandle, recorded, start};

struct House {
    log: Arc<MemoryLog>,
    bus: Arc<MemoryBus>,
    store: Opened,
    clock: Arc<HandClock>,
}

impl House {
    fn new() -> Self {
        let clock = Arc::new(HandClock::at(START.plus_secs(400)));
        Self {
            log: MemoryLog::new(clock.clone()),
            bus: Arc::default(),
            store: memory_store(),
            clock,
        }
    }

    async fn start(&self, workers: usize, snapshot_ms: u64) -> (FlowHandle, CancellationToken) {
        let stop = CancellationToken::new();
        let config = FlowConfig {
            workers,
            snapshot_every: Duration::from_millis(snapshot_ms),
            ..FlowConfig::default()
        };
        let clock: Arc<dyn Clock> = self.clock.clone();
        let handle = start(
            config,
            self.log.clone(),
            self.bus.clone(),
            self.store.clone(),
            clock,
            stop.clone(),
        )
        .await
        .unwrap();
        (handle, stop)
    }

    /// All input has been taken in and committed.
    fn is_done(&self) -> bool {
        let mut cuts: BTreeMap<(String, u32), u64> = BTreeMap::new();
        for record in self.log.all(Topic::FlowProgress) {
            for cut in record.decode::<wire::FlowProgress>().unwrap().cuts {
                cuts.insert((cut.topic, cut.partition), cut.offset);
            }
        }
        let mut ends: BTreeMap<(String, u32), u64> = BTreeMap::new();
        for record in INPUTS.into_iter().flat_map(|topic| self.log.all(topic)) {
            ends.insert((record.topic.name().to_owned(), record.partition), record.offset + 1);
        }
        ends.iter().all(|(part, end)| cuts.get(part) == Some(end))
    }

    async fn wait_until_done(&self, handle: &FlowHandle) {
        let began = Instant::now();
        while !self.is_done() && handle.health().error.is_none() {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", handle.health());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What was committed, and what the oracle makes of the recorded cuts and clocks.
    fn committed_and_expected(&self) -> (Vec<Told>, Vec<Told>) {
        let outputs = [Topic::Positions, Topic::TrackingEvents, Topic::Trips, Topic::DeadLetter];
        let mut committed: Vec<Told> =
            outputs.into_iter().flat_map(|topic| self.log.all(topic)).map(told).collect();
        let inputs: Vec<Record> =
            INPUTS.into_iter().flat_map(|topic| self.log.all(topic)).collect();
        let mut oracle = Oracle::default();
        let mut cuts: BTreeMap<(u8, u32), u64> = BTreeMap::new();
        let mut expected = Vec::new();
        for progress in self.log.all(Topic::FlowProgress) {
            let epoch = recorded(progress.decode::<wire::FlowProgress>().unwrap());
            let mut items = Vec::new();
            for (class, partition, end) in &epoch.ends {
                let from = cuts.insert((*class, *partition), *end).unwrap_or(0);
                items.extend(
                    inputs
                        .iter()
                        .filter(|r| class_of(r.topic) == Some(*class) && r.partition == *partition)
                        .filter(|r| (from..*end).contains(&r.offset))
                        .filter_map(|r| Item::of(r.clone())),
                );
            }
            expected.extend(oracle.epoch(&epoch.tick, items).into_iter().map(|output| Told {
                topic: output.topic(),
                key: output.key.to_vec(),
                value: output.value.to_vec(),
            }));
        }
        committed.sort();
        expected.sort();
        (committed, expected)
    }

    fn event_ids(&self, topic: Topic) -> Vec<String> {
        self.log
            .all(topic)
            .into_iter()
            .map(|record| String::from_utf8(record.headers[0].value.to_vec()).unwrap())
            .collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    topic: Topic,
    key: Vec<u8>,
    value: Vec<u8>,
}

fn told(record: Record) -> Told {
    Told { topic: record.topic, key: record.key.to_vec(), value: record.value.to_vec() }
}

const DRIVERS: i64 = 24;
const STEPS: i64 = 60;

/// A fleet: every driver with an order, repeats, disorder, a backlog and bytes that are no fix.
fn fleet() -> Vec<Vec<NewRecord>> {
    let mut batches = Vec::new();
    let driver = |n: i64| format!("drv_fleet{n:04}");
    let order = |n: i64| format!("ord_fleet{n:04}");
    batches.push(
        (0..DRIVERS)
            .map(|n| NewRecord::of(&order_of(&order(n), 1, "assigned", &driver(n), 0)))
            .collect(),
    );
    for step in 0..STEPS {
        let mut batch = Vec::new();
        for n in 0..DRIVERS {
            let taken = step * 5 + if step % 7 == 3 { -7 } else { 0 };
            let place = north(3_000.0 - 55.0 * step as f64 + 11.0 * n as f64);
            let one = wire::Fix {
                seq: (n % 2 == 0).then_some(step as u64),
                ..fix(&driver(n), taken, place)
            };
            batch.push(NewRecord::of(&one));
            if (step + n) % 5 == 0 {
                batch.push(NewRecord::of(&one));
            }
            if n % 6 == 0 {
                let old = late(
                    fix(&driver(n), step * 5 - 9_000, north(20_000.0 - 40.0 * step as f64)),
                    9_100,
                );
                batch.push(NewRecord::on(Topic::GpsBacklog, &old));
            }
            if step == 20 {
                batch.push(NewRecord::of(&order_of(&order(n), 2, "picked_up", &driver(n), 100)));
            }
            if step == 57 && n % 3 == 0 {
                batch.push(NewRecord::of(&order_of(&order(n), 3, "delivered", &driver(n), 255)));
            }
        }
        if step == 30 {
            batch.push(NewRecord {
                value: vec![0xff; 8].into(),
                ..NewRecord::of(&fix(&driver(0), 1, north(0.0)))
            });
        }
        batches.push(batch);
    }
    batches
}

fn assert_whole(house: &House) {
    let (committed, expected) = house.committed_and_expected();
    let counts = |told: &[Told]| {
        let mut counts: BTreeMap<Topic, usize> = BTreeMap::new();
        for one in told {
            *counts.entry(one.topic).or_default() += 1;
        }
        counts
    };
    assert_eq!(counts(&committed), counts(&expected));
    assert!(committed == expected, "the same number of records, but not the same");
    for topic in [Topic::Positions, Topic::TrackingEvents, Topic::Trips] {
        let ids = house.event_ids(topic);
        assert_eq!(
            ids.iter().collect::<BTreeSet<_>>().len(),
            ids.len(),
            "{topic} holds an event twice"
        );
    }
    let positions = (DRIVERS * STEPS + DRIVERS / 6 * STEPS) as usize;
    assert_eq!(
        counts(&committed)[&Topic::Positions],
        positions,
        "one position for each distinct fix"
    );
    assert_eq!(counts(&committed)[&Topic::DeadLetter], 1);
    let mut arriving: BTreeMap<(Vec<u8>, String), usize> = BTreeMap::new();
    for record in house.log.all(Topic::TrackingEvents) {
        let event: wire::TrackingEvent = record.decode().unwrap();
        if event.envelope.unwrap().event_type == "ARRIVING" {
            *arriving.entry((record.key.to_vec(), event.leg)).or_default() += 1;
        }
    }
    assert_eq!(arriving.len(), DRIVERS as usize, "every delivery came near once");
    assert!(arriving.values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_workers_commits_what_the_oracle_says() {
    for workers in [1, 2, 3] {
        let house = House::new();
        let (handle, stop) = house.start(workers, 50).await;
        for batch in fleet() {
            house.log.append_now(batch);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        house.wait_until_done(&handle).await;
        assert!(handle.health().ready);
        stop.cancel();
        handle.join().await.unwrap();
        assert_whole(&house);
        let delivered = house.bus.closed.lock().unwrap().len() as i64;
        assert_eq!(delivered, DRIVERS / 3, "closed orders leave the live bus");
        assert_eq!(house.bus.orders.lock().unwrap().len() as i64, DRIVERS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_commit_loses_and_doubles_nothing() {
    let house = House::new();
    let mut batches = fleet().into_iter();
    let mut kills = 0;
    for round in 0_u32.. {
        let workers = 1 + (round as usize % 3);
        let (handle, stop) = house.start(workers, 30).await;
        let fault = if round % 2 == 0 { Fault::DieWritten } else { Fault::DieNotWritten };
        house.log.fault_after(round % 5, fault);
        for batch in batches.by_ref().take(5) {
            house.log.append_now(batch);
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
        house.wait_until_done(&handle).await;
        if handle.health().error.is_some() {
            kills += 1;
            assert!(matches!(handle.join().await, Err(FlowError::Log(_))));
            continue;
        }
        stop.cancel();
        let outcome = handle.join().await;
        if outcome.is_err() {
            kills += 1;
        } else if batches.len() == 0 && house.is_done() {
            break;
        }
        assert!(round < 200);
    }
    assert!(kills >= 8, "{kills}");
    assert_whole(&house);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_looked_up_and_never_guessed() {
    let house = House::new();
    let (handle, stop) = house.start(2, 1_000).await;
    for (index, batch) in fleet().into_iter().enumerate() {
        let fault = match index % 9 {
            2 => Some(Fault::UnknownWritten),
            5 => Some(Fault::UnknownNotWritten),
            8 => Some(Fault::Busy),
            _ => None,
        };
        if let Some(fault) = fault {
            house.log.fault_after(0, fault);
        }
        house.log.append_now(batch);
        tokio::time::sleep(Duration::from_millis(8)).await;
    }
    house.wait_until_done(&handle).await;
    stop.cancel();
    handle.join().await.unwrap();
    assert_whole(&house);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_of_two_flows_stops() {
    let house = House::new();
    let (older, _keep) = house.start(2, 1_000).await;
    house.log.append_now(fleet().remove(0));
    house.wait_until_done(&older).await;
    let (newer, stop) = house.start(2, 1_000).await;
    for batch in fleet().into_iter().skip(1) {
        house.log.append_now(batch);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    house.wait_until_done(&newer).await;
    assert!(matches!(
        older.join().await,
        Err(FlowError::Log(inzira_event_log::LogError::Fenced(_)))
    ));
    stop.cancel();
    newer.join().await.unwrap();
    assert_whole(&house);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_begins_at_a_snapshot_and_replays_in_silence() {
    let house = House::new();
    let (handle, stop) = house.start(2, 20).await;
    let batches = fleet();
    let half = batches.len() / 2;
    for batch in &batches[..half] {
        house.log.append_now(batch.clone());
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    house.wait_until_done(&handle).await;
    stop.cancel();
    handle.join().await.unwrap();
    let before = house.log.all(Topic::Positions).len();
    let (handle, stop) = house.start(3, 1_000).await;
    let began = Instant::now();
    while !handle.health().ready {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", handle.health());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(house.log.all(Topic::Positions).len(), before, "the replay tells nothing");
    for batch in &batches[half..] {
        house.log.append_now(batch.clone());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    house.wait_until_done(&handle).await;
    stop.cancel();
    handle.join().await.unwrap();
    assert_whole(&house);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_bus_shows_the_newest_position_of_an_open_order() {
    let house = House::new();
    house.clock.advance_secs(1_600);
    let (handle, stop) = house.start(2, 1_000).await;
    let driver = "drv_shown001";
    house.log.append_now(vec![NewRecord::of(&order_of(
        "ord_shown001",
        1,
        "picked_up",
        driver,
        1_900,
    ))]);
    for step in 0..10_i64 {
        house.log.append_now(vec![NewRecord::of(&fix(
            driver,
            1_950 + step * 5,
            north(2_000.0 - 50.0 * step as f64),
        ))]);
    }
    house.wait_until_done(&handle).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let order = OrderId::parse("ord_shown001").unwrap();
    let shown = house.bus.orders.lock().unwrap().get(&order).cloned().unwrap();
    assert_eq!(shown.measured_at, START.plus_secs(1_995));
    assert_eq!(shown.version, shown.measured_at.0 as u64);
    assert!(shown.eta_s.is_some() && shown.distance_m.unwrap() < 2_200.0);
    house.log.append_now(vec![NewRecord::of(&order_of(
        "ord_shown001",
        2,
        "delivered",
        driver,
        2_000,
    ))]);
    house.wait_until_done(&handle).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(*house.bus.closed.lock().unwrap(), [order]);
    // Silence is judged by what the log has told us, not by our own clock alone.
    house.clock.advance_secs(1_000);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.cancel();
    handle.join().await.unwrap();
    let trips: Vec<wire::Trip> =
        house.log.all(Topic::Trips).iter().map(|record| record.decode().unwrap()).collect();
    assert_eq!(trips.len(), 1);
    assert_eq!(trips[0].order_id, "ord_shown001");
}
