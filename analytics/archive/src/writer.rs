//! One table's writer: rows of a cut become files and one commit, exactly once.
//!
//! In:    a batch of rows and the offsets up to which it covers the log.
//! Out:   files made durable, then one commit that names them and the offsets.
//! Keeps: the table's state as of its own last commit; the keys of recent rows.
//! Never: commits rows whose offsets the table already covers: a commit that meets another
//!        writer's fails, and the caller starts again from the offsets that the table holds.

use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalake_core::kernel::{Action, Transaction};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use inzira_schemas::{Clock, Micros};
use inzira_store::Opened;
use inzira_store::object_store::ObjectStoreExt;
use inzira_store::object_store::path::Path;
use xxhash_rust::xxh3::Xxh3;

use crate::config::ArchiveConfig;
use crate::data_file::{EncodedFile, Encoder, by_date};
use crate::delta::DeltaLog;
use crate::delta::state::{Offsets, State, offset_transaction};
use crate::error::ArchiveError;
use crate::layout::{EVENT_DATE, Table};
use crate::repeats::Seen;

/// A cut that is encoded and waits to be published.
#[derive(Debug)]
pub struct Prepared {
    /// Rows that become part of the table.
    pub rows: u64,
    /// Rows that the table already had.
    pub repeats: u64,
    files: Vec<EncodedFile>,
    offsets: Vec<Transaction>,
    durable: usize,
}

impl Prepared {
    /// True when publishing it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.offsets.is_empty()
    }
}

/// The writer of one table.
pub struct TableWriter {
    /// Its log.
    pub log: DeltaLog,
    /// The table as of the last commit or reload.
    pub state: State,
    pub(crate) seen: Seen,
    pub(crate) encoder: Encoder,
    pub(crate) clock: Arc<dyn Clock>,
    /// When `state` was last known to be the newest.
    looked_at: Micros,
}

/// Seconds after which a writer's own picture of its table is doubted.
const STALE_AFTER_S: f64 = 3_600.0;

impl TableWriter {
    /// Opens the table, or creates it.
    pub async fn open(
        opened: &Opened,
        table: Table,
        config: &ArchiveConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ArchiveError> {
        let log = DeltaLog::new(opened, table)?;
        let state = log.open_or_create().await?;
        let ours: Vec<String> =
            table.schema().fields().iter().map(|field| field.name().clone()).collect();
        if state.columns != ours {
            return Err(ArchiveError::broken(format!(
                "{table} in the store has the columns {:?}, this version writes {ours:?}",
                state.columns
            )));
        }
        let seen = Seen::new(table, config.repeat_keys_max);
        let looked_at = clock.now();
        Ok(Self { log, state, seen, encoder: Encoder::new(table), clock, looked_at })
    }

    /// Which table.
    pub fn table(&self) -> Table {
        self.log.table
    }

    /// Removes repeats, sorts and encodes. `next` is where the log goes on after these rows.
    /// An error leaves nothing behind; the same rows may be prepared again.
    pub async fn prepare(
        &mut self,
        batch: &RecordBatch,
        next: &Offsets,
    ) -> Result<Prepared, ArchiveError> {
        let prepared = self.try_prepare(batch, next).await;
        if prepared.is_err() {
            self.seen.forget();
        }
        prepared
    }

    async fn try_prepare(
        &mut self,
        batch: &RecordBatch,
        next: &Offsets,
    ) -> Result<Prepared, ArchiveError> {
        let keep = self.seen.admit(&self.log, &self.state, batch).await?;
        let offsets: Vec<Transaction> = next
            .iter()
            // An absent partition is one of which nothing was read.
            .filter(|(place, offset)| {
                self.state.offsets.get(place).copied().unwrap_or_default() != **offset
            })
            .map(|((topic, partition), offset)| offset_transaction(*topic, *partition, *offset))
            .collect();
        let covers = self.covers(next);
        let now_ms = self.clock.now().0 / 1_000;
        let files = by_date(self.table(), batch, Some(&keep))?
            .iter()
            .map(|(date, rows)| self.encoder.encode(rows, date, 0, covers, now_ms))
            .collect::<Result<Vec<_>, _>>()?;
        let rows = keep.iter().filter(|keep| **keep).count() as u64;
        let repeats = keep.len() as u64 - rows;
        Ok(Prepared { rows, repeats, files, offsets, durable: 0 })
    }

    /// Makes the files durable and commits them with their offsets. On `Store` the same cut may
    /// be published again after `catch_up` said `Unchanged`.
    pub async fn publish(&mut self, prepared: &mut Prepared) -> Result<(), ArchiveError> {
        for file in prepared.files.iter().skip(prepared.durable) {
            let path = Path::parse(&file.add.path).map_err(ArchiveError::broken)?;
            self.log.objects.put(&path, file.bytes.clone().into()).await?;
            prepared.durable += 1;
        }
        fail::fail_point!("archive::after_parquet_before_commit");
        self.look().await?;
        let actions = prepared.files.iter().map(|file| Action::Add(file.add.clone())).collect();
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![EVENT_DATE.to_owned()]),
            predicate: None,
        };
        self.log.commit(&mut self.state, actions, prepared.offsets.clone(), operation).await?;
        self.looked_at = self.clock.now();
        fail::fail_point!("archive::after_commit");
        Ok(())
    }

    /// After a failed commit: reads what others (or an own commit whose answer was lost) did.
    pub async fn catch_up(&mut self) -> Result<Caught, ArchiveError> {
        let newest = self.newest().await?;
        let moved = newest.offsets != self.state.offsets;
        self.state = newest;
        self.looked_at = self.clock.now();
        if moved {
            self.seen.forget();
        }
        Ok(if moved { Caught::OffsetsMoved } else { Caught::Unchanged })
    }

    /// A writer that slept past the retention of commit files could write a version that was
    /// there and is gone: after an hour without a commit it reads the table first.
    async fn look(&mut self) -> Result<(), ArchiveError> {
        if self.clock.now().seconds_since(self.looked_at) > STALE_AFTER_S {
            if self.newest().await?.version != self.state.version {
                return Err(ArchiveError::Conflict(self.table()));
            }
            self.looked_at = self.clock.now();
        }
        Ok(())
    }

    async fn newest(&self) -> Result<State, ArchiveError> {
        let newest = self.log.load().await?;
        newest.ok_or_else(|| ArchiveError::broken("the table has gone from the store"))
    }

    /// The same number for the same range of the log on top of the same state.
    fn covers(&self, next: &Offsets) -> u64 {
        let mut hash = Xxh3::new();
        for ((topic, partition), offset) in next {
            let from = self.state.offsets.get(&(*topic, *partition)).copied().unwrap_or_default();
            hash.update(topic.name().as_bytes());
            hash.update(&partition.to_le_bytes());
            hash.update(&from.to_le_bytes());
            hash.update(&offset.to_le_bytes());
        }
        hash.digest()
    }
}

/// What had happened to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// No offset moved: the same cut may be published on top.
    Unchanged,
    /// Offsets moved: drop the cut and resume from the state's offsets.
    OffsetsMoved,
}
