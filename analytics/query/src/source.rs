//! What the archive has committed, as questions need it: files, their bounds, and the offsets.
//!
//! In:    a table.
//! Out:   one version of it: the live files and, from the same commit, the next offset of every
//!        partition of the log that they cover.
//! Never: mixes two versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::Statistics;
use inzira_archive::Table;
use inzira_schemas::Topic;

use crate::error::QueryError;

/// The next offset of each partition that a version covers.
pub type Offsets = BTreeMap<(Topic, u32), u64>;

/// One version of one table.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Which table.
    pub table: Table,
    /// The version of the Delta log; `None` while there is no table yet.
    pub version: Option<i64>,
    /// The live files.
    pub files: Vec<DataFile>,
    /// Records below these offsets are in the files (or were repeats); the others are not.
    pub next: Offsets,
}

/// One live file.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Its path from the store's root.
    pub path: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its partition, `YYYY-MM-DD`.
    pub event_date: String,
    /// Rows, and bounds of the columns of the file in the shape's order. Bounds that are not
    /// exact must be absent: files are skipped by them.
    pub statistics: Arc<Statistics>,
}

/// Where versions come from: the archive, or a test's own hand.
#[async_trait]
pub trait Committed: Send + Sync + 'static {
    /// The newest version of a table, or `None` when it is still the one `known`.
    async fn newest(
        &self,
        table: Table,
        known: Option<&Snapshot>,
    ) -> Result<Option<Snapshot>, QueryError>;
}

impl Snapshot {
    /// A table that has no commit yet.
    pub fn empty(table: Table) -> Self {
        Self { table, version: None, files: Vec::new(), next: Offsets::new() }
    }

    /// The first offset of a partition that the files do not cover; 0 when nothing was committed.
    pub fn next_of(&self, topic: Topic, partition: u32) -> u64 {
        self.next.get(&(topic, partition)).copied().unwrap_or(0)
    }
}
