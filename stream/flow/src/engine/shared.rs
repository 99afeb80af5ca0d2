//! What the threads of one flow share: a few numbers, and how to wake each other.
//!
//! Keeps: whether the flow has failed and why; how far it has come; who is to be woken.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;

use inzira_schemas::Micros;

use crate::{FlowError, FlowHealth};

/// Not yet known.
const UNKNOWN: i64 = i64::MIN;

/// What the threads of one flow share.
#[derive(Debug)]
pub struct Shared {
    /// Input is waiting for an epoch.
    pub waiting: AtomicBool,
    /// Stop at once, commit nothing more.
    pub halted: AtomicBool,
    /// Bytes handed to the publisher and not yet committed.
    pub uncommitted_bytes: AtomicUsize,
    /// The newest epoch whose outputs are committed or empty.
    pub committed_epoch: AtomicU64,
    /// The newest epoch that was closed.
    pub epoch: AtomicU64,
    /// Replayed epochs still to come.
    pub replay_left: AtomicUsize,
    /// A snapshot is being written.
    pub snapshot_busy: AtomicBool,
    /// The epoch of the newest whole snapshot.
    pub snapshot_epoch: AtomicU64,
    /// Fixes taken in, backlog and repeats included.
    pub items: AtomicU64,
    /// Workers whose orders have not caught up since the start.
    orders_behind: AtomicUsize,
    /// Two a worker: orders, fixes.
    watermarks: Vec<AtomicI64>,
    failure: Mutex<Option<FlowError>>,
    /// What `failure` said, kept after it was taken.
    reason: Mutex<Option<String>>,
    threads: Mutex<Vec<(usize, Thread)>>,
}

impl Shared {
    /// For `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self {
            waiting: AtomicBool::new(true),
            halted: AtomicBool::new(false),
            uncommitted_bytes: AtomicUsize::new(0),
            committed_epoch: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            replay_left: AtomicUsize::new(0),
            snapshot_busy: AtomicBool::new(false),
            snapshot_epoch: AtomicU64::new(0),
            items: AtomicU64::new(0),
            orders_behind: AtomicUsize::new(workers),
            watermarks: (0..2 * workers).map(|_| AtomicI64::new(UNKNOWN)).collect(),
            failure: Mutex::new(None),
            reason: Mutex::new(None),
            threads: Mutex::new(Vec::new()),
        }
    }

    /// The calling thread is this worker's: it can be woken from now on.
    pub fn register(&self, worker: usize) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push((worker, std::thread::current()));
    }

    /// Wakes one worker.
    pub fn wake(&self, worker: usize) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, thread) in threads.iter() {
            if *index == worker {
                thread.unpark();
            }
        }
    }

    /// Input waits at this worker: it and the ticker are woken.
    pub fn input_waits(&self, worker: usize) {
        self.waiting.store(true, Ordering::Release);
        self.wake(worker);
        if worker != 0 {
            self.wake(0);
        }
    }

    /// A worker's orders have caught up with where they ended at the start.
    pub fn orders_caught_up(&self) {
        self.orders_behind.fetch_sub(1, Ordering::AcqRel);
        self.waiting.store(true, Ordering::Release);
    }

    /// How many workers' orders have not.
    pub fn orders_behind(&self) -> usize {
        self.orders_behind.load(Ordering::Acquire)
    }

    /// One of the readers has seen all that reached the log before `watermark`.
    pub fn seen_until(&self, slot: usize, watermark: Micros) {
        self.watermarks[slot].fetch_max(watermark.0, Ordering::AcqRel);
    }

    /// All of them have; `None` while one has not caught up yet.
    pub fn watermark(&self) -> Option<Micros> {
        let least = self.watermarks.iter().map(|w| w.load(Ordering::Acquire)).min()?;
        (least != UNKNOWN).then_some(Micros(least))
    }

    /// Stops everything with a reason; the first one counts.
    pub fn fail(&self, error: FlowError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            tracing::error!(%error, "the flow stops");
            *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            *failure = Some(error);
        }
        drop(failure);
        self.halt();
    }

    /// Stops everything without committing more.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::Release);
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, thread) in threads.iter() {
            thread.unpark();
        }
    }

    /// Whether to stop at once.
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Why the flow failed, taken out.
    pub fn take_failure(&self) -> Option<FlowError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What `/readyz` shows.
    pub fn health(&self) -> FlowHealth {
        let error = self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let replay_left = self.replay_left.load(Ordering::Acquire);
        FlowHealth {
            ready: error.is_none() && !self.is_halted() && replay_left == 0,
            error,
            epoch: self.epoch.load(Ordering::Acquire),
            committed_epoch: self.committed_epoch.load(Ordering::Acquire),
            replay_left,
            uncommitted_bytes: self.uncommitted_bytes.load(Ordering::Acquire),
            snapshot_epoch: self.snapshot_epoch.load(Ordering::Acquire),
            watermark: self.watermark(),
        }
    }
}
