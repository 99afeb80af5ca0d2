//! Knows a repeat among the rows that are not archived yet.
//!
//! In:    rows in the order of the log.
//! Out:   for each: new, a repeat of one seen since start, or too old to tell from memory alone.
//! Keeps: 64-bit hashes of the keys of the newest rows, at most `KEYS_MAX`; the oldest go first,
//!        and rows as old as they are doubtful from then on.
//! Never: decides that an old row is new: the committed files are asked (`tail::Doubtful`).
//!
//! A repeat is of the same date and agrees in every column of one of the table's key sets
//! (`Table::key_columns`): the same event, or the same device and sequence. The archive removes
//! repeats by the same rule before it commits.

use std::collections::{HashSet, VecDeque};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use inzira_archive::Table;
use inzira_archive::rows::DAY_US;
use xxhash_rust::xxh3::Xxh3;

/// Most keys remembered for one table (about 50 MB).
pub const KEYS_MAX: usize = 1_500_000;

/// Clocks of the machines of one house differ by less than this. (A phone's own clock does not
/// matter: a time ahead of its arrival is clamped to it.)
pub const CLOCK_SLACK_US: i64 = 30_000_000;

/// What memory can say of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen, and young enough that it would have been.
    New,
    /// Seen.
    Repeat,
    /// Not seen, but so old that it may have been committed before memory began.
    Doubtful,
}

/// The keys of the newest rows of one table.
#[derive(Debug)]
pub struct Recent {
    seen: HashSet<u64>,
    order: VecDeque<(u64, i64)>,
    horizon_us: i64,
    keys_max: usize,
}

impl Recent {
    /// A memory that begins at `now_us`.
    pub fn since(now_us: i64) -> Self {
        Self::bounded(now_us, KEYS_MAX)
    }

    fn bounded(now_us: i64, keys_max: usize) -> Self {
        Self {
            seen: HashSet::new(),
            order: VecDeque::new(),
            horizon_us: now_us.saturating_add(CLOCK_SLACK_US),
            keys_max,
        }
    }

    /// Takes a row's keys into memory and judges it. `at_us` is the instant that dates the row.
    pub fn judge(&mut self, keys: &RowKeys, at_us: i64) -> Verdict {
        if keys.iter().any(|key| self.seen.contains(&key)) {
            return Verdict::Repeat;
        }
        for key in keys.iter() {
            self.seen.insert(key);
            self.order.push_back((key, at_us));
        }
        while self.order.len() > self.keys_max {
            if let Some((key, at_us)) = self.order.pop_front() {
                self.seen.remove(&key);
                self.horizon_us = self.horizon_us.max(at_us.saturating_add(CLOCK_SLACK_US));
            }
        }
        if at_us > self.horizon_us { Verdict::New } else { Verdict::Doubtful }
    }
}

/// The hashes by which one row is known; a set with a null in it names nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowKeys([Option<u64>; 2]);

impl RowKeys {
    /// The hashes there are.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied().flatten()
    }
}

/// The keys of every row of a batch, of those key sets whose columns it has.
pub fn row_keys(table: Table, batch: &RecordBatch) -> Vec<RowKeys> {
    let mut keys = vec![RowKeys::default(); batch.num_rows()];
    let days: Vec<i64> =
        instants(table, batch).into_iter().map(|at_us| at_us.div_euclid(DAY_US)).collect();
    for (index, set) in table.key_columns().iter().take(2).enumerate() {
        let columns: Option<Vec<&ArrayRef>> =
            set.iter().map(|name| batch.column_by_name(name)).collect();
        let Some(columns) = columns else { continue };
        for (row, key) in keys.iter_mut().enumerate() {
            key.0[index] = hash(index, days[row], &columns, row);
        }
    }
    keys
}

/// The instants that date the rows of a batch.
pub fn instants(table: Table, batch: &RecordBatch) -> Vec<i64> {
    batch
        .column_by_name(table.date_column())
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .map(|column| column.values().to_vec())
        .unwrap_or_else(|| vec![0; batch.num_rows()])
}

fn hash(set: usize, day: i64, columns: &[&ArrayRef], row: usize) -> Option<u64> {
    let mut hasher = Xxh3::new();
    hasher.update(&day.to_le_bytes());
    hasher.update(&[u8::try_from(set).unwrap_or(u8::MAX)]);
    for column in columns {
        if column.is_null(row) {
            return None;
        }
        match column.data_type() {
            DataType::Utf8View => put_text(&mut hasher, column.as_string_view().value(row)),
            DataType::Utf8 => put_text(&mut hasher, column.as_string::<i32>().value(row)),
            DataType::Int64 => {
                hasher.update(&column.as_primitive::<Int64Type>().value(row).to_le_bytes());
            }
            // No key column has another type; one that had would name nothing.
            _ => return None,
        }
    }
    Some(hasher.digest())
}

fn put_text(hasher: &mut Xxh3, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(id: u64) -> RowKeys {
        RowKeys([Some(id), None])
    }

    #[test]
    fn a_row_seen_before_is_a_repeat_and_an_old_one_is_doubtful() {
        let mut recent = Recent::since(1_000_000_000);
        let young = 1_000_000_000 + CLOCK_SLACK_US + 1;
        assert_eq!(recent.judge(&keys(1), young), Verdict::New);
        assert_eq!(recent.judge(&keys(1), young), Verdict::Repeat);
        assert_eq!(recent.judge(&keys(2), 5), Verdict::Doubtful);
        assert_eq!(recent.judge(&keys(2), 5), Verdict::Repeat);
    }

    #[test]
    fn a_full_memory_forgets_the_oldest_and_doubts_rows_of_its_age() {
        let mut recent = Recent::bounded(0, 2);
        let base = CLOCK_SLACK_US * 10;
        assert_eq!(recent.judge(&keys(1), base), Verdict::New);
        assert_eq!(recent.judge(&keys(2), base + 1), Verdict::New);
        assert_eq!(recent.judge(&keys(3), base + CLOCK_SLACK_US + 2), Verdict::New);
        assert_eq!(recent.judge(&keys(1), base), Verdict::Doubtful);
    }
}
