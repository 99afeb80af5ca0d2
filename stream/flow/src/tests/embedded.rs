//! The flow on the embedded log and the memory bus, as one machine runs it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inzira_event_log::{Access, EventLog, NewRecord, Position, Record, open};
use inzira_schemas::{Clock, HandClock, OrderId, Topic, wire};
use tokio_util::sync::CancellationToken;

use super::{START, fix, north, order_of};
use crate::testing::memory_store;
use crate::{FlowConfig, FlowHandle, start};

/// Every record of a topic.
async fn all(log: &Arc<dyn EventLog>, topic: Topic) -> Vec<Record> {
    let heads = log.heads(topic).await.unwrap();
    let from: Vec<Position> = heads
        .iter()
        .map(|head| Position { topic, partition: head.partition, offset: head.start })
        .collect();
    let log = log.clone();
    tokio::task::spawn_blocking(move || {
        let mut reader = log.reader(&from).unwrap();
        let mut found = Vec::new();
        while reader.positions().iter().any(|at| {
            heads.iter().any(|head| head.partition == at.partition && at.offset < head.end)
        }) {
            found.extend(reader.poll(1 << 20, Duration::from_millis(50)).unwrap());
        }
        found
    })
    .await
    .unwrap()
}

async fn wait_for(log: &Arc<dyn EventLog>, handle: &FlowHandle, positions: usize) {
    let began = Instant::now();
    while all(log, Topic::Positions).await.len() < positions {
        assert!(handle.health().error.is_none(), "{:?}", handle.health());
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", handle.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_machine_restarts_with_other_workers_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = open("file:", folder.path(), Access::ReadWrite).await.unwrap();
    let bus = inzira_live_bus::open("memory:").await.unwrap();
    let store = memory_store();
    let clock: Arc<dyn Clock> = Arc::new(HandClock::at(START.plus_secs(300)));
    let (drivers, steps) = (10_i64, 40_i64);
    let driver = |n: i64| format!("drv_embed{n:04}");
    let order = |n: i64| format!("ord_embed{n:04}");
    let picked_up =
        (0..drivers).map(|n| NewRecord::of(&order_of(&order(n), 1, "picked_up", &driver(n), 0)));
    log.append(picked_up.collect()).await.unwrap();
    for (round, workers) in [2, 1, 3, 2].into_iter().enumerate() {
        let stop = CancellationToken::new();
        let config = FlowConfig {
            workers,
            snapshot_every: Duration::from_millis(200),
            ..FlowConfig::default()
        };
        let handle =
            start(config, log.clone(), bus.clone(), store.clone(), clock.clone(), stop.clone())
                .await
                .unwrap();
        for step in round as i64 * steps / 4..(round as i64 + 1) * steps / 4 {
            let fixes = (0..drivers).map(|n| {
                NewRecord::of(&fix(&driver(n), step * 5, north(2_000.0 - 45.0 * step as f64)))
            });
            log.append(fixes.collect()).await.unwrap();
        }
        wait_for(&log, &handle, (drivers * steps / 4) as usize * (round + 1)).await;
        stop.cancel();
        handle.join().await.unwrap();
    }
    let positions = all(&log, Topic::Positions).await;
    let ids: BTreeSet<_> = positions.iter().map(|record| record.headers[0].value.clone()).collect();
    assert_eq!(
        (positions.len(), ids.len()),
        ((drivers * steps) as usize, (drivers * steps) as usize)
    );
    let arriving = all(&log, Topic::TrackingEvents)
        .await
        .into_iter()
        .filter_map(|record| record.decode::<wire::TrackingEvent>().unwrap().envelope)
        .filter(|envelope| envelope.event_type == "ARRIVING")
        .count();
    assert_eq!(arriving, drivers as usize);
    let shown = bus.last(&OrderId::parse(&order(3)).unwrap()).await.unwrap().unwrap();
    assert_eq!(shown.measured_at, START.plus_secs((steps - 1) * 5));
}
