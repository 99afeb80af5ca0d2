//! A log in memory, an identity with a few devices, and a request in a line.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use inzira_event_log::{
    Appended, Durability, EventLog, Head, LogError, LogReader, NewRecord, Position, Transactor,
};
use inzira_ingest::{Ingest, IngestLimits};
use inzira_schemas::identity::{
    Caller, Credential, Device, Identity, IdentityUnavailable, OrderView,
};
use inzira_schemas::{DeviceId, DriverId, HandClock, Micros, OrderId, Topic, wire};
use prost::Message;
use tokio::sync::Notify;
use tower::ServiceExt;

pub const NOW: Micros = Micros(1_750_000_000_000_000);
pub const TOKEN: &str = "tok_0123456789abcdef0123456789abcdef";
pub const SECRET_ID: &str = "s3cr3t0123456789abcdef0123456789";

/// Keeps what it is given; fails when told to; waits when told to.
#[derive(Default)]
pub struct MemoryLog {
    pub records: std::sync::Mutex<Vec<NewRecord>>,
    pub fail: std::sync::Mutex<Option<fn() -> LogError>>,
    pub hold: AtomicBool,
    pub release: Notify,
    pub appends: AtomicUsize,
}

impl MemoryLog {
    pub fn fixes(&self) -> Vec<(Topic, wire::Fix)> {
        let records = self.records.lock().unwrap();
        records
            .iter()
            .filter(|record| matches!(record.topic, Topic::GpsFixes | Topic::GpsBacklog))
            .map(|record| (record.topic, wire::Fix::decode(record.value.clone()).unwrap()))
            .collect()
    }

    pub fn dead_letters(&self) -> Vec<wire::DeadLetter> {
        let records = self.records.lock().unwrap();
        records
            .iter()
            .filter(|record| record.topic == Topic::DeadLetter)
            .map(|record| wire::DeadLetter::decode(record.value.clone()).unwrap())
            .collect()
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Appended, LogError> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        if self.hold.load(Ordering::SeqCst) {
            self.release.notified().await;
        }
        if let Some(fail) = *self.fail.lock().unwrap() {
            return Err(fail());
        }
        let mut kept = self.records.lock().unwrap();
        let offsets = records.iter().map(|record| (record.partition(), 0)).collect();
        kept.extend(records);
        Ok(Appended { offsets })
    }
    fn reader(&self, _: &[Position]) -> Result<Box<dyn LogReader>, LogError> {
        Err(LogError::Broken("not read in these tests".into()))
    }
    async fn transactor(&self, _: &str) -> Result<Box<dyn Transactor>, LogError> {
        Err(LogError::Broken("not used in these tests".into()))
    }
    async fn heads(&self, _: Topic) -> Result<Vec<Head>, LogError> {
        Ok(Vec::new())
    }
    fn durability(&self) -> Durability {
        Durability::ProcessKill
    }
}

/// Knows one device, by its token, its password or its secret id.
pub struct OneDevice {
    pub device: Device,
    pub hints: std::sync::Mutex<Vec<Option<String>>>,
    pub down: AtomicBool,
    pub revoked: AtomicBool,
}

#[async_trait]
impl Identity for OneDevice {
    async fn device(
        &self,
        credential: &Credential,
        hint: Option<&str>,
    ) -> Result<Option<Device>, IdentityUnavailable> {
        if self.down.load(Ordering::SeqCst) {
            return Err(IdentityUnavailable("down".into()));
        }
        self.hints.lock().unwrap().push(hint.map(str::to_owned));
        let known = match credential {
            Credential::Bearer(token) | Credential::Basic(_, token) => token == TOKEN,
            Credential::DeviceId(id) => id == SECRET_ID,
            Credential::Session(_) | Credential::Share(_) => false,
        };
        let known = known && !self.revoked.load(Ordering::SeqCst);
        Ok(known.then(|| self.device.clone()))
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

pub struct House {
    pub log: Arc<MemoryLog>,
    pub identity: Arc<OneDevice>,
    pub clock: Arc<HandClock>,
    pub router: Router,
}

impl House {
    pub fn new() -> Self {
        Self::with(IngestLimits {
            room_wait: Duration::from_millis(100),
            ..IngestLimits::default()
        })
    }

    pub fn with(limits: IngestLimits) -> Self {
        let log = Arc::new(MemoryLog::default());
        let clock = Arc::new(HandClock::at(NOW));
        let device = Device { device_id: DeviceId::new(), driver_id: DriverId::new() };
        let identity = Arc::new(OneDevice {
            device,
            hints: Default::default(),
            down: AtomicBool::new(false),
            revoked: AtomicBool::new(false),
        });
        let router = inzira_ingest::router(Ingest {
            log: log.clone(),
            identity: identity.clone(),
            clock: clock.clone(),
            limits,
        });
        Self { log, identity, clock, router }
    }

    pub async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let (status, _, body) = self.send_whole(request).await;
        (status, body)
    }

    pub async fn send_whole(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Our own route with the token.
    pub async fn post(&self, body: impl Into<Body>) -> (StatusCode, String) {
        self.send(post("/api/v1/tracking/location", body)).await
    }
}

pub fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(body.into())
        .unwrap()
}

pub fn with_header(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// A JSON fix, `seconds` after (or before) now.
pub fn fix(seconds: i64) -> String {
    let at = NOW.plus_secs(seconds).0 / 1000;
    format!(r#"{{"measured_at":{at},"lat":-1.9441,"lon":30.0619,"accuracy_m":5,"speed_mps":8.5}}"#)
}

pub fn reply(accepted: u64, repeated: u64, set_aside: u64) -> String {
    format!(r#"{{"accepted":{accepted},"repeated":{repeated},"set_aside":{set_aside}}}"#)
}
