//! What all watchers share.
//!
//! In:    events from the tail.
//! Out:   the events of an order from a place on, out of the window or out of the log; a wake-up
//!        for those who watch it; the text of a position, made once.
//! Keeps: the window, and one channel for each order that is watched now.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inzira_event_log::{EventLog, LogError, Position, Record};
use inzira_live_bus::{LiveBus, LivePosition};
use inzira_schemas::identity::Identity;
use inzira_schemas::{Clock, Topic};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::frames::{self, EventFrame};
use crate::window::{After, Entry, Window};
use crate::{FanOut, FanOutLimits};

/// Most events that a watcher holds at once.
const CHUNK: usize = 32;
/// Bytes that one reading of old events takes in.
const BACK_READ_BYTES: usize = 256 * 1024;

/// Why events could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missed {
    /// The log no longer holds them, or it would take too long: begin anew, without a cursor.
    #[error("the events after this cursor are gone")]
    Gone,
    /// The log cannot be read now: come again.
    #[error("the log cannot be read")]
    Unavailable,
}

pub(crate) struct Hub {
    pub log: Arc<dyn EventLog>,
    pub bus: Arc<dyn LiveBus>,
    pub identity: Arc<dyn Identity>,
    pub clock: Arc<dyn Clock>,
    pub limits: FanOutLimits,
    pub tracker: TaskTracker,
    pub places: Arc<Semaphore>,
    pub counts: Counts,
    window: Mutex<Window<EventFrame>>,
    channels: Mutex<HashMap<String, Arc<Channel>>>,
    back_reads: Semaphore,
    ready: watch::Sender<bool>,
    draining: AtomicBool,
    trouble: Mutex<Option<String>>,
}

/// Metrics that are touched for every frame, looked up once.
pub(crate) struct Counts {
    pub connections: Gauge,
    pub sent: Counter,
    pub received: Counter,
    pub latency_s: Histogram,
}

/// What those who watch one order share.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    wake: watch::Sender<()>,
    position: Mutex<Option<(u64, Arc<str>)>>,
}

/// A watcher's hold on its channel, let go on drop.
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    order_id: String,
    channel: Arc<Channel>,
}

impl Hub {
    pub fn new(fan_out: FanOut) -> Self {
        let FanOut { log, bus, identity, clock, limits } = fan_out;
        let partitions = Topic::TrackingEvents.partitions();
        Self {
            window: Mutex::new(Window::new(partitions, limits.window_bytes_max)),
            channels: Mutex::default(),
            back_reads: Semaphore::new(limits.back_reads_max.max(1)),
            places: Arc::new(Semaphore::new(limits.watchers_max)),
            tracker: TaskTracker::new(),
            ready: watch::Sender::new(false),
            draining: AtomicBool::new(false),
            trouble: Mutex::new(Some("the log has not been found yet".to_owned())),
            counts: Counts {
                connections: gauge!("inzira_ws_connections"),
                sent: counter!("inzira_ws_messages_total", "dir" => "out"),
                received: counter!("inzira_ws_messages_total", "dir" => "in"),
                latency_s: histogram!("inzira_e2e_latency_seconds", "stage" => "state_ws"),
            },
            log,
            bus,
            identity,
            clock,
            limits,
        }
    }

    /// Watches an order from now on.
    pub fn subscribe(self: &Arc<Self>, order_id: &str) -> Subscription {
        let channel = Arc::clone(held(&self.channels).entry(order_id.to_owned()).or_default());
        Subscription { hub: Arc::clone(self), order_id: order_id.to_owned(), channel }
    }

    /// The place up to which the tail has read a partition.
    pub fn frontier(&self, partition: u32) -> u64 {
        held(&self.window).frontier(partition)
    }

    /// The tail begins.
    pub fn begin(&self, places: &[Position]) {
        let mut window = held(&self.window);
        for place in places {
            window.begin(place.partition, place.offset);
        }
        drop(window);
        self.ready.send_replace(true);
        self.report(None);
    }

    /// The tail has read these records, and each partition up to these places. Both become
    /// visible at once, so that a place never runs ahead of its events.
    pub fn take(&self, records: &[Record], places: &[Position]) {
        let events: Vec<(&Record, String, EventFrame)> = records
            .iter()
            .filter_map(|record| {
                frames::event(record).map(|(order_id, frame)| (record, order_id, frame))
            })
            .collect();
        let mut touched = Vec::with_capacity(events.len());
        let mut window = held(&self.window);
        for (record, order_id, frame) in events {
            let bytes = frame.text.len();
            window.push(record.partition, record.offset, &order_id, frame, bytes);
            touched.push(order_id);
        }
        for place in places {
            window.advance(place.partition, place.offset);
        }
        let bytes = window.bytes();
        drop(window);
        if touched.is_empty() {
            return;
        }
        gauge!("inzira_fanout_window_bytes").set(bytes as f64);
        let channels = held(&self.channels);
        for channel in touched.iter().filter_map(|order_id| channels.get(order_id)) {
            channel.wake.send_replace(());
        }
    }

    /// A chunk of an order's events from `place` on, and the place up to which there are no
    /// others. An empty chunk whose place did not move means: nothing new.
    pub async fn events(
        &self,
        partition: u32,
        order_id: &str,
        place: u64,
    ) -> Result<(Vec<Entry<EventFrame>>, u64), Missed> {
        match self.events_now(partition, order_id, place) {
            After::Events(events, next) => Ok((events, next)),
            After::Behind(floor) => self.back_read(partition, order_id, place, floor).await,
        }
    }

    /// The same out of the window alone.
    pub fn events_now(&self, partition: u32, order_id: &str, place: u64) -> After<EventFrame> {
        held(&self.window).after(partition, order_id, place, CHUNK)
    }

    /// Reads old events from the log until some are found or the window is reached.
    async fn back_read(
        &self,
        partition: u32,
        order_id: &str,
        place: u64,
        until: u64,
    ) -> Result<(Vec<Entry<EventFrame>>, u64), Missed> {
        let _turn = self.back_reads.acquire().await.map_err(|_| Missed::Unavailable)?;
        let (log, order_id) = (Arc::clone(&self.log), order_id.to_owned());
        let give_up = Instant::now() + self.limits.back_read_max;
        tokio::task::spawn_blocking(move || {
            read_old(log.as_ref(), partition, &order_id, place, until, give_up)
        })
        .await
        .map_err(|_| Missed::Unavailable)?
    }

    /// Whether a cursor may be one of ours: not past the end of the log.
    pub async fn has_been(&self, partition: u32, place: u64) -> Result<bool, Missed> {
        if place <= self.frontier(partition) {
            return Ok(true);
        }
        let heads = self.log.heads(Topic::TrackingEvents).await.map_err(|_| Missed::Unavailable)?;
        Ok(heads.iter().any(|head| head.partition == partition && place <= head.end))
    }

    /// Resolves once the tail has begun.
    pub async fn ready(&self) {
        // The sender lives as long as the hub.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Tells every line to close.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        for channel in held(&self.channels).values() {
            channel.wake.send_replace(());
        }
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Notes the state of the tail.
    pub fn report(&self, trouble: Option<String>) {
        *held(&self.trouble) = trouble;
    }

    pub fn tail_health(&self) -> Result<(), String> {
        held(&self.trouble).clone().map_or(Ok(()), Err)
    }
}

impl Subscription {
    /// Wakes when the order has a new event, or when the room closes.
    pub fn wakes(&self) -> watch::Receiver<()> {
        self.channel.wake.subscribe()
    }

    /// The shared part of a position's frame.
    pub fn position_body(&self, position: &LivePosition) -> Arc<str> {
        let mut made = held(&self.channel.position);
        match &*made {
            Some((version, body)) if *version == position.version => Arc::clone(body),
            _ => {
                let body: Arc<str> = frames::position_body(&self.order_id, position).into();
                *made = Some((position.version, Arc::clone(&body)));
                body
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut channels = held(&self.hub.channels);
        // Two holds: the map's and ours. The map is locked, so no third can appear.
        if Arc::strong_count(&self.channel) == 2 {
            channels.remove(&self.order_id);
        }
    }
}

fn read_old(
    log: &dyn EventLog,
    partition: u32,
    order_id: &str,
    place: u64,
    until: u64,
    give_up: Instant,
) -> Result<(Vec<Entry<EventFrame>>, u64), Missed> {
    let from = Position { topic: Topic::TrackingEvents, partition, offset: place };
    let mut reader = log.reader(&[from]).map_err(missed)?;
    let mut next = place;
    while next < until {
        if Instant::now() > give_up {
            return Err(Missed::Gone);
        }
        let records = reader.poll(BACK_READ_BYTES, Duration::from_millis(500)).map_err(missed)?;
        let reached = reader.positions().into_iter().find(|at| at.partition == partition);
        next = reached.map_or(next, |at| at.offset.max(next));
        let events: Vec<Entry<EventFrame>> = records
            .iter()
            .filter(|record| record.offset >= place && record.key.as_ref() == order_id.as_bytes())
            .filter_map(|record| {
                let (_, frame) = frames::event(record)?;
                Some(Entry { offset: record.offset, frame: Arc::new(frame) })
            })
            .collect();
        if !events.is_empty() {
            return Ok((events, next));
        }
    }
    Ok((Vec::new(), next))
}

fn missed(error: LogError) -> Missed {
    match error {
        LogError::Gone { .. } | LogError::Damaged { .. } => Missed::Gone,
        error => {
            tracing::warn!(%error, "old events could not be read");
            Missed::Unavailable
        }
    }
}

/// Plain maps: a panic elsewhere cannot have left them half written.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
