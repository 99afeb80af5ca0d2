//! Says when an epoch ends and what time it is.
//!
//! In:    whether input waits, how much is not committed yet, the recorded epochs to replay.
//! Out:   ticks: the only clock that the rules see.
//! Keeps: the last tick.
//! Never: goes back; hurries on while more than a few epochs or bytes are in flight.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use inzira_schemas::{Clock, Micros};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::rules::Tick;

/// Epochs that may be under way at once.
const IN_FLIGHT: u64 = 4;
/// Without input an epoch ends this often, so that silence is noticed.
const IDLE: Duration = Duration::from_millis(100);

/// A tick on its way to every worker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct TickMessage {
    /// The rules' part.
    pub tick: Tick,
    /// Replayed: state changes, nothing is told.
    pub replay: Option<u32>,
    /// State is to be written down as it is after this epoch.
    pub snapshot: bool,
    /// The last one.
    pub stop: bool,
}

/// One recorded epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEpoch {
    /// Its tick.
    pub tick: Tick,
    /// For each partition that moved: class, partition, the next offset.
    pub ends: Vec<(u8, u32, u64)>,
}

/// Mints ticks on worker 0.
pub struct Ticker {
    clock: Arc<dyn Clock>,
    plan: Arc<Vec<RecordedEpoch>>,
    replayed: usize,
    last: Tick,
    last_at: Instant,
    last_snapshot: Instant,
    stopped: bool,
    /// How long an epoch lasts while input waits.
    epoch: Duration,
    snapshot_every: Duration,
    uncommitted_max: usize,
    stop: CancellationToken,
}

/// How a ticker is set up.
pub struct TickerSetup {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Epochs to replay first.
    pub plan: Arc<Vec<RecordedEpoch>>,
    /// The tick before the first one.
    pub last: Tick,
    /// How long an epoch lasts while input waits.
    pub epoch: Duration,
    /// How often state is written down.
    pub snapshot_every: Duration,
    /// No new epoch while more than this waits to be committed, bytes.
    pub uncommitted_max: usize,
    /// Ends the flow.
    pub stop: CancellationToken,
}

impl Ticker {
    /// Begins after `setup.last`.
    pub fn new(setup: TickerSetup) -> Self {
        let TickerSetup { clock, plan, last, epoch, snapshot_every, uncommitted_max, stop } = setup;
        let now = Instant::now();
        let last_at = now.checked_sub(IDLE).unwrap_or(now);
        Self {
            clock,
            plan,
            replayed: 0,
            last,
            last_at,
            last_snapshot: now,
            stopped: false,
            epoch,
            snapshot_every,
            uncommitted_max,
            stop,
        }
    }

    /// The next tick, if it is time. `finished` says whether an epoch has left the graph.
    pub fn next(&mut self, shared: &Shared, finished: impl Fn(u64) -> bool) -> Option<TickMessage> {
        let crowded = self.last.epoch >= IN_FLIGHT && !finished(self.last.epoch - IN_FLIGHT);
        if crowded || self.stopped {
            return None;
        }
        if let Some(recorded) = self.plan.get(self.replayed) {
            self.last = recorded.tick;
            self.replayed += 1;
            shared.replay_left.store(self.plan.len() - self.replayed, Ordering::Release);
            let index = u32::try_from(self.replayed - 1).unwrap_or(u32::MAX);
            return Some(self.message(Some(index), false, false));
        }
        let stop = self.stop.is_cancelled();
        let since = self.last_at.elapsed();
        let full = shared.uncommitted_bytes.load(Ordering::Acquire) > self.uncommitted_max;
        let due = since >= IDLE
            || (since >= self.epoch && !full && shared.waiting.load(Ordering::Acquire));
        if !due && !stop {
            return None;
        }
        shared.waiting.store(false, Ordering::Release);
        self.last_at = Instant::now();
        self.last = Tick {
            epoch: self.last.epoch + 1,
            now: self.clock.now().max(Micros(self.last.now.0 + 1)),
            watermark: shared
                .watermark()
                .map_or(self.last.watermark, |watermark| watermark.max(self.last.watermark)),
        };
        self.stopped = stop;
        let snapshot = self.snapshot_due(shared, stop);
        Some(self.message(None, snapshot, stop))
    }

    /// How long the thread may sleep before asking again.
    pub fn patience(&self, shared: &Shared) -> Duration {
        if self.replayed < self.plan.len() {
            return Duration::from_millis(1);
        }
        let until = if shared.waiting.load(Ordering::Acquire) { self.epoch } else { IDLE };
        until.saturating_sub(self.last_at.elapsed()).max(Duration::from_micros(200))
    }

    fn snapshot_due(&mut self, shared: &Shared, stop: bool) -> bool {
        let due = stop || self.last_snapshot.elapsed() >= self.snapshot_every;
        // One at a time: while one is being written the next waits.
        let begin = due && !shared.snapshot_busy.swap(due, Ordering::AcqRel);
        if begin {
            self.last_snapshot = Instant::now();
        }
        begin
    }

    fn message(&self, replay: Option<u32>, snapshot: bool, stop: bool) -> TickMessage {
        TickMessage { tick: self.last, replay, snapshot, stop }
    }
}
