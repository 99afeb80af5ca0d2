//! One consistent cut through all tables: what a single question sees.
//!
//! In:    the newest adopted version of every table and the tails beside them.
//! Out:   the same rows for as long as a question holds it, whatever is committed meanwhile.
//! Keeps: versions, decoded tails, and how far the log was read, all of one moment.
//! Never: shows a version whose offsets lie beyond what was read of the log: tables would differ
//!        in how new they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use inzira_archive::Table;
use inzira_event_log::{Position, Record};
use inzira_schemas::{Micros, Topic};
use xxhash_rust::xxh3::Xxh3;

use crate::shape::Shape;
use crate::source::{Offsets, Snapshot};
use crate::tail::{Doubtful, Tail};

/// One table within a cut.
#[derive(Debug, Clone)]
pub struct TableView {
    /// Its columns.
    pub shape: Arc<Shape>,
    /// False when only its columns are known: such a table can be described, not read.
    pub was_read: bool,
    /// Its committed version.
    pub snapshot: Arc<Snapshot>,
    /// Rows not committed.
    pub certain: Vec<RecordBatch>,
    /// Rows not committed that may repeat committed ones.
    pub doubtful: Vec<Arc<Doubtful>>,
}

impl TableView {
    fn unread(table: Table) -> Self {
        Self {
            shape: Arc::new(Shape::of(table)),
            was_read: false,
            snapshot: Arc::new(Snapshot::empty(table)),
            certain: Vec::new(),
            doubtful: Vec::new(),
        }
    }
}

/// All tables of one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// The tables.
    pub tables: BTreeMap<Table, TableView>,
    /// Everything acknowledged before this moment is in it.
    pub as_of: Micros,
    /// How far each partition was read.
    pub read_to: Arc<Offsets>,
}

impl View {
    /// A short text that changes when the given tables may have changed.
    pub fn tag(&self, tables: &[Table]) -> String {
        let mut hash = Xxh3::new();
        for table in tables {
            let version = self.tables.get(table).and_then(|view| view.snapshot.version);
            hash.update(table.name().as_bytes());
            hash.update(&version.unwrap_or(-1).to_le_bytes());
            for ((topic, partition), next) in self.read_to.iter() {
                if table.topics().contains(topic) {
                    hash.update(&partition.to_le_bytes());
                    hash.update(&next.to_le_bytes());
                }
            }
        }
        format!("{:016x}", hash.digest())
    }
}

struct TableState {
    shape: Arc<Shape>,
    snapshot: Arc<Snapshot>,
    /// Newer, but beyond what was read of the log so far.
    pending: Option<Snapshot>,
    tail: Tail,
}

/// What a follower of the log holds; a plain state machine that knows no thread and no clock.
pub struct Cut {
    tables: BTreeMap<Table, TableState>,
    read_to: Offsets,
}

impl Cut {
    /// Begins at the given versions. Partitions that they say nothing of begin at `starts`.
    pub fn begin(snapshots: Vec<Snapshot>, starts: &Offsets, now: Micros) -> Self {
        let mut read_to = Offsets::new();
        let mut tables = BTreeMap::new();
        for snapshot in snapshots {
            let table = snapshot.table;
            for topic in table.topics() {
                for partition in 0..topic.partitions() {
                    let key = (*topic, partition);
                    let start = starts.get(&key).copied().unwrap_or(0);
                    read_to.insert(key, snapshot.next.get(&key).copied().unwrap_or(start));
                }
            }
            let shape = Arc::new(Shape::of(table));
            let tail = Tail::new(Arc::clone(&shape), now.0);
            let snapshot = Arc::new(snapshot);
            tables.insert(table, TableState { shape, snapshot, pending: None, tail });
        }
        Self { tables, read_to }
    }

    /// Where a reader has to go on.
    pub fn positions(&self) -> Vec<Position> {
        self.read_to
            .iter()
            .map(|((topic, partition), offset)| Position {
                topic: *topic,
                partition: *partition,
                offset: *offset,
            })
            .collect()
    }

    /// Takes records, and how far the reader is after them. The answer is the rows, by table,
    /// repeats included.
    pub fn take(
        &mut self,
        records: &[Record],
        positions: &[Position],
    ) -> Result<Vec<(Table, RecordBatch)>, ArrowError> {
        let mut rows = Vec::new();
        for (table, state) in &mut self.tables {
            if !records.iter().any(|record| table.topics().contains(&record.topic)) {
                continue;
            }
            let (batch, unreadable) = state.tail.take(records)?;
            for bad in &unreadable {
                tracing::warn!(
                    topic = %bad.topic, partition = bad.partition, offset = bad.offset,
                    reason = %bad.reason, "a record of the tail cannot be read and is left out"
                );
            }
            rows.push((*table, batch));
        }
        for position in positions {
            if let Some(read_to) = self.read_to.get_mut(&(position.topic, position.partition)) {
                *read_to = (*read_to).max(position.offset);
            }
        }
        self.adopt()?;
        Ok(rows)
    }

    /// Offers a newer version; it is taken as soon as the log is read as far as it reaches.
    pub fn offer(&mut self, snapshot: Snapshot) -> Result<(), ArrowError> {
        if let Some(state) = self.tables.get_mut(&snapshot.table) {
            state.pending = Some(snapshot);
        }
        self.adopt()
    }

    /// Bytes of all tails.
    pub fn bytes(&self) -> usize {
        self.tables.values().map(|state| state.tail.bytes()).sum()
    }

    /// The newest version known of a table, adopted or not.
    pub fn known(&self, table: Table) -> Option<&Snapshot> {
        let state = self.tables.get(&table)?;
        Some(state.pending.as_ref().unwrap_or(&state.snapshot))
    }

    /// True when the archive holds a version beyond what was read of the log.
    pub fn has_pending(&self) -> bool {
        self.tables.values().any(|state| state.pending.is_some())
    }

    /// The cut as questions see it.
    pub fn view(&self, as_of: Micros) -> View {
        let tables = self.tables.iter().map(|(table, state)| {
            let view = TableView {
                shape: Arc::clone(&state.shape),
                was_read: true,
                snapshot: Arc::clone(&state.snapshot),
                certain: state.tail.certain(),
                doubtful: state.tail.doubtful(),
            };
            (*table, view)
        });
        let mut tables: BTreeMap<Table, TableView> = tables.collect();
        for table in Table::ALL {
            tables.entry(table).or_insert_with(|| TableView::unread(table));
        }
        View { tables, as_of, read_to: Arc::new(self.read_to.clone()) }
    }

    /// True when everything below `heads` was read.
    pub fn has_read(&self, heads: &Offsets) -> bool {
        heads.iter().all(|(key, end)| self.read_to.get(key).is_none_or(|read| read >= end))
    }

    /// The topics that are read.
    pub fn topics(&self) -> Vec<Topic> {
        self.tables.keys().flat_map(|table| table.topics().iter().copied()).collect()
    }

    fn adopt(&mut self) -> Result<(), ArrowError> {
        for state in self.tables.values_mut() {
            let reached = state.pending.as_ref().is_some_and(|pending| {
                pending
                    .next
                    .iter()
                    .all(|(key, next)| self.read_to.get(key).is_none_or(|read| read >= next))
            });
            if reached && let Some(pending) = state.pending.take() {
                state.tail.trim(&pending.next)?;
                state.snapshot = Arc::new(pending);
            }
        }
        Ok(())
    }
}
