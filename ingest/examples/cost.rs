//! What decoding and accepting cost, without network and disk: one thread, a log that keeps
//! nothing.
//!
//! `cargo run --release -p inzira-ingest --example cost`
//!
//! Prints requests and fixes per second of one core: a lone JSON fix a request, and batches of
//! 500 as JSON, as lines, and as protobuf.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request};
use inzira_event_log::{
    Appended, Durability, EventLog, Head, LogError, LogReader, NewRecord, Position, Transactor,
};
use inzira_ingest::{Ingest, IngestLimits, Pace};
use inzira_schemas::identity::{
    Caller, Credential, Device, Identity, IdentityUnavailable, OrderView,
};
use inzira_schemas::{Clock, DeviceId, DriverId, OrderId, SystemClock, Topic, wire};
use prost::Message;
use tower::ServiceExt;

/// Takes everything, keeps nothing.
struct NoLog;

#[async_trait]
impl EventLog for NoLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Appended, LogError> {
        Ok(Appended { offsets: records.iter().map(|record| (record.partition(), 0)).collect() })
    }
    fn reader(&self, _: &[Position]) -> Result<Box<dyn LogReader>, LogError> {
        Err(LogError::Broken("nothing to read".to_owned()))
    }
    async fn transactor(&self, _: &str) -> Result<Box<dyn Transactor>, LogError> {
        Err(LogError::Broken("nothing to write".to_owned()))
    }
    async fn heads(&self, _: Topic) -> Result<Vec<Head>, LogError> {
        Ok(Vec::new())
    }
    fn durability(&self) -> Durability {
        Durability::ProcessKill
    }
}

/// Everybody is the same device.
struct Everybody(Device);

#[async_trait]
impl Identity for Everybody {
    async fn device(
        &self,
        _: &Credential,
        _: Option<&str>,
    ) -> Result<Option<Device>, IdentityUnavailable> {
        Ok(Some(self.0.clone()))
    }
    async fn caller(&self, _: &Credential) -> Result<Option<Caller>, IdentityUnavailable> {
        Ok(None)
    }
    async fn order_for(
        &self,
        _: &Caller,
        _: &OrderId,
    ) -> Result<Option<OrderView>, IdentityUnavailable> {
        Ok(None)
    }
    fn gateway_open(&self, _: &HeaderMap) -> bool {
        true
    }
}

fn device_fix(n: i64) -> wire::DeviceFix {
    wire::DeviceFix {
        seq: u64::try_from(n).ok(),
        measured_at_us: SystemClock.now().0 - 86_400_000_000 + n * 1_000_000,
        lat: -1.9441 + (n % 1000) as f64 * 1e-5,
        lon: 30.0619,
        accuracy_m: Some(4.5),
        speed_mps: Some(8.25),
        bearing_deg: Some(271.5),
        ..wire::DeviceFix::default()
    }
}

fn json_fix(n: i64) -> String {
    let fix = device_fix(n);
    format!(
        r#"{{"driver_id":"drv_01JXXXXXXXXXXXXXXXXXXXXXXX","seq":{n},"measured_at":"{}","lat":{:.6},"lon":{:.6},"accuracy_m":4.5,"speed_mps":8.25,"bearing_deg":271.5}}"#,
        inzira_schemas::Micros(fix.measured_at_us).to_rfc3339(),
        fix.lat,
        fix.lon
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let device = Device { device_id: DeviceId::new(), driver_id: DriverId::new() };
    let pace = Pace { burst_fixes: 1e12, ..Pace::default() };
    let router = inzira_ingest::router(Ingest {
        log: Arc::new(NoLog),
        identity: Arc::new(Everybody(device)),
        clock: Arc::new(SystemClock),
        limits: IngestLimits { pace, ..IngestLimits::default() },
    });
    let batch = |of: i64| of * 500..(of + 1) * 500;
    let joined = |of: i64, with: &str| batch(of).map(json_fix).collect::<Vec<_>>().join(with);
    let list = |of: i64| wire::DeviceFixes { fixes: batch(of).map(device_fix).collect() };
    let json = "application/json";
    let cases: [(&str, &str, usize, Vec<Bytes>); 4] = [
        ("json_single", json, 1, (0..50_000).map(|n| json_fix(n).into()).collect()),
        (
            "json_array_500",
            json,
            500,
            (200..600).map(|n| format!("[{}]", joined(n, ",")).into()).collect(),
        ),
        ("json_lines_500", json, 500, (600..1_000).map(|n| joined(n, "\n").into()).collect()),
        (
            "protobuf_500",
            "application/x-protobuf",
            500,
            (1_000..1_400).map(|n| list(n).encode_to_vec().into()).collect(),
        ),
    ];
    for (name, content_type, fixes, bodies) in cases {
        let requests = bodies.len();
        let begun = Instant::now();
        runtime.block_on(async {
            for body in bodies {
                let request = Request::post("/api/v1/tracking/location")
                    .header("authorization", "Bearer 0123456789abcdef0123456789abcdef")
                    .header("content-type", content_type)
                    .body(Body::from(body))?;
                let response = router.clone().oneshot(request).await?;
                assert!(response.status().is_success(), "{}", response.status());
            }
            Ok::<(), Box<dyn std::error::Error>>(())
        })?;
        let took_s = begun.elapsed().as_secs_f64();
        println!(
            "case={name} requests_per_s={:.0} fixes_per_s={:.0} us_per_fix={:.2}",
            requests as f64 / took_s,
            (requests * fixes) as f64 / took_s,
            took_s * 1e6 / (requests * fixes) as f64,
        );
    }
    Ok(())
}
