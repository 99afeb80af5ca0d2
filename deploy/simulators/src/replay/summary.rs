//! What became of the fixes of a replay.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;

/// Counters that grow while a replay runs; a progress bar reads them.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) set_aside: AtomicU64,
    pub(super) unsent: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) reasons: Mutex<BTreeMap<String, u64>>,
}

/// The service's answer to one request.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    accepted: u64,
    repeated: u64,
    set_aside: u64,
    #[serde(default)]
    reasons: BTreeMap<String, u64>,
}

impl Answer {
    /// A phone protocol says only that it took them.
    pub(super) fn taken(fixes: u64) -> Self {
        Self { accepted: fixes, ..Self::default() }
    }
}

impl Counts {
    /// Fixes that were answered or given up.
    pub fn done(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) + self.unsent.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, fixes: u64, answer: Answer) {
        self.sent.fetch_add(fixes, Ordering::Relaxed);
        self.accepted.fetch_add(answer.accepted, Ordering::Relaxed);
        self.repeated.fetch_add(answer.repeated, Ordering::Relaxed);
        self.set_aside.fetch_add(answer.set_aside, Ordering::Relaxed);
        if let Ok(mut reasons) = self.reasons.lock() {
            for (reason, count) in answer.reasons {
                *reasons.entry(reason).or_default() += count;
            }
        }
    }

    pub(super) fn summary(&self, elapsed: Duration) -> Summary {
        Summary {
            sent: self.sent.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            repeated: self.repeated.load(Ordering::Relaxed),
            set_aside: self.set_aside.load(Ordering::Relaxed),
            unsent: self.unsent.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            reasons: self.reasons.lock().map(|reasons| reasons.clone()).unwrap_or_default(),
            elapsed,
        }
    }
}

/// What became of every fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Answered by the service.
    pub sent: u64,
    /// Kept.
    pub accepted: u64,
    /// Seen before.
    pub repeated: u64,
    /// Kept apart, see `reasons`.
    pub set_aside: u64,
    /// Never answered.
    pub unsent: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Why fixes were set aside.
    pub reasons: BTreeMap<String, u64>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        write!(
            f,
            "sent={} accepted={} repeated={} set_aside={} unsent={} retries={} seconds={seconds:.1} fixes_per_s={:.0}",
            self.sent,
            self.accepted,
            self.repeated,
            self.set_aside,
            self.unsent,
            self.retries,
            self.sent as f64 / seconds,
        )?;
        for (reason, count) in &self.reasons {
            write!(f, " {reason}={count}")?;
        }
        Ok(())
    }
}
