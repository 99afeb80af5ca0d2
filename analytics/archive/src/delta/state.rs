//! What a table's log adds up to: its live files and the log offsets that they cover.
//!
//! In:    actions, commit by commit.
//! Out:   files with their statistics, the next offset of every partition, the version.
//! Keeps: one entry a live file.
//! Never: skips a line that it should understand: that is damage, named by its commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake_core::kernel::{Action, Add, Transaction};
use inzira_schemas::Topic;

use super::stats::FileStats;
use super::{CRC_TAG, damaged};
use crate::error::ArchiveError;
use crate::layout::{EVENT_DATE, Table};

/// The next offset to read of each partition of each topic.
pub type Offsets = BTreeMap<(Topic, u32), u64>;

/// One live data file.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFile {
    /// Its path below the table's folder.
    pub path: String,
    /// The partition it belongs to, `YYYY-MM-DD` UTC.
    pub event_date: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Rows.
    pub rows: u64,
    /// When it was written, milliseconds since 1970.
    pub modified_ms: i64,
    /// CRC32C of its bytes, where the writer left one.
    pub crc32c: Option<u32>,
    /// Smallest and largest values of its columns.
    pub stats: Arc<FileStats>,
}

/// A table at one version.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Which table.
    pub table: Table,
    /// The Delta version.
    pub version: u64,
    /// Live files by path.
    pub files: BTreeMap<String, DataFile>,
    /// Files taken out of the table, with the time in milliseconds since 1970: readers of an
    /// older version may still hold them.
    pub removed: BTreeMap<String, i64>,
    /// The next offset of every partition that was ever committed.
    pub offsets: Offsets,
    /// Column names as the table's own schema has them, the partition column last.
    pub columns: Vec<String>,
}

impl State {
    /// A table before its first commit.
    pub fn empty(table: Table) -> Self {
        Self {
            table,
            version: 0,
            files: BTreeMap::new(),
            removed: BTreeMap::new(),
            offsets: Offsets::new(),
            columns: Vec::new(),
        }
    }

    /// Rows in all live files.
    pub fn rows(&self) -> u64 {
        self.files.values().map(|file| file.rows).sum()
    }

    /// Applies the commit file of `version`.
    pub fn apply_lines(&mut self, version: u64, bytes: &[u8]) -> Result<(), ArchiveError> {
        let path = format!("_delta_log/{version:020}.json");
        let mut actions = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Action>(line) {
                Ok(action) => actions.push(action),
                Err(error) if matters(line) => return Err(damaged(self.table, &path, error)),
                Err(_) => {}
            }
        }
        if actions.is_empty() {
            return Err(damaged(self.table, &path, "no action in it"));
        }
        for action in &actions {
            self.apply(action)?;
        }
        self.version = version;
        Ok(())
    }

    /// Applies one action.
    pub fn apply(&mut self, action: &Action) -> Result<(), ArchiveError> {
        match action {
            Action::Add(add) => {
                let file = self.data_file(add)?;
                self.removed.remove(&file.path);
                self.files.insert(file.path.clone(), file);
            }
            Action::Remove(remove) => {
                self.files.remove(&remove.path);
                let at_ms = remove.deletion_timestamp.unwrap_or_default();
                self.removed.insert(remove.path.clone(), at_ms);
            }
            Action::Txn(transaction) => {
                if let Some((place, offset)) = offset_of(transaction) {
                    self.offsets.insert(place, offset);
                }
            }
            Action::Metadata(metadata) => {
                let text = serde_json::to_value(metadata).map_err(ArchiveError::broken)?;
                self.set_columns(text["schemaString"].as_str().unwrap_or_default());
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the column names from a Delta schema.
    pub(crate) fn set_columns(&mut self, schema: &str) {
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap_or_default();
        let fields = schema["fields"].as_array().map_or(&[][..], Vec::as_slice);
        self.columns =
            fields.iter().filter_map(|field| field["name"].as_str().map(str::to_owned)).collect();
    }

    pub(crate) fn data_file(&self, add: &Add) -> Result<DataFile, ArchiveError> {
        let stats = FileStats::parse(self.table, add.stats.as_deref().unwrap_or_default())
            .map_err(|what| damaged(self.table, &add.path, what))?;
        let event_date =
            add.partition_values.get(EVENT_DATE).cloned().flatten().unwrap_or_default();
        let tag = add.tags.as_ref().and_then(|tags| tags.get(CRC_TAG).cloned().flatten());
        Ok(DataFile {
            path: add.path.clone(),
            event_date,
            size_bytes: u64::try_from(add.size).unwrap_or_default(),
            rows: stats.rows,
            modified_ms: add.modification_time,
            crc32c: tag.and_then(|text| u32::from_str_radix(&text, 16).ok()),
            stats: Arc::new(stats),
        })
    }
}

/// Whether a line that does not parse could have changed the state.
fn matters(line: &[u8]) -> bool {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(line) else { return true };
    ["add", "remove", "txn", "metaData", "protocol"].iter().any(|name| object.contains_key(*name))
}

/// The application transaction that says: everything of this partition below `offset` is in.
pub fn offset_transaction(topic: Topic, partition: u32, offset: u64) -> Transaction {
    Transaction::new(format!("archive/{topic}/{partition}"), super::i64_of(offset))
}

/// Reads it back; `None` for other transactions.
pub(crate) fn offset_of(transaction: &Transaction) -> Option<((Topic, u32), u64)> {
    let (topic, partition) = transaction.app_id.strip_prefix("archive/")?.rsplit_once('/')?;
    let place = (topic.parse().ok()?, partition.parse().ok()?);
    Some((place, u64::try_from(transaction.version).ok()?))
}
