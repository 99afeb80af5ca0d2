//! How the flow is set up, how it can fail, how it is.

use std::time::Duration;

use inzira_event_log::LogError;
use inzira_schemas::Micros;
use inzira_store::object_store;
use serde::Serialize;

/// More workers than key groups would have nothing to do.
const WORKERS_MAX: usize = crate::rules::KEY_GROUPS;

/// How the flow is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowConfig {
    /// Worker threads, 1 to 256. State moves with them: the count may change at every start.
    pub workers: usize,
    /// How long an epoch lasts while input waits.
    pub epoch: Duration,
    /// How often state is written down.
    pub snapshot_every: Duration,
    /// No new epoch begins while more than this waits to be committed, bytes.
    pub uncommitted_max: usize,
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            workers: 2,
            epoch: Duration::from_millis(5),
            snapshot_every: Duration::from_secs(30),
            uncommitted_max: 32 * 1024 * 1024,
        }
    }
}

impl FlowConfig {
    pub(crate) fn check(&self) -> Result<(), FlowError> {
        if (1..=WORKERS_MAX).contains(&self.workers) {
            Ok(())
        } else {
            Err(FlowError::Config(format!("the flow needs 1 to {WORKERS_MAX} workers")))
        }
    }
}

/// How the flow can fail. Every one of them ends it; nothing half done was committed. The
/// process should end too and start again, save for `Config`.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// Configuration: exit 78.
    #[error("{0}")]
    Config(String),
    /// The log: damaged, gone, poisoned, or taken over by a newer flow.
    #[error("the flow cannot go on: {0}")]
    Log(#[from] LogError),
    /// The store could not be read at the start.
    #[error("the flow cannot read its snapshots: {0}")]
    Store(#[from] object_store::Error),
    /// A snapshot is damaged or of another shape.
    #[error("a snapshot cannot be used: {0}")]
    Snapshot(String),
    /// A thread or task of ours broke.
    #[error("the flow's engine broke: {0}")]
    Engine(String),
}

/// How the flow is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlowHealth {
    /// It has replayed what was committed and takes in new input.
    pub ready: bool,
    /// Why it has stopped, if it has.
    pub error: Option<String>,
    /// The newest closed epoch.
    pub epoch: u64,
    /// The newest committed one.
    pub committed_epoch: u64,
    /// Recorded epochs still to be replayed.
    pub replay_left: usize,
    /// Bytes of outputs not committed yet.
    pub uncommitted_bytes: usize,
    /// The newest epoch whose state is written down by this run; 0 for none yet.
    pub snapshot_epoch: u64,
    /// All that reached the log before this has been seen; `None` before it has caught up.
    pub watermark: Option<Micros>,
}
