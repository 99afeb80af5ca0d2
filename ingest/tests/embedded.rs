//! The same routes on the real log of one machine: what was answered is what can be read back.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use inzira_event_log::{Access, EventLog, Position, open};
use inzira_ingest::{Ingest, IngestLimits};
use inzira_schemas::identity::Device;
use inzira_schemas::{DeviceId, DriverId, HandClock, Topic, wire};
use prost::Message;
use support::{NOW, OneDevice, fix, post};
use tower::ServiceExt;

fn read_all(log: &dyn EventLog, heads: &[Position], count: usize) -> Vec<wire::Fix> {
    let mut reader = log.reader(heads).unwrap();
    let mut fixes = Vec::new();
    while fixes.len() < count {
        let records = reader.poll(1 << 20, Duration::from_secs(5)).unwrap();
        assert!(!records.is_empty(), "{} of {count} fixes", fixes.len());
        fixes.extend(records.iter().map(|record| wire::Fix::decode(record.value.clone()).unwrap()));
    }
    fixes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answered_fix_is_in_the_embedded_log_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = open("file:", folder.path(), Access::ReadWrite).await.unwrap();
    let device = Device { device_id: DeviceId::new(), driver_id: DriverId::new() };
    let identity = Arc::new(OneDevice {
        device,
        hints: Default::default(),
        down: false.into(),
        revoked: false.into(),
    });
    let router = inzira_ingest::router(Ingest {
        log: Arc::clone(&log),
        identity,
        clock: Arc::new(HandClock::at(NOW)),
        limits: IngestLimits::default(),
    });
    let posts = (0..200).map(|second| {
        let router = router.clone();
        async move {
            let request = post("/api/v1/tracking/location", fix(-second));
            let response = router.oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            NOW.plus_secs(-second).0
        }
    });
    let sent: HashSet<i64> = futures::future::join_all(posts).await.into_iter().collect();
    let heads = log.heads(Topic::GpsFixes).await.unwrap();
    let from: Vec<Position> = heads
        .iter()
        .map(|head| Position {
            topic: Topic::GpsFixes,
            partition: head.partition,
            offset: head.start,
        })
        .collect();
    let fixes =
        tokio::task::spawn_blocking(move || read_all(log.as_ref(), &from, 200)).await.unwrap();
    assert_eq!(fixes.len(), 200);
    assert_eq!(fixes.iter().map(|fix| fix.measured_at_us).collect::<HashSet<_>>(), sent);
}
