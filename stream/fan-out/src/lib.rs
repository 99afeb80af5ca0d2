//! From the live bus and the committed events to those who watch.
//!
//! In:    positions from the bus, events by tailing `tracking.events` from the log.
//! Out:   frames over WebSocket and SSE, the last position over HTTP.
//! Keeps: a bounded window of recent events; one cursor a watcher.
//! Never: buffers a slow watcher without limit: positions are conflated to the newest, events are
//!        read again from the log; tells anyone of an order they may not see.
//!
//! The way of one frame: `tail` (one thread, all partitions) or the bus wakes a `session`, which
//! writes `frame`s into a sink: `web_socket` or `sse`. A cursor `e<offset>` is the next offset of
//! the order's partition of `tracking.events`: what came before it was delivered.

pub mod frame;
mod routes;
mod session;
mod sse;
mod tail;
mod web_socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use inzira_event_log::{EventLog, LogError};
use inzira_live_bus::LiveBus;
use inzira_schemas::{Clock, Identity};
use tokio_util::sync::CancellationToken;

use crate::tail::Tail;

/// What the room stands on.
pub struct FanOut {
    /// Where events are read.
    pub log: Arc<dyn EventLog>,
    /// Where positions come from.
    pub bus: Arc<dyn LiveBus>,
    /// Who may see what.
    pub identity: Arc<dyn Identity>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds, and what happens at each.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Watchers at once; one more gets 503 and `Retry-After`.
    pub watchers_max: usize,
    /// Bytes of recent events in memory; older ones are read from the log.
    pub window_bytes_max: usize,
    /// Bytes read from the log for one watcher that comes back; beyond it, it starts anew from a
    /// snapshot.
    pub catch_up_bytes_max: usize,
    /// A watcher that takes no frame for so long is closed with 4408 and may come back.
    pub stall_max: Duration,
    /// The first frame of a watcher without credentials in its headers must come within this.
    pub auth_max: Duration,
    /// Between two pings.
    pub ping_every: Duration,
    /// Between two looks at whether the watcher may still watch.
    pub recheck_every: Duration,
    /// A closed order's line is kept open for so long.
    pub linger: Duration,
    /// On leaving, closes are spread over this.
    pub drain_spread: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            watchers_max: 15_000,
            window_bytes_max: 64 << 20,
            catch_up_bytes_max: 16 << 20,
            stall_max: Duration::from_secs(15),
            auth_max: Duration::from_secs(5),
            ping_every: Duration::from_secs(20),
            recheck_every: Duration::from_secs(5),
            linger: Duration::from_secs(10),
            drain_spread: Duration::from_secs(2),
        }
    }
}

/// Why the room could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FanOutError {
    /// The log would not be read.
    #[error("reading tracking.events: {0}")]
    Log(#[from] LogError),
}

/// A running room.
pub struct FanOutHandle {
    shared: Arc<Shared>,
}

/// Shared by every watcher.
pub(crate) struct Shared {
    pub(crate) bus: Arc<dyn LiveBus>,
    pub(crate) identity: Arc<dyn Identity>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) tail: Arc<Tail>,
    pub(crate) stop: CancellationToken,
    pub(crate) watchers: AtomicUsize,
}

/// Starts the tail and gives the routes.
pub async fn start(
    fan_out: FanOut,
    stop: CancellationToken,
) -> Result<(Router, FanOutHandle), FanOutError> {
    let FanOut { log, bus, identity, clock, limits } = fan_out;
    let tail = Tail::start(log, limits.window_bytes_max, stop.clone()).await?;
    let watchers = AtomicUsize::new(0);
    let shared = Arc::new(Shared { bus, identity, clock, limits, tail, stop, watchers });
    Ok((routes::router(shared.clone()), FanOutHandle { shared }))
}

impl FanOutHandle {
    /// Watchers now, and whether events are still read.
    pub fn health(&self) -> (bool, usize) {
        (self.shared.tail.is_alive(), self.shared.watchers.load(Ordering::Relaxed))
    }

    /// Waits until every watcher was told to leave, a little longer than `drain_spread` at most.
    pub async fn join(self) {
        let most = self.shared.limits.drain_spread + Duration::from_secs(2);
        let gone = async {
            while self.shared.watchers.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(most, gone).await.is_err() {
            tracing::warn!("some watchers did not take their close");
        }
    }
}

/// Counts one watcher for as long as it lives.
pub(crate) struct Place(Arc<Shared>);

impl Place {
    /// A place, or nothing when the room is full.
    pub(crate) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.watchers.fetch_add(1, Ordering::SeqCst);
        let place = Self(shared.clone());
        metrics::gauge!("inzira_ws_connections").set((before + 1) as f64);
        (before < shared.limits.watchers_max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let before = self.0.watchers.fetch_sub(1, Ordering::SeqCst);
        metrics::gauge!("inzira_ws_connections").set(before.saturating_sub(1) as f64);
    }
}
