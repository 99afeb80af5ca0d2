//! What the flow makes of fixes and orders: positions, ARRIVING, trips.
//!
//! In:    `gps.fixes`, `gps.backlog` and `orders` of the log.
//! Out:   `positions`, `tracking.events`, `trips`, `deadletter`, with `flow.progress` in the
//!        same transaction; positions to the live bus as they are computed.
//! Keeps: state by key group, written down to the store, rebuilt after a kill from the newest
//!        snapshot and the recorded epochs after it.
//! Never: tells anything twice or not at all; lets a rule see an engine or a wall clock.
//!
//! `rules` are plain functions, `stages` apply them to an epoch's batch, `engine` is the thin
//! coat of timely, `oracle` the same rules on one thread for tests.

pub mod bench;
mod config;
mod engine;
pub mod oracle;
pub mod rules;
pub mod stages;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use config::{FlowConfig, FlowError, FlowHealth};
pub use engine::recover::{TRANSACTOR, recorded};
pub use engine::tick::RecordedEpoch;
pub use rules::eta::DETOUR;
pub use rules::smooth::{Outcome, RawFix, Smoothed, TrackPoint, smooth_track};
pub use rules::speeds::{SpeedTable, TimeToGo};

use std::sync::Arc;

use inzira_event_log::EventLog;
use inzira_live_bus::LiveBus;
use inzira_schemas::Clock;
use inzira_store::Opened;
use tokio_util::sync::CancellationToken;

/// A running flow.
pub struct FlowHandle(engine::start::Running);

impl FlowHandle {
    /// How it is: for `/readyz`.
    pub fn health(&self) -> FlowHealth {
        self.0.shared.health()
    }

    /// A view of its health that outlives the handle.
    pub fn watch(&self) -> FlowWatch {
        FlowWatch(self.0.shared.clone())
    }

    /// Waits until it has stopped: after the token was cancelled and all was committed, or with
    /// the failure that stopped it. After a failure the process should end and start again.
    pub async fn join(self) -> Result<(), FlowError> {
        self.0.done.await.map_err(|error| FlowError::Engine(error.to_string()))?
    }
}

/// A view of a flow's health.
#[derive(Clone)]
pub struct FlowWatch(Arc<engine::shared::Shared>);

impl FlowWatch {
    /// How it is.
    pub fn health(&self) -> FlowHealth {
        self.0.health()
    }
}

/// Fences whoever wrote before, rebuilds state, and goes on from the last committed epoch.
/// Answers once the log and the store have been read; the replay goes on behind it (`health`).
pub async fn start(
    config: FlowConfig,
    log: Arc<dyn EventLog>,
    bus: Arc<dyn LiveBus>,
    store: Opened,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<FlowHandle, FlowError> {
    engine::start::start(config, log, bus, store, clock, stop).await.map(FlowHandle)
}
