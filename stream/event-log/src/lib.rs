//! What happened, in order, kept: the seam between those who say and those who listen.
//!
//! In:    records with a key, for one of the topics of `inzira-schemas`.
//! Out:   the same records, in order per partition, from any offset still kept.
//! Keeps: every record until its topic's retention ends.
//! Never: answers before a record is durable; skips damage in silence.
//!
//! Two implementations, one contract suite (`contract`): `embedded` (SQLite batches, survives
//! power loss) and `kafka` (rdkafka). `open` chooses by URL: `file:` or `kafka://host:9092,…`.

pub mod contract;
pub mod embedded;
pub mod kafka;
mod open;
mod record;
mod retention;

pub use open::{Access, OpenError, open};
pub use record::{CALL_BYTES_MAX, HEADERS_MAX, Header, NewRecord, RECORD_BYTES_MAX, Record};
pub use retention::kept_for;

use std::time::Duration;

use async_trait::async_trait;
use inzira_schemas::Topic;

/// A place in the log: the offset to read next in one partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// The next offset to read.
    pub offset: u64,
}

/// The ends of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The partition.
    pub partition: u32,
    /// The oldest offset still kept.
    pub start: u64,
    /// One past the newest committed record. Offsets may have gaps below it.
    pub end: u64,
}

/// What `append` answers: where each record went, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// `(partition, offset)` of each record.
    pub offsets: Vec<(u32, u64)>,
}

/// What a log means by durable. Shown in `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// fsync before the answer: survives power loss.
    PowerLoss,
    /// Survives a kill of broker or service; power loss only with replication.
    ProcessKill,
}

/// How the log can fail, and what to do then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Nothing was written; try again after a pause. Answer 503.
    #[error("the log is busy: {0}")]
    Busy(String),
    /// The disk is full. Nothing was written; it works again once there is room. Answer 503.
    #[error("no space left for the log")]
    Full,
    /// It may or may not have been written. Readers know repeats by event id.
    #[error("outcome of the append is unknown: {0}")]
    Unknown(String),
    /// A newer holder of the same transactor name has taken over. Stop at once.
    #[error("fenced by a newer writer: {0}")]
    Fenced(String),
    /// Bytes in the middle of the log are damaged. Nothing past them is served.
    #[error("damage in {topic}/{partition} at offsets {first}..={last}: {what}")]
    Damaged {
        /// Topic.
        topic: Topic,
        /// Partition.
        partition: u32,
        /// First damaged offset.
        first: u64,
        /// Last damaged offset.
        last: u64,
        /// What was found.
        what: String,
    },
    /// The offset is older than what is kept.
    #[error("{topic}/{partition} begins at {start}, offset {asked} is gone")]
    Gone {
        /// Topic.
        topic: Topic,
        /// Partition.
        partition: u32,
        /// Oldest offset kept.
        start: u64,
        /// What was asked for.
        asked: u64,
    },
    /// A write or fsync failed: nothing more is acknowledged, the process must end and reopen.
    #[error("the log is poisoned: {0}")]
    Poisoned(String),
    /// Anything else: a bug or a broken installation.
    #[error("log failure: {0}")]
    Broken(String),
}

/// An append-only log of topics and partitions.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Appends records; answers when all are durable. All or nothing on the embedded log; on
    /// Kafka an error may leave a part written. Order per key is the order given.
    async fn append(&self, records: Vec<NewRecord>) -> Result<Appended, LogError>;

    /// A reader of committed records from the given places. Blocking: use it on its own thread
    /// or under `spawn_blocking`.
    fn reader(&self, from: &[Position]) -> Result<Box<dyn LogReader>, LogError>;

    /// The one writer of this name; an earlier holder is fenced from now on.
    async fn transactor(&self, name: &str) -> Result<Box<dyn Transactor>, LogError>;

    /// The ends of every partition of a topic, by partition.
    async fn heads(&self, topic: Topic) -> Result<Vec<Head>, LogError>;

    /// What `Ok` from `append` promises.
    fn durability(&self) -> Durability;
}

/// Reads several partitions at once, in order within each.
pub trait LogReader: Send {
    /// Up to about `bytes_max` of records, waiting at most `wait` for the first. An empty answer
    /// means that nothing new is committed. Records of one partition come in offset order.
    fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Record>, LogError>;

    /// The next offset of every partition, past gaps and transaction markers too: when it has
    /// reached `Head::end` the reader has caught up.
    fn positions(&self) -> Vec<Position>;
}

/// Writes to several topics at once: all of it becomes visible, or none.
#[async_trait]
pub trait Transactor: Send {
    /// One transaction. After `Unknown` or `Fenced` this transactor is dead: take a new one and
    /// read back what was committed before going on.
    async fn transact(&mut self, records: Vec<NewRecord>) -> Result<(), LogError>;
}
