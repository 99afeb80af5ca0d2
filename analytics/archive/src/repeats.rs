//! Knows which rows a table already has, so that a repeat never gets in.
//!
//! In:    rows in log order; the table's own files, for what was committed before a restart.
//! Out:   for each row, whether it is new.
//! Keeps: for each date in use a set of 64-bit hashes of the keys of `Table::key_columns`, read
//!        from the committed files of that date when it is first needed: about 14 bytes a key
//!        (a fix with a sequence number has two). The least recently used dates go when there
//!        are more than `keys_max`; the dates of the batch in hand never do.
//! Never: keeps state of its own outside the table, so a kill forgets nothing.
//!
//! A repeat is looked for among the rows of its own date: the same event has the same instant.
//! Two different rows of one date collide with a chance of about (rows of the date) / 2^64.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use inzira_store::Opened;
use inzira_store::object_store::Error as StoreError;
use inzira_store::object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::delta::DeltaLog;
use crate::delta::state::State;
use crate::error::ArchiveError;
use crate::layout::Table;
use crate::rows::{date_text, days};

/// The hashes by which rows are known: one list a set of `Table::key_columns`; `None` where the
/// row has no such key.
pub fn keys(table: Table, batch: &RecordBatch) -> Vec<Vec<Option<u64>>> {
    let texts = |name: &str| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    let mut lists = Vec::with_capacity(2);
    if let Some(ids) = texts("event_id") {
        lists.push(ids.iter().map(|id| id.map(|id| xxh3_64(id.as_bytes()))).collect());
    }
    let numbers = batch.column_by_name("seq").and_then(|c| c.as_primitive_opt::<Int64Type>());
    if table == Table::Fixes
        && let (Some(devices), Some(numbers)) = (texts("device_id"), numbers)
    {
        let key = |row: usize| {
            numbers.is_valid(row).then(|| {
                xxh3_64_with_seed(devices.value(row).as_bytes(), numbers.value(row) as u64)
            })
        };
        lists.push((0..batch.num_rows()).map(key).collect());
    }
    lists
}

/// The keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Keys = HashSet<u64, BuildHasherDefault<AsIs>>;

#[derive(Default)]
struct Date {
    keys: Keys,
    /// Files whose keys are in.
    files: HashSet<String>,
    used: u64,
}

/// The rows that a table has, as far as they have been asked for.
pub(crate) struct Seen {
    table: Table,
    dates: HashMap<i32, Date>,
    keys_max: usize,
    turn: u64,
}

impl Seen {
    /// Nothing loaded yet.
    pub fn new(table: Table, keys_max: usize) -> Self {
        Self { table, dates: HashMap::new(), keys_max, turn: 0 }
    }

    /// Forgets everything: the table was changed by another, or a commit failed.
    pub fn forget(&mut self) {
        self.dates.clear();
    }

    /// Keys held.
    pub fn len(&self) -> usize {
        self.dates.values().map(|date| date.keys.len()).sum()
    }

    /// For each row of `batch`, in order, whether it is new; from now on it is not. When the
    /// rows do not become part of the table after all, call `forget`.
    pub async fn admit(
        &mut self,
        log: &DeltaLog,
        state: &State,
        batch: &RecordBatch,
    ) -> Result<Vec<bool>, ArchiveError> {
        let days = days(self.table, batch);
        self.open(log, state, &days, false).await?;
        let lists = keys(self.table, batch);
        let mut keep = Vec::with_capacity(days.len());
        for (row, day) in days.iter().enumerate() {
            let date = self.dates.entry(*day).or_default();
            let new =
                lists.iter().filter_map(|list| list[row]).all(|key| !date.keys.contains(&key));
            if new {
                date.keys.extend(lists.iter().filter_map(|list| list[row]));
            }
            keep.push(new);
        }
        self.shrink();
        Ok(keep)
    }

    /// Loads the dates of these days. With `again`, also the files that came since.
    async fn open(
        &mut self,
        log: &DeltaLog,
        state: &State,
        days: &[i32],
        again: bool,
    ) -> Result<(), ArchiveError> {
        self.turn += 1;
        for day in days.iter().copied().collect::<BTreeSet<_>>() {
            let held = self.dates.remove(&day);
            let fresh = held.is_none();
            let mut date = held.unwrap_or_default();
            date.used = self.turn;
            if fresh || again {
                load(self.table, log, state, &date_text(day), &mut date).await?;
            }
            self.dates.insert(day, date);
        }
        Ok(())
    }

    /// Drops the dates that were not used for longest, never one of this turn.
    fn shrink(&mut self) {
        while self.len() > self.keys_max {
            let oldest = self
                .dates
                .iter()
                .filter(|(_, date)| date.used < self.turn)
                .min_by_key(|(_, date)| date.used)
                .map(|(day, _)| *day);
            match oldest {
                Some(day) => self.dates.remove(&day),
                None => return,
            };
        }
    }
}

/// Adds the keys of every committed row of one date whose file is not in yet.
async fn load(
    table: Table,
    log: &DeltaLog,
    state: &State,
    day: &str,
    date: &mut Date,
) -> Result<(), ArchiveError> {
    date.files.retain(|path| state.files.contains_key(path));
    let files: Vec<_> = state
        .files
        .values()
        .filter(|file| file.event_date == day && !date.files.contains(&file.path))
        .collect();
    if date.keys.is_empty() {
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        let lists = table.key_columns().len();
        date.keys.reserve(usize::try_from(rows).unwrap_or_default() * lists);
    }
    let columns: BTreeSet<&str> =
        table.key_columns().iter().flat_map(|columns| columns.iter().copied()).collect();
    for file in files {
        let damaged = |error: &dyn std::fmt::Display| log.damaged(&file.path, error);
        let path = Path::parse(&file.path).map_err(|error| damaged(&error))?;
        let bytes = match log.read(&path).await {
            Ok(bytes) => bytes,
            Err(error @ StoreError::NotFound { .. }) => return Err(damaged(&error)),
            Err(error) => return Err(error.into()),
        };
        if file.crc32c.is_some_and(|crc| crc != crc32c::crc32c(&bytes)) {
            return Err(damaged(&"its bytes do not match their checksum"));
        }
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| damaged(&error))?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let batches = builder.with_projection(mask).build().map_err(|error| damaged(&error))?;
        for batch in batches {
            for list in keys(table, &batch.map_err(|error| damaged(&error))?) {
                date.keys.extend(list.into_iter().flatten());
            }
        }
        date.files.insert(file.path.clone());
    }
    Ok(())
}

/// Tells which rows of the log's tail a table has already: the tail may hold a fix that a device
/// sent again after its first sending was committed.
pub struct KnownRows {
    log: DeltaLog,
    seen: Seen,
}

impl KnownRows {
    /// For one table, keeping about `keys_max` keys of 14 bytes. Nothing is read yet.
    pub fn new(opened: &Opened, table: Table, keys_max: usize) -> Result<Self, ArchiveError> {
        Ok(Self { log: DeltaLog::new(opened, table)?, seen: Seen::new(table, keys_max) })
    }

    /// For each row of `tail`, whether it is neither in the table at `committed` nor earlier in
    /// `tail`. Reads the files of the rows' dates that it has not read before.
    pub async fn is_new(
        &mut self,
        committed: &State,
        tail: &RecordBatch,
    ) -> Result<Vec<bool>, ArchiveError> {
        let days = days(self.log.table, tail);
        self.seen.open(&self.log, committed, &days, true).await?;
        let lists = keys(self.log.table, tail);
        let mut in_tail = Keys::default();
        let mut new = Vec::with_capacity(days.len());
        for (row, day) in days.iter().enumerate() {
            let mut of_row = lists.iter().filter_map(|list| list[row]);
            let date = self.seen.dates.get(day);
            let is_new = of_row.clone().all(|key| {
                !in_tail.contains(&key) && !date.is_some_and(|date| date.keys.contains(&key))
            });
            if is_new {
                in_tail.extend(&mut of_row);
            }
            new.push(is_new);
        }
        self.seen.shrink();
        Ok(new)
    }
}
