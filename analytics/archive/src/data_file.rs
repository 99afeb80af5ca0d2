//! Rows become data files: sorted, one a date, in Parquet, with a checksum.
//!
//! In:    a batch in the table's file schema, in any order, of any dates.
//! Out:   for each date a file in memory and the Delta action that adds it.
//! Never: gives two different contents one name: a name holds a hash of what the file covers
//!        and the checksum of its bytes, so writing it twice changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use bytes::Bytes;
use deltalake_core::kernel::Add;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::delta::stats::FileStats;
use crate::delta::{CRC_TAG, i64_of};
use crate::error::ArchiveError;
use crate::layout::{EVENT_DATE, Kind, Table};
use crate::rows::{date_text, days};

/// Rows in a row group: parallel readers and page pruning like it.
pub const ROW_GROUP_ROWS: usize = 262_144;

/// Rows in a page.
const PAGE_ROWS: usize = 20_000;

/// A data file that is not in the store yet.
#[derive(Debug, Clone)]
pub struct EncodedFile {
    /// The file.
    pub bytes: Bytes,
    /// What the log will say of it.
    pub add: Add,
}

/// Makes the data files of one table.
pub struct Encoder {
    table: Table,
    schema: SchemaRef,
    properties: WriterProperties,
}

impl Encoder {
    /// The encoder of a table.
    pub fn new(table: Table) -> Self {
        Self { table, schema: table.file_schema(), properties: properties(table) }
    }

    /// One file of rows that are sorted and all of `date`. `level` is 0 for files fresh from
    /// the log, higher after merging; `covers` names what it covers, the same for the same rows.
    pub fn encode(
        &self,
        batch: &RecordBatch,
        date: &str,
        level: u8,
        covers: u64,
        now_ms: i64,
    ) -> Result<EncodedFile, ArchiveError> {
        let options = ArrowWriterOptions::new()
            .with_properties(self.properties.clone())
            // The Arrow schema inside the footer would outweigh the rows of a small file.
            .with_skip_arrow_metadata(true);
        let room = batch.num_rows() * 64 + 16_384;
        let mut writer = ArrowWriter::try_new_with_options(
            Vec::with_capacity(room),
            self.schema.clone(),
            options,
        )
        .map_err(ArchiveError::broken)?;
        writer.write(batch).map_err(ArchiveError::broken)?;
        let bytes = Bytes::from(writer.into_inner().map_err(ArchiveError::broken)?);
        let crc = crc32c::crc32c(&bytes);
        let table = self.table;
        let path = format!("{EVENT_DATE}={date}/l{level}-{table}-{covers:016x}-{crc:08x}.parquet");
        let add = Add {
            path,
            partition_values: HashMap::from([(EVENT_DATE.to_owned(), Some(date.to_owned()))]),
            size: i64_of(bytes.len() as u64),
            modification_time: now_ms,
            data_change: level == 0,
            stats: Some(FileStats::of(self.table, batch).to_json(self.table)),
            tags: Some(HashMap::from([(CRC_TAG.to_owned(), Some(format!("{crc:08x}")))])),
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        };
        Ok(EncodedFile { bytes, add })
    }
}

/// The rows for which `keep` is true, sorted by the table's key, cut by date: `(date, rows)`,
/// oldest date first.
pub fn by_date(
    table: Table,
    batch: &RecordBatch,
    keep: Option<&[bool]>,
) -> Result<Vec<(String, RecordBatch)>, ArchiveError> {
    let days = days(table, batch);
    let keys: Vec<&[i64]> =
        table.sort_columns().iter().map(|name| numbers(batch, name)).collect::<Result<_, _>>()?;
    let second = |row: usize| keys.get(1).map_or(0, |column| column[row]);
    let mut order: Vec<(i32, i64, i64, u32)> = (0..batch.num_rows())
        .filter(|row| keep.is_none_or(|keep| keep[*row]))
        .map(|row| (days[row], keys[0][row], second(row), row as u32))
        .collect();
    order.sort_unstable();
    let rows = UInt32Array::from_iter_values(order.iter().map(|(_, _, _, row)| *row));
    let sorted = take_record_batch(batch, &rows).map_err(ArchiveError::broken)?;
    let mut parts = Vec::new();
    let mut start = 0;
    for chunk in order.chunk_by(|a, b| a.0 == b.0) {
        parts.push((date_text(chunk[0].0), sorted.slice(start, chunk.len())));
        start += chunk.len();
    }
    Ok(parts)
}

fn numbers<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [i64], ArchiveError> {
    let column = batch.column_by_name(name);
    column
        .and_then(|column| {
            let instants = column
                .as_primitive_opt::<TimestampMicrosecondType>()
                .map(|values: &PrimitiveArray<_>| values.values().as_ref());
            let ints = || column.as_primitive_opt::<Int64Type>().map(|ints| ints.values().as_ref());
            instants.or_else(ints)
        })
        .ok_or_else(|| ArchiveError::broken(format!("{name} is no column to sort by")))
}

fn properties(table: Table) -> WriterProperties {
    let columns = table.columns();
    let sorting = table
        .sort_columns()
        .iter()
        .filter_map(|name| columns.iter().position(|column| column.name == *name))
        .filter_map(|index| i32::try_from(index).ok())
        .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false })
        .collect();
    let mut builder = WriterProperties::builder()
        .set_created_by("inzira-archive 1".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(false)
        .set_sorting_columns(Some(sorting));
    for column in &columns {
        let leaf = match column.kind {
            Kind::Texts => vec![column.name.to_owned(), "list".to_owned(), "element".to_owned()],
            _ => vec![column.name.to_owned()],
        };
        let path = ColumnPath::new(leaf);
        // A dictionary falls back to the encoding below once it grows too large.
        builder = builder.set_column_dictionary_enabled(path.clone(), column.few);
        let encoding = match column.kind {
            Kind::Instant | Kind::Int | Kind::Small => Encoding::DELTA_BINARY_PACKED,
            Kind::Float => Encoding::BYTE_STREAM_SPLIT,
            Kind::Text | Kind::Texts => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            Kind::Flag => Encoding::PLAIN,
        };
        builder = builder.set_column_encoding(path.clone(), encoding);
        let searched = table.sort_columns().contains(&column.name)
            || column.name == table.date_column()
            || (column.kind == Kind::Text && column.few && column.name.ends_with("_id"));
        if searched {
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::Page);
        }
    }
    builder.build()
}

/// The rows of a data file, whole.
pub fn decode(schema: &SchemaRef, bytes: Bytes) -> Result<Vec<RecordBatch>, String> {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.with_batch_size(PAGE_ROWS).build())
        .map_err(|error| error.to_string())?;
    reader
        .map(|batch| {
            let batch = batch.map_err(|error| error.to_string())?;
            RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())
                .map_err(|error| error.to_string())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use inzira_event_log::Record;

    use super::*;
    use crate::bench::records;
    use crate::delta::stats::Bound;
    use crate::rows::Rows;

    fn rows(records: &[Record]) -> RecordBatch {
        let mut rows = Rows::of(Table::Fixes, records.len());
        for record in records {
            rows.push(record).unwrap();
        }
        rows.finish()
    }

    #[test]
    fn a_file_is_sorted_by_cell_and_time_and_comes_back_whole() {
        let batch = rows(&records(3_000));
        let parts = by_date(Table::Fixes, &batch, None).unwrap();
        assert_eq!(parts.len(), 1);
        let (date, sorted) = &parts[0];
        assert_eq!((date.as_str(), sorted.num_rows()), ("2026-01-01", 3_000));
        let file = Encoder::new(Table::Fixes).encode(sorted, date, 0, 7, 0).unwrap();
        let read = decode(&Table::Fixes.file_schema(), file.bytes.clone()).unwrap();
        let cells: Vec<(i64, i64)> = read
            .iter()
            .flat_map(|batch| {
                let cells = numbers(batch, "h3_r9").unwrap().iter().copied();
                cells.zip(numbers(batch, "measured_at").unwrap().iter().copied())
            })
            .collect();
        assert_eq!(cells.len(), 3_000);
        assert!(cells.is_sorted());
        let stats = FileStats::parse(Table::Fixes, &file.add.stats.unwrap()).unwrap();
        assert_eq!(stats, FileStats::of(Table::Fixes, sorted));
        assert_eq!(stats.columns["h3_r9"].min, Some(Bound::Int(cells[0].0)));
        assert_eq!(stats.columns["altitude_m"].nulls, Some(3_000));
    }

    #[test]
    fn the_same_rows_have_the_same_name_and_others_another() {
        let encoder = Encoder::new(Table::Fixes);
        let batch = rows(&records(100));
        let name = |batch: &RecordBatch, covers| {
            encoder.encode(batch, "2026-01-01", 0, covers, 0).unwrap().add.path
        };
        assert_eq!(name(&batch, 7), name(&batch, 7));
        assert_ne!(name(&batch, 7), name(&batch, 8));
        assert_ne!(name(&batch, 7), name(&batch.slice(0, 99), 7));
    }
}
