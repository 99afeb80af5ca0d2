//! The committed events of all orders, as they come.
//!
//! In:    every partition of `tracking.events`, from its end at the start.
//! Out:   for any order the events from a cursor on: from memory, or from the log when older.
//! Keeps: a window of encoded events, bounded in bytes, shared by all watchers.
//! Never: loses or doubles an event between memory and log: both speak in offsets.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use inzira_event_log::{EventLog, LogError, LogReader, Position, Record};
use inzira_schemas::{OrderId, Topic, partition_of, wire};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::frame::{self, Cursor};

/// One event, ready to send.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    /// Its offset.
    pub(crate) offset: u64,
    /// As `TrackingKind` spells it.
    pub(crate) kind: Arc<str>,
    /// The frame.
    pub(crate) text: Utf8Bytes,
}

/// Why events from a cursor on cannot be had.
#[derive(Debug)]
pub(crate) enum TailError {
    /// More was missed than one watcher may read: start anew from a snapshot.
    TooFar,
    /// The log would not be read; try again.
    Log(LogError),
}

/// The tail of `tracking.events`.
pub(crate) struct Tail {
    log: Arc<dyn EventLog>,
    window: Mutex<Window>,
    bytes_max: usize,
    alive: AtomicBool,
}

#[derive(Default)]
struct Window {
    /// For each partition: complete from here …
    from: Vec<u64>,
    /// … to here.
    next: Vec<u64>,
    orders: HashMap<Box<str>, Order>,
    /// What came in which order, so that the oldest goes first.
    age: VecDeque<(u32, Box<str>, usize)>,
    bytes: usize,
}

#[derive(Default)]
struct Order {
    events: VecDeque<Ready>,
    /// Wakes watchers; only while there are any.
    bell: Option<watch::Sender<u64>>,
}

/// Bytes asked for at a time.
const POLL_BYTES: usize = 1 << 20;
/// How long one read waits for something new.
const POLL_WAIT: Duration = Duration::from_millis(500);
/// What an event takes beside its text.
const OVERHEAD_BYTES: usize = 128;

impl Tail {
    /// Starts the thread at the present end of the log.
    pub(crate) async fn start(
        log: Arc<dyn EventLog>,
        bytes_max: usize,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, LogError> {
        let topic = Topic::TrackingEvents;
        let heads = log.heads(topic).await?;
        let ends: Vec<u64> = heads.iter().map(|head| head.end).collect();
        let from: Vec<Position> = heads
            .iter()
            .map(|head| Position { topic, partition: head.partition, offset: head.end })
            .collect();
        let window = Window { from: ends.clone(), next: ends, ..Window::default() };
        let tail = Arc::new(Self {
            log,
            window: Mutex::new(window),
            bytes_max,
            alive: AtomicBool::new(true),
        });
        let (own, reader) = (tail.clone(), tail.log.reader(&from)?);
        tokio::task::spawn_blocking(move || own.follow(reader, from, &stop));
        Ok(tail)
    }

    /// Whether events are still read.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    fn follow(
        &self,
        mut reader: Box<dyn LogReader>,
        mut positions: Vec<Position>,
        stop: &CancellationToken,
    ) {
        while !stop.is_cancelled() {
            match reader.poll(POLL_BYTES, POLL_WAIT) {
                Ok(records) => {
                    self.alive.store(true, Ordering::Relaxed);
                    positions = reader.positions();
                    self.take(&records, &positions);
                }
                Err(error) => {
                    self.alive.store(false, Ordering::Relaxed);
                    tracing::warn!(%error, "tracking.events cannot be read; trying again");
                    std::thread::sleep(Duration::from_secs(1));
                    if let Ok(fresh) = self.log.reader(&positions) {
                        reader = fresh;
                    }
                }
            }
        }
    }

    /// Takes what was read into the window, wakes who waits for it, lets the oldest go.
    fn take(&self, records: &[Record], positions: &[Position]) {
        let mut window = self.lock();
        let mut bells = Vec::new();
        for record in records {
            let Some((order_id, ready)) = ready(record) else { continue };
            let bytes = ready.text.len() + OVERHEAD_BYTES;
            window.bytes += bytes;
            window.age.push_back((record.partition, order_id.clone(), bytes));
            let order = window.orders.entry(order_id).or_default();
            if let Some(bell) = &order.bell {
                bells.push((bell.clone(), ready.offset + 1));
            }
            order.events.push_back(ready);
        }
        for position in positions {
            if let Some(next) = window.next.get_mut(position.partition as usize) {
                *next = (*next).max(position.offset);
            }
        }
        while window.bytes > self.bytes_max {
            if !window.drop_oldest() {
                break;
            }
        }
        drop(window);
        for (bell, next) in bells {
            bell.send_replace(next);
        }
    }

    /// A bell that rings when the order has something new.
    pub(crate) fn subscribe(&self, order_id: &OrderId) -> watch::Receiver<u64> {
        let mut window = self.lock();
        let order = window.orders.entry(order_id.as_str().into()).or_default();
        order.bell.get_or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Drops the bell of an order that nobody listens to any more.
    pub(crate) fn unsubscribe(&self, order_id: &OrderId) {
        let mut window = self.lock();
        if let Some(order) = window.orders.get_mut(order_id.as_str()) {
            if order.bell.as_ref().is_some_and(|bell| bell.receiver_count() == 0) {
                order.bell = None;
            }
            if order.bell.is_none() && order.events.is_empty() {
                window.orders.remove(order_id.as_str());
            }
        }
    }

    /// The present end of the order's partition.
    pub(crate) fn end(&self, order_id: &OrderId) -> Cursor {
        let partition = partition_of(Topic::TrackingEvents, order_id.as_str().as_bytes());
        Cursor(self.lock().next.get(partition as usize).copied().unwrap_or(0))
    }

    /// Every committed event of the order from `cursor` on, and where to go on.
    pub(crate) async fn after(
        self: &Arc<Self>,
        order_id: &OrderId,
        cursor: Cursor,
        bytes_max: usize,
    ) -> Result<(Vec<Ready>, Cursor), TailError> {
        let partition = partition_of(Topic::TrackingEvents, order_id.as_str().as_bytes());
        let (mut events, window_from) = {
            let window = self.lock();
            let at = |side: &[u64]| side.get(partition as usize).copied().unwrap_or(0);
            let (from, next) = (at(&window.from), at(&window.next));
            let newer = |ready: &&Ready| ready.offset >= cursor.0;
            let known = window.orders.get(order_id.as_str());
            let events: Vec<Ready> =
                known.map_or_else(Vec::new, |o| o.events.iter().filter(newer).cloned().collect());
            if cursor.0 >= from {
                return Ok((events, cursor.max(Cursor(next))));
            }
            (events, from.min(next))
        };
        let (own, order) = (self.clone(), order_id.clone());
        let read = move || own.read(&order, partition, cursor.0, window_from, bytes_max);
        let older = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| TailError::Log(LogError::Broken(error.to_string())))??;
        let next = events.last().map_or(window_from, |ready| ready.offset + 1);
        events.splice(0..0, older);
        Ok((events, Cursor(next)))
    }

    /// Reads `from..until` of a partition from the log, for one order.
    fn read(
        &self,
        order_id: &OrderId,
        partition: u32,
        from: u64,
        until: u64,
        bytes_max: usize,
    ) -> Result<Vec<Ready>, TailError> {
        let start = Position { topic: Topic::TrackingEvents, partition, offset: from };
        let mut reader = self.log.reader(&[start]).map_err(TailError::Log)?;
        let (mut events, mut bytes) = (Vec::new(), 0_usize);
        while reader.positions().iter().all(|position| position.offset < until) {
            for record in reader.poll(POLL_BYTES, POLL_WAIT).map_err(TailError::Log)? {
                bytes += record.value.len();
                if record.offset < until && record.key == order_id.as_str().as_bytes() {
                    events.extend(ready(&record).map(|(_, ready)| ready));
                }
            }
            if bytes > bytes_max {
                return Err(TailError::TooFar);
            }
        }
        Ok(events)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn drop_oldest(&mut self) -> bool {
        let Some((partition, order_id, bytes)) = self.age.pop_front() else { return false };
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(order) = self.orders.get_mut(&order_id) {
            if let (Some(gone), Some(from)) =
                (order.events.pop_front(), self.from.get_mut(partition as usize))
            {
                *from = (*from).max(gone.offset + 1);
            }
            if order.events.is_empty() && order.bell.is_none() {
                self.orders.remove(&order_id);
            }
        }
        true
    }
}

/// The event inside, if it belongs to an order and can be read.
fn ready(record: &Record) -> Option<(Box<str>, Ready)> {
    let event = record.decode::<wire::TrackingEvent>().ok()?;
    if event.order_id.is_empty() {
        return None;
    }
    let kind = event.envelope.as_ref().map_or("", |envelope| &envelope.event_type);
    let text = frame::event(&event, record.offset);
    let ready = Ready { offset: record.offset, kind: kind.into(), text: text.into() };
    Some((event.order_id.as_str().into(), ready))
}
