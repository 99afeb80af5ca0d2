//! The rows that are in the log and not yet in the archive, decoded and without repeats.
//!
//! In:    records of the log in order; newer versions of the tables.
//! Out:   per table: certain rows, and doubtful ones that the committed files must be asked about.
//! Keeps: rows from the committed offsets to the last record read; a newer version drops them.
//! Never: shows a row that the version beside it already holds, or loses one that it does not.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use inzira_archive::Undecodable;
use inzira_event_log::Record;
use inzira_schemas::Topic;

use crate::repeats::{Recent, Verdict, instants, row_keys};
use crate::shape::Shape;
use crate::source::Offsets;

/// Batches below this many rows are joined, so that a scan meets few of them.
const JOIN_BELOW_ROWS: usize = 32_768;

/// Where in the log a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Topic.
    pub topic: Topic,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
}

impl Place {
    /// The place of a record.
    pub fn of(record: &Record) -> Self {
        Self { topic: record.topic, partition: record.partition, offset: record.offset }
    }

    fn is_covered(&self, next: &Offsets) -> bool {
        next.get(&(self.topic, self.partition)).is_some_and(|next| self.offset < *next)
    }
}

/// Rows with their places.
#[derive(Debug, Clone)]
struct Rows {
    batch: RecordBatch,
    places: Vec<Place>,
}

impl Rows {
    fn kept(&self, keep: &[bool]) -> Result<Rows, ArrowError> {
        let batch =
            compact(&filter_record_batch(&self.batch, &BooleanArray::from(keep.to_vec()))?)?;
        let places =
            self.places.iter().zip(keep).filter(|(_, keep)| **keep).map(|(place, _)| *place);
        Ok(Rows { batch, places: places.collect() })
    }

    fn bytes(&self) -> usize {
        self.batch.get_array_memory_size() + self.places.len() * size_of::<Place>()
    }
}

/// Rows too old to be told from repeats by memory; the committed files decide, once.
#[derive(Debug)]
pub struct Doubtful {
    rows: Rows,
    /// What is left of them after the committed files were asked.
    pub cleared: OnceLock<RecordBatch>,
}

impl Doubtful {
    /// The rows in question.
    pub fn batch(&self) -> &RecordBatch {
        &self.rows.batch
    }
}

/// The tail of one table.
#[derive(Debug)]
pub struct Tail {
    shape: Arc<Shape>,
    recent: Recent,
    certain: Vec<Rows>,
    doubtful: Vec<Arc<Doubtful>>,
    bytes: usize,
}

impl Tail {
    /// An empty tail whose memory of repeats begins at `now_us`.
    pub fn new(shape: Arc<Shape>, now_us: i64) -> Self {
        let recent = Recent::since(now_us);
        Self { shape, recent, certain: Vec::new(), doubtful: Vec::new(), bytes: 0 }
    }

    /// Takes the records of this table among `records`. The answer is every row of them, repeats
    /// included, and what could not be read.
    pub fn take(
        &mut self,
        records: &[Record],
    ) -> Result<(RecordBatch, Vec<Undecodable>), ArrowError> {
        let table = self.shape.table;
        let (batch, unreadable) = table.decode(records);
        let batch = self.shape.fit(&batch)?;
        if batch.num_rows() == 0 {
            return Ok((batch, unreadable));
        }
        let places = places(records, table.topics(), &unreadable);
        let rows = Rows { batch: batch.clone(), places };
        let verdicts: Vec<Verdict> = row_keys(table, &batch)
            .iter()
            .zip(instants(table, &batch))
            .map(|(keys, at_us)| self.recent.judge(keys, at_us))
            .collect();
        let of = |wanted| verdicts.iter().map(|verdict| *verdict == wanted).collect::<Vec<bool>>();
        if verdicts.iter().all(|verdict| *verdict == Verdict::New) {
            self.push_certain(rows)?;
        } else {
            self.push_certain(rows.kept(&of(Verdict::New))?)?;
            self.push_doubtful(rows.kept(&of(Verdict::Doubtful))?);
        }
        Ok((batch, unreadable))
    }

    /// Drops what a newer version of the table covers.
    pub fn trim(&mut self, next: &Offsets) -> Result<(), ArrowError> {
        let certain = std::mem::take(&mut self.certain);
        let doubtful = std::mem::take(&mut self.doubtful);
        self.bytes = 0;
        for rows in certain {
            if let Some(rows) = uncovered(&rows, next)? {
                self.push_certain(rows)?;
            }
        }
        for old in doubtful {
            match uncovered(&old.rows, next)? {
                Some(rows) if rows.places.len() == old.rows.places.len() => {
                    self.bytes += rows.bytes();
                    self.doubtful.push(old);
                }
                Some(rows) => self.push_doubtful(rows),
                None => {}
            }
        }
        Ok(())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The certain rows.
    pub fn certain(&self) -> Vec<RecordBatch> {
        self.certain.iter().map(|rows| rows.batch.clone()).collect()
    }

    /// The doubtful rows.
    pub fn doubtful(&self) -> Vec<Arc<Doubtful>> {
        self.doubtful.clone()
    }

    /// Adds rows; small neighbours are joined so that each row is copied a few times at most.
    fn push_certain(&mut self, mut rows: Rows) -> Result<(), ArrowError> {
        if rows.places.is_empty() {
            return Ok(());
        }
        self.bytes += rows.bytes();
        while let Some(last) = self.certain.last() {
            let (last_rows, own_rows) = (last.places.len(), rows.places.len());
            if last_rows > own_rows * 2 || last_rows + own_rows > JOIN_BELOW_ROWS {
                break;
            }
            let Some(mut last) = self.certain.pop() else { break };
            self.bytes = self.bytes.saturating_sub(last.bytes() + rows.bytes());
            last.batch = concat_batches(&self.shape.schema, [&last.batch, &rows.batch])?;
            last.places.append(&mut rows.places);
            self.bytes += last.bytes();
            rows = last;
        }
        self.certain.push(rows);
        Ok(())
    }

    fn push_doubtful(&mut self, rows: Rows) {
        if !rows.places.is_empty() {
            self.bytes += rows.bytes();
            self.doubtful.push(Arc::new(Doubtful { rows, cleared: OnceLock::new() }));
        }
    }
}

/// The places of the decoded rows: those of the table's records that could be read, in order.
fn places(records: &[Record], topics: &[Topic], unreadable: &[Undecodable]) -> Vec<Place> {
    let mut unreadable = unreadable.iter().peekable();
    let mut places = Vec::with_capacity(records.len());
    for record in records.iter().filter(|record| topics.contains(&record.topic)) {
        let place = Place::of(record);
        let skipped = unreadable.next_if(|bad| {
            (bad.topic, bad.partition, bad.offset) == (place.topic, place.partition, place.offset)
        });
        if skipped.is_none() {
            places.push(place);
        }
    }
    places
}

fn uncovered(rows: &Rows, next: &Offsets) -> Result<Option<Rows>, ArrowError> {
    let keep: Vec<bool> = rows.places.iter().map(|place| !place.is_covered(next)).collect();
    match keep.iter().filter(|keep| **keep).count() {
        0 => Ok(None),
        left if left == rows.places.len() => Ok(Some(rows.clone())),
        _ => rows.kept(&keep).map(Some),
    }
}

/// Lets go of text that filtered rows no longer point to.
fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
            _ => Arc::clone(column),
        })
        .collect();
    RecordBatch::try_new(batch.schema(), columns)
}
