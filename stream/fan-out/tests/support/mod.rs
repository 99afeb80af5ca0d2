//! A log and a bus in memory, an identity whose mind can be changed, and a watcher in a line.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use http::HeaderMap;
use inzira_event_log::{
    Appended, Durability, EventLog, Head, LogError, LogReader, NewRecord, Position, Record,
    Transactor,
};
use inzira_fan_out::{FanOut, FanOutHandle, FanOutLimits, start};
use inzira_live_bus::{BusUnavailable, LiveBus, LivePosition, Watch};
use inzira_schemas::identity::{Caller, Credential, Identity, IdentityUnavailable, OrderView};
use inzira_schemas::{
    DriverId, Event, HandClock, Micros, OrderId, Point, Topic, UserId, event_id, partition_of, wire,
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

pub const NOW: Micros = Micros(1_750_000_000_000_000);
pub const TOKEN: &str = "watcher-token";

#[derive(Default)]
pub struct Kept {
    pub records: Vec<Record>,
    pub start: u64,
    /// Whole batches that the tail is not shown yet.
    pub hidden: bool,
}

/// Twelve partitions in memory.
#[derive(Clone, Default)]
pub struct MemoryLog {
    pub kept: Arc<(Mutex<HashMap<u32, Kept>>, Condvar)>,
    pub readers: Arc<AtomicUsize>,
}

impl MemoryLog {
    pub fn say(&self, order_id: &OrderId, what: &str, n: u64) -> String {
        let id = event_id(&[order_id.as_str().as_bytes(), what.as_bytes(), &n.to_le_bytes()]);
        let event = wire::TrackingEvent {
            envelope: Some(wire::Envelope::by_system(id.clone(), what, NOW, NOW)),
            order_id: order_id.to_string(),
            at_us: NOW.0,
            ..Default::default()
        };
        let record = NewRecord::of(&event);
        assert_eq!(event.key(), order_id.as_str());
        let partition = record.partition();
        let mut kept = self.kept.0.lock().unwrap();
        let partition_kept = kept.entry(partition).or_default();
        let offset = partition_kept.records.last().map_or(0, |record| record.offset + 1);
        partition_kept.records.push(Record {
            topic: record.topic,
            partition,
            offset,
            appended_at_us: 0,
            key: record.key,
            value: record.value,
            headers: record.headers,
        });
        drop(kept);
        self.kept.1.notify_all();
        id
    }

    /// Drops what is older than `start`, as retention does.
    pub fn forget_before(&self, order_id: &OrderId, start: u64) {
        let partition = partition_of(Topic::TrackingEvents, order_id.as_str().as_bytes());
        let mut kept = self.kept.0.lock().unwrap();
        let kept = kept.entry(partition).or_default();
        kept.start = start;
        kept.records.retain(|record| record.offset >= start);
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, _: Vec<NewRecord>) -> Result<Appended, LogError> {
        Err(LogError::Broken("not appended to in these tests".into()))
    }
    fn reader(&self, from: &[Position]) -> Result<Box<dyn LogReader>, LogError> {
        self.readers.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(MemoryReader { log: self.clone(), at: from.to_vec() }))
    }
    async fn transactor(&self, _: &str) -> Result<Box<dyn Transactor>, LogError> {
        Err(LogError::Broken("not used in these tests".into()))
    }
    async fn heads(&self, topic: Topic) -> Result<Vec<Head>, LogError> {
        let kept = self.kept.0.lock().unwrap();
        Ok((0..topic.partitions())
            .map(|partition| {
                let kept = kept.get(&partition);
                let last = kept.and_then(|kept| kept.records.last());
                let start = kept.map_or(0, |kept| kept.start);
                Head { partition, start, end: last.map_or(start, |record| record.offset + 1) }
            })
            .collect())
    }
    fn durability(&self) -> Durability {
        Durability::ProcessKill
    }
}

struct MemoryReader {
    log: MemoryLog,
    at: Vec<Position>,
}

impl LogReader for MemoryReader {
    fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        let (lock, changed) = &*self.log.kept;
        let mut kept = lock.lock().unwrap();
        for attempt in 0..2 {
            let (mut found, mut bytes) = (Vec::new(), 0);
            for place in &mut self.at {
                let Some(kept) = kept.get(&place.partition) else { continue };
                if place.offset < kept.start {
                    return Err(LogError::Gone {
                        topic: place.topic,
                        partition: place.partition,
                        start: kept.start,
                        asked: place.offset,
                    });
                }
                for record in kept.records.iter().filter(|record| record.offset >= place.offset) {
                    if bytes > bytes_max {
                        break;
                    }
                    bytes += record.value.len();
                    found.push(record.clone());
                }
                if let Some(last) = found.iter().rev().find(|r| r.partition == place.partition) {
                    place.offset = last.offset + 1;
                }
            }
            if !found.is_empty() || attempt == 1 {
                return Ok(found);
            }
            kept = changed.wait_timeout(kept, wait).unwrap().0;
        }
        Ok(Vec::new())
    }
    fn positions(&self) -> Vec<Position> {
        self.at.clone()
    }
}

#[derive(Default)]
pub struct MemoryBus {
    orders: Mutex<HashMap<OrderId, watch::Sender<Option<LivePosition>>>>,
    pub away: AtomicBool,
}

impl MemoryBus {
    pub fn drop_watchers(&self) {
        self.away.store(true, Ordering::SeqCst);
        self.orders.lock().unwrap().clear();
    }
    fn up(&self) -> Result<(), BusUnavailable> {
        if self.away.load(Ordering::SeqCst) { Err(BusUnavailable("away".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl LiveBus for MemoryBus {
    async fn publish(&self, positions: &[LivePosition]) -> Result<(), BusUnavailable> {
        let mut orders = self.orders.lock().unwrap();
        for position in positions {
            let order_id = position.order_id.clone().unwrap();
            let sender = orders.entry(order_id).or_insert_with(|| watch::Sender::new(None));
            sender.send_replace(Some(position.clone()));
        }
        Ok(())
    }
    async fn last(&self, order_id: &OrderId) -> Result<Option<LivePosition>, BusUnavailable> {
        self.up()?;
        Ok(self.orders.lock().unwrap().get(order_id).and_then(|sender| sender.borrow().clone()))
    }
    async fn watch(&self, order_id: &OrderId) -> Result<Watch, BusUnavailable> {
        self.up()?;
        let mut orders = self.orders.lock().unwrap();
        let sender = orders.entry(order_id.clone()).or_insert_with(|| watch::Sender::new(None));
        Ok(sender.subscribe())
    }
    async fn near(&self, _: &[i64], _: Micros) -> Result<Vec<LivePosition>, BusUnavailable> {
        Ok(Vec::new())
    }
    async fn close(&self, _: &OrderId) -> Result<(), BusUnavailable> {
        Ok(())
    }
}

/// One order that one token, or one share cookie, may watch.
pub struct OneOrder {
    pub view: Mutex<OrderView>,
    pub revoked: AtomicBool,
}

#[async_trait]
impl Identity for OneOrder {
    async fn device(
        &self,
        _: &Credential,
        _: Option<&str>,
    ) -> Result<Option<inzira_schemas::identity::Device>, IdentityUnavailable> {
        Ok(None)
    }
    async fn caller(&self, credential: &Credential) -> Result<Option<Caller>, IdentityUnavailable> {
        let known = matches!(credential,
            Credential::Bearer(token) | Credential::Share(token) if token == TOKEN);
        Ok(known.then(|| Caller::Person {
            user_id: UserId::new(),
            role: inzira_schemas::identity::Role::Customer,
            actor_id: "cus_x".into(),
        }))
    }
    async fn order_for(
        &self,
        _: &Caller,
        order_id: &OrderId,
    ) -> Result<Option<OrderView>, IdentityUnavailable> {
        let view = self.view.lock().unwrap().clone();
        let allowed = view.order_id == *order_id && !self.revoked.load(Ordering::SeqCst);
        Ok(allowed.then_some(view))
    }
    fn gateway_open(&self, _: &HeaderMap) -> bool {
        true
    }
}

pub struct House {
    pub log: MemoryLog,
    pub bus: Arc<MemoryBus>,
    pub identity: Arc<OneOrder>,
    pub clock: Arc<HandClock>,
    pub order_id: OrderId,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub handle: Option<FanOutHandle>,
}

pub fn quick() -> FanOutLimits {
    FanOutLimits {
        auth_max: Duration::from_millis(300),
        access_every: Duration::from_millis(200),
        ping_every: Duration::from_secs(30),
        slow_max: Duration::from_millis(500),
        closed_grace: Duration::from_millis(200),
        drain_spread: Duration::from_millis(200),
        bus_retry: Duration::from_millis(100),
        ..FanOutLimits::default()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl House {
    pub async fn new() -> Self {
        Self::with(quick(), MemoryLog::default()).await
    }

    pub async fn with(limits: FanOutLimits, log: MemoryLog) -> Self {
        let order_id = OrderId::new();
        Self::for_order(limits, log, order_id).await
    }

    pub async fn for_order(limits: FanOutLimits, log: MemoryLog, order_id: OrderId) -> Self {
        let bus = Arc::new(MemoryBus::default());
        let clock = Arc::new(HandClock::at(NOW));
        let identity = Arc::new(OneOrder {
            view: Mutex::new(OrderView {
                order_id: order_id.clone(),
                kind: "delivery".into(),
                state: "assigned".into(),
                pickup: Point { lat: -1.95, lon: 30.06 },
                destination: Point { lat: -1.9, lon: 30.1 },
                driver_id: None,
                customer_id: None,
                created_at: NOW,
            }),
            revoked: AtomicBool::new(false),
        });
        let stop = CancellationToken::new();
        let fan_out = FanOut {
            log: Arc::new(log.clone()),
            bus: bus.clone(),
            identity: identity.clone(),
            clock: clock.clone(),
            limits,
        };
        let (router, handle) = start(fan_out, stop.clone());
        handle.ready().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { log, bus, identity, clock, order_id, address, stop, handle: Some(handle) }
    }

    pub fn watchers(&self) -> usize {
        self.handle.as_ref().map_or(0, |handle| handle.watch().watchers())
    }

    pub fn path(&self, what: &str) -> String {
        format!("/api/v1/orders/{}/{what}", self.order_id)
    }

    pub fn say(&self, what: &str, n: u64) -> String {
        self.log.say(&self.order_id, what, n)
    }

    pub async fn publish(&self, version: u64) {
        let position = LivePosition {
            driver_id: DriverId::new(),
            order_id: Some(self.order_id.clone()),
            lat: -1.9 - version as f64 * 1e-5,
            lon: 30.05,
            accuracy_m: 5.0,
            speed_mps: 8.25,
            bearing_deg: 91.04,
            h3_r9: 1,
            measured_at: NOW.plus_secs(-2),
            received_at: NOW,
            distance_m: Some(1_234.56),
            eta_s: Some(95.4),
            version,
        };
        self.bus.publish(&[position]).await.unwrap();
    }

    pub async fn watch(&self, query: &str) -> Line {
        self.connect(query, &[("authorization", &format!("Bearer {TOKEN}"))]).await.unwrap()
    }

    pub async fn connect(
        &self,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Line, String> {
        let url = format!("ws://{}{}{query}", self.address, self.path("live"));
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let connected = tokio_tungstenite::connect_async(request).await;
        connected.map(|(socket, _)| Line(socket)).map_err(|error| error.to_string())
    }

    /// A plain question; status and body.
    pub async fn ask(&self, what: &str, headers: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n",
            self.path(what),
            self.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer[9..12].parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

pub struct Line(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Line {
    /// The next frame; a close as `{"type":"close","code","reason"}`.
    pub async fn frame(&mut self) -> Value {
        let next = tokio::time::timeout(Duration::from_secs(5), self.0.next());
        match next.await.expect("a frame within 5 s") {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Close(Some(frame)))) => serde_json::json!({
                "type": "close", "code": u16::from(frame.code), "reason": frame.reason.to_string(),
            }),
            other => panic!("{other:?}"),
        }
    }

    /// The next frame that is not a position.
    pub async fn not_position(&mut self) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["type"] != "position" {
                return frame;
            }
        }
    }

    pub async fn silent(&mut self) {
        let next = tokio::time::timeout(Duration::from_millis(150), self.0.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
}
