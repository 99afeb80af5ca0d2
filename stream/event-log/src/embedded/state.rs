//! What the writer, the readers and the housekeeper of one open log share.
//!
//! In:    each commit's batches, from the writer.
//! Out:   the ends of every partition, the newest batches, a wake-up.
//! Keeps: the newest TAIL_BYTES_MAX of batches, so that readers near the end need no query.
//! Never: shows a batch before it is durable.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use inzira_schemas::Topic;

use super::codec::{Batch, topic_id};
use super::lock;
use super::mark::Ends;
use crate::{Head, LogError};

/// The newest batches held in memory; older ones are read from the file.
const TAIL_BYTES_MAX: usize = 64 << 20;

/// Where a topic begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicEnds {
    /// The oldest offset kept, by partition.
    pub start: Vec<u64>,
    /// The next offset, by partition.
    pub next: Vec<u64>,
    /// Its newest batch.
    pub last_seq: i64,
}

/// Shared by all parts of one open log.
#[derive(Debug)]
pub struct State {
    inner: Mutex<Inner>,
    news: Condvar,
    poison: OnceLock<String>,
    shield: OnceLock<Option<File>>,
}

#[derive(Debug)]
struct Inner {
    topics: Vec<TopicEnds>,
    tails: Vec<Tail>,
    tail_bytes: usize,
}

#[derive(Debug, Default)]
struct Tail {
    /// Every batch of the topic with a higher sequence is in `batches`.
    floor: i64,
    batches: VecDeque<Batch>,
}

/// Which batches a reader wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Topic.
    pub topic: Topic,
    /// Bit n: partition n.
    pub partitions: u64,
    /// Behind this batch.
    pub after_seq: i64,
    /// About how much.
    pub bytes_max: usize,
}

/// Batches from memory.
#[derive(Debug)]
pub struct FromTail {
    /// In order.
    pub batches: Vec<Batch>,
    /// The reader has now seen the topic up to here.
    pub up_to_seq: i64,
}

fn slot(topic: Topic) -> usize {
    usize::from(topic_id(topic)) - 1
}

impl State {
    /// The state of a log that was just opened.
    pub fn new(topics: Vec<TopicEnds>) -> Self {
        let tails = topics
            .iter()
            .map(|ends| Tail { floor: ends.last_seq, batches: VecDeque::new() })
            .collect();
        Self {
            inner: Mutex::new(Inner { topics, tails, tail_bytes: 0 }),
            news: Condvar::new(),
            poison: OnceLock::new(),
            shield: OnceLock::new(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while it was held leaves plain numbers behind; they are still the last commit's.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ends of a topic.
    pub fn ends(&self, topic: Topic) -> TopicEnds {
        self.inner().topics[slot(topic)].clone()
    }

    /// The ends of all topics, as the writer counts on.
    pub fn all_ends(&self) -> Vec<TopicEnds> {
        self.inner().topics.clone()
    }

    /// The ends of a topic, as the seam says them.
    pub fn heads(&self, topic: Topic) -> Vec<Head> {
        heads_of(&self.ends(topic))
    }

    /// A commit is durable: show it and wake the readers. Answers the note of all ends.
    pub fn publish(&self, batches: Vec<Batch>) -> Ends {
        let mut inner = self.inner();
        for batch in batches {
            let at = slot(batch.topic);
            let ends = &mut inner.topics[at];
            ends.next[batch.partition as usize] = batch.end_offset();
            ends.last_seq = batch.seq;
            inner.tail_bytes += batch.bytes.len();
            inner.tails[at].batches.push_back(batch);
        }
        inner.bound();
        let ends = Topic::ALL.iter().map(|topic| inner.topics[slot(*topic)].next.clone()).collect();
        drop(inner);
        self.news.notify_all();
        ends
    }

    /// Everything of a topic before these offsets is gone.
    pub fn trimmed(&self, topic: Topic, start: Vec<u64>) {
        self.inner().topics[slot(topic)].start = start;
    }

    /// Batches from memory; `None` when the reader is too far back for it.
    pub fn newest(&self, wanted: Wanted) -> Option<FromTail> {
        let inner = self.inner();
        let tail = &inner.tails[slot(wanted.topic)];
        if wanted.after_seq < tail.floor {
            return None;
        }
        let first = tail.batches.partition_point(|batch| batch.seq <= wanted.after_seq);
        let mut found = FromTail { batches: Vec::new(), up_to_seq: wanted.after_seq };
        let mut bytes = 0;
        for batch in tail.batches.range(first..) {
            if wanted.partitions >> batch.partition & 1 == 1 {
                if bytes > 0 && bytes + batch.bytes.len() > wanted.bytes_max {
                    return Some(found);
                }
                bytes += batch.bytes.len();
                found.batches.push(batch.clone());
            }
            found.up_to_seq = batch.seq;
        }
        Some(found)
    }

    /// Waits until one of the topics has more than the reader saw, or until `deadline`.
    pub fn wait(&self, seen: &[(Topic, i64)], deadline: Instant) -> bool {
        let mut inner = self.inner();
        loop {
            if seen.iter().any(|(topic, seq)| inner.topics[slot(*topic)].last_seq > *seq) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            inner = self.news.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// From now on nothing is acknowledged. The first reason stays.
    pub fn poison(&self, reason: String) -> LogError {
        tracing::error!(reason, "the event log is poisoned: nothing more is acknowledged");
        let _ = self.poison.set(reason);
        self.poisoned().unwrap_or_else(|| LogError::Poisoned(String::new()))
    }

    /// Before a connection of a poisoned log closes; see `lock::shield`. Lasts as long as `self`.
    pub fn shield_when_poisoned(&self, database: &Path) {
        if self.poisoned().is_none() {
            return;
        }
        self.shield.get_or_init(|| match lock::shield(database) {
            Ok(held) => Some(held),
            Err(error) => {
                tracing::error!(%error, "the database of the poisoned log could not be shielded");
                None
            }
        });
    }

    /// Why nothing is acknowledged any more, if so.
    pub fn poisoned(&self) -> Option<LogError> {
        self.poison.get().map(|reason| LogError::Poisoned(reason.clone()))
    }
}

impl Inner {
    fn bound(&mut self) {
        while self.tail_bytes > TAIL_BYTES_MAX {
            let oldest = self
                .tails
                .iter_mut()
                .filter(|tail| !tail.batches.is_empty())
                .min_by_key(|tail| tail.batches.front().map_or(i64::MAX, |batch| batch.seq));
            let Some(tail) = oldest else { return };
            if let Some(batch) = tail.batches.pop_front() {
                tail.floor = batch.seq;
                self.tail_bytes -= batch.bytes.len();
            }
        }
    }
}

/// The ends of a topic, as the seam says them.
pub fn heads_of(ends: &TopicEnds) -> Vec<Head> {
    (0u32..)
        .zip(ends.start.iter().zip(&ends.next))
        .map(|(partition, (start, end))| Head { partition, start: *start, end: *end })
        .collect()
}
