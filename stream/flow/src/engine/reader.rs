//! Reads some partitions of the log on a thread of its own.
//!
//! In:    places to begin at.
//! Out:   batches with the places reached, through a bounded channel: when the worker does not
//!        keep up the thread waits, and the log is not read.
//! Never: skips; a failure of the log stops the flow.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use inzira_event_log::{LogError, LogReader, Position, Record};
use inzira_schemas::{Clock, Micros, Topic};

use super::feed::Part;
use super::shared::Shared;
use crate::FlowError;
use crate::stages::{Item, class_of};

/// One poll takes about this many bytes.
const POLL_BYTES: usize = 256 * 1024;
const POLL_WAIT: Duration = Duration::from_millis(50);
/// Batches that wait between a reader and its worker.
const CHANNEL_BATCHES: usize = 8;
/// A quiet reader tells how far it has seen this often, microseconds.
const TELL_EVERY_US: i64 = 20_000;

/// What one poll brought.
pub struct Batch {
    /// Its records.
    pub items: Vec<Item>,
    /// About how many bytes they are.
    pub bytes: usize,
    /// How far each partition has been read.
    pub read_to: Vec<(Part, u64)>,
    /// All that reached the log before this has been read; `None` before it has caught up.
    pub watermark: Option<Micros>,
}

/// What a reader thread is given.
pub struct Reader {
    /// Whose reader it is.
    pub worker: usize,
    /// The log's reader.
    pub reader: Box<dyn LogReader>,
    /// The log's ends when it began: until then it has not caught up.
    pub ends: BTreeMap<Part, u64>,
    /// How far each partition has been read.
    pub known: BTreeMap<Part, u64>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The others.
    pub shared: Arc<Shared>,
}

impl Reader {
    /// Begins to read, on a thread of this name.
    pub fn spawn(self, name: String) -> Result<Receiver<Batch>, FlowError> {
        let (sender, receiver) = sync_channel(CHANNEL_BATCHES);
        std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                if catch_unwind(AssertUnwindSafe(|| self.run(&sender))).is_err() {
                    tracing::error!("a reader of the flow broke, the process ends");
                    std::process::abort();
                }
            })
            .map_err(|error| FlowError::Engine(format!("no thread for a reader: {error}")))?;
        Ok(receiver)
    }

    /// Reads until the worker is gone or the log fails.
    fn run(mut self, sender: &SyncSender<Batch>) {
        let mut caught_up = false;
        let mut told_at = Micros(i64::MIN);
        while !self.shared.is_halted() {
            let asked_at = self.clock.now();
            let records = match self.reader.poll(POLL_BYTES, POLL_WAIT) {
                Ok(records) => records,
                Err(LogError::Busy(reason)) => {
                    tracing::warn!(reason, "the log is busy, reading again");
                    std::thread::sleep(POLL_WAIT);
                    continue;
                }
                Err(error) => return self.shared.fail(FlowError::Log(error)),
            };
            let read_to = self.moved();
            caught_up = caught_up || self.has_caught_up();
            let watermark = caught_up.then(|| watermark_of(&records, asked_at));
            let quiet = records.is_empty() && read_to.is_empty();
            let worth_telling =
                watermark.is_some_and(|w| w.0 >= told_at.0.saturating_add(TELL_EVERY_US));
            if quiet && !worth_telling {
                continue;
            }
            told_at = watermark.unwrap_or(told_at);
            let bytes = records.iter().map(|record| record.value.len() + 64).sum();
            let items = records.into_iter().filter_map(Item::of).collect();
            if sender.send(Batch { items, bytes, read_to, watermark }).is_err() {
                return;
            }
            if !quiet {
                self.shared.input_waits(self.worker);
            }
        }
    }

    /// The partitions that moved since the last poll.
    fn moved(&mut self) -> Vec<(Part, u64)> {
        let mut moved = Vec::new();
        for (part, to) in self.reader.positions().iter().filter_map(part_of) {
            if self.known.insert(part, to) != Some(to) {
                moved.push((part, to));
            }
        }
        moved
    }

    fn has_caught_up(&self) -> bool {
        self.ends.iter().all(|(part, end)| self.known.get(part).is_some_and(|to| to >= end))
    }
}

/// All that reached the log before this has been read: the moment of asking when nothing came,
/// else the oldest of the newest records a partition.
fn watermark_of(records: &[Record], asked_at: Micros) -> Micros {
    let mut newest: BTreeMap<(Topic, u32), i64> = BTreeMap::new();
    for record in records {
        newest.insert((record.topic, record.partition), record.appended_at_us);
    }
    newest.values().min().map_or(asked_at, |oldest| Micros(*oldest).min(asked_at))
}

/// Class, partition and offset of a place; `None` for a topic that the flow does not read.
pub fn part_of(position: &Position) -> Option<(Part, u64)> {
    Some(((class_of(position.topic)?, position.partition), position.offset))
}
