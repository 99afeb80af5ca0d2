//! The live bus and the log to whoever watches an order: WebSocket, SSE, and a plain question.
//!
//! In:    positions from the live bus, events by tailing the committed `tracking.events`.
//! Out:   frames: a snapshot first, then positions conflated to the newest, and every event in
//!        order, each once, with the cursor from which a watcher can go on after a break.
//! Keeps: a window of recent events, shared by all watchers and bounded in bytes; what is older
//!        is read from the log again. Of each watcher a few hundred bytes, its cursor, and at
//!        most one chunk of events.
//! Never: shows an order to somebody who may not see it, for longer than one check takes; buffers
//!        without limit for a slow reader, who costs only itself; loses or doubles an event
//!        between snapshot, resume and the live tail.
//!
//! `tail` reads the log, `window` holds what it read, `watcher` is one watcher's story, `routes`
//! are three thin coats over it.

mod frames;
mod hub;
mod routes;
mod tail;
mod watcher;
pub mod window;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use inzira_event_log::EventLog;
use inzira_live_bus::LiveBus;
use inzira_schemas::Clock;
use inzira_schemas::identity::Identity;
use tokio_util::sync::CancellationToken;

use hub::Hub;

/// What the fan-out room needs.
#[derive(Clone)]
pub struct FanOut {
    /// Where events are read from.
    pub log: Arc<dyn EventLog>,
    /// Where positions come from.
    pub bus: Arc<dyn LiveBus>,
    /// Who may watch what.
    pub identity: Arc<dyn Identity>,
    /// For the age of a position.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: FanOutLimits,
}

/// Bounds of the fan-out room, and what happens at each.
#[derive(Debug, Clone, PartialEq)]
pub struct FanOutLimits {
    /// Watchers at once; one more is answered 503.
    pub watchers_max: usize,
    /// Recent events kept in memory; older ones are read from the log.
    pub window_bytes_max: usize,
    /// Readers of old events at once; more wait.
    pub back_reads_max: usize,
    /// A watcher that is further behind than can be read in this is told to begin anew (4400).
    pub back_read_max: Duration,
    /// How long a socket without a token or cookie may take to show one.
    pub auth_max: Duration,
    /// How often access is asked again; a revoked watcher is closed (4401) within it.
    pub access_every: Duration,
    /// How often a quiet line is pinged.
    pub ping_every: Duration,
    /// A reader that takes no frame for so long is closed (4408).
    pub slow_max: Duration,
    /// How long a line stays after the order is closed.
    pub closed_grace: Duration,
    /// On a stop, lines are closed spread over this.
    pub drain_spread: Duration,
    /// How often a bus that is away is asked again.
    pub bus_retry: Duration,
    /// Seconds in `Retry-After` of a 503.
    pub retry_after_s: u32,
}

impl Default for FanOutLimits {
    fn default() -> Self {
        Self {
            watchers_max: 20_000,
            window_bytes_max: 64 << 20,
            back_reads_max: 4,
            back_read_max: Duration::from_secs(30),
            auth_max: Duration::from_secs(5),
            access_every: Duration::from_secs(4),
            ping_every: Duration::from_secs(20),
            slow_max: Duration::from_secs(15),
            closed_grace: Duration::from_secs(5),
            drain_spread: Duration::from_secs(5),
            bus_retry: Duration::from_secs(2),
            retry_after_s: 5,
        }
    }
}

/// What this room serves, as a part of an OpenAPI 3.1 document: JSON with `paths` and `components`.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// Starts the tail and gives the routes. Must be called within a tokio runtime. Until the log has
/// been found, watchers wait, and are answered 503 after a few seconds.
pub fn start(fan_out: FanOut, stop: CancellationToken) -> (Router, FanOutHandle) {
    let hub = Arc::new(Hub::new(fan_out));
    let tail = tokio::spawn(tail::run(Arc::clone(&hub), stop.clone()));
    let drainer = Arc::clone(&hub);
    tokio::spawn(async move {
        stop.cancelled().await;
        drainer.drain();
    });
    (routes::router(Arc::clone(&hub)), FanOutHandle { hub, tail })
}

/// The running room.
pub struct FanOutHandle {
    hub: Arc<Hub>,
    tail: tokio::task::JoinHandle<()>,
}

/// Looks at a running fan-out; outlives it.
#[derive(Clone)]
pub struct FanOutWatch {
    hub: Arc<Hub>,
}

impl FanOutWatch {
    /// For `/readyz`: what is wrong with the tail, if anything is.
    pub fn health(&self) -> Result<(), String> {
        self.hub.tail_health()
    }

    /// How many watch now.
    pub fn watchers(&self) -> usize {
        self.hub.tracker.len()
    }
}

impl FanOutHandle {
    /// For those who only want to look.
    pub fn watch(&self) -> FanOutWatch {
        FanOutWatch { hub: Arc::clone(&self.hub) }
    }

    /// Resolves once the tail has found the log.
    pub async fn ready(&self) {
        self.hub.ready().await;
    }

    /// Waits, after the stop, until every line is closed and the tail has ended. Bounded by the
    /// drain's spread plus what a slow reader may take.
    pub async fn join(self) {
        let limits = &self.hub.limits;
        self.hub.tracker.close();
        let _ =
            tokio::time::timeout(limits.drain_spread + limits.slow_max, self.hub.tracker.wait())
                .await;
        if let Err(error) = self.tail.await {
            tracing::error!(%error, "the tail of the log ended badly");
        }
    }
}
