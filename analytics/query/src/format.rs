//! Answers as a table, CSV, JSON, NDJSON, Parquet or Arrow.
//!
//! In:    an answer's stream.
//! Out:   bytes; instants as RFC 3339 UTC, absent values empty (null in JSON).
//! Keeps: one batch at a time; the table for people, at most `TABLE_ROWS_MAX` rows.
//! Never: leaves out a row in silence: a table that is cut says so.

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::SchemaRef;
use arrow::ipc;
use arrow::json;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::QueryError;
use crate::sql::Answer;

/// Most rows that a table for people shows.
pub const TABLE_ROWS_MAX: usize = 10_000;

const INSTANT: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Boxes for people.
    #[default]
    Table,
    /// RFC 4180 with a header line.
    Csv,
    /// One array of objects.
    Json,
    /// An object a line.
    Ndjson,
    /// One Parquet file.
    Parquet,
    /// One Arrow IPC file (Feather).
    Arrow,
    /// An Arrow IPC stream.
    ArrowStream,
}

impl Format {
    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "table" => Some(Self::Table),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "ndjson" => Some(Self::Ndjson),
            "parquet" => Some(Self::Parquet),
            "arrow" => Some(Self::Arrow),
            "arrows" => Some(Self::ArrowStream),
            _ => None,
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.file",
            Self::ArrowStream => "application/vnd.apache.arrow.stream",
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            "table, csv, json, ndjson, parquet, arrow (a file) or arrows (a stream)".to_owned()
        })
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows of the answer.
    pub rows: u64,
}

/// Writes a whole answer. On an error what was written so far is worthless.
pub async fn write<W: Write + Send>(
    answer: &mut Answer,
    format: Format,
    out: W,
) -> Result<Written, QueryError> {
    let mut writer = Writer::new(format, &answer.schema, out)?;
    let mut rows = 0_u64;
    while let Some(batch) = answer.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(Written { rows })
}

/// A writer of one format.
enum Writer<W: Write + Send> {
    Table { schema: SchemaRef, batches: Vec<RecordBatch>, rows: usize, out: W },
    Csv { writer: csv::Writer<W>, empty: Option<RecordBatch> },
    Json(json::ArrayWriter<W>),
    Ndjson(json::LineDelimitedWriter<W>),
    Parquet(Box<ArrowWriter<W>>),
    Arrow(ipc::writer::FileWriter<W>),
    ArrowStream(ipc::writer::StreamWriter<W>),
}

impl<W: Write + Send> Writer<W> {
    fn new(format: Format, schema: &SchemaRef, out: W) -> Result<Self, QueryError> {
        Ok(match format {
            Format::Table => {
                Self::Table { schema: Arc::clone(schema), batches: Vec::new(), rows: 0, out }
            }
            Format::Csv => Self::Csv {
                writer: csv::WriterBuilder::new()
                    .with_header(true)
                    .with_timestamp_tz_format(INSTANT.to_owned())
                    .build(out),
                empty: Some(RecordBatch::new_empty(Arc::clone(schema))),
            },
            Format::Json => Self::Json(
                json::WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .with_timestamp_tz_format(INSTANT.to_owned())
                    .build(out),
            ),
            Format::Ndjson => Self::Ndjson(
                json::WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .with_timestamp_tz_format(INSTANT.to_owned())
                    .build(out),
            ),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                let writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties));
                Self::Parquet(Box::new(writer.map_err(parquet_error)?))
            }
            Format::Arrow => Self::Arrow(ipc::writer::FileWriter::try_new(out, schema)?),
            Format::ArrowStream => {
                Self::ArrowStream(ipc::writer::StreamWriter::try_new(out, schema)?)
            }
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        match self {
            Self::Table { batches, rows, .. } => {
                let room = TABLE_ROWS_MAX.saturating_sub(*rows);
                if room > 0 {
                    batches.push(batch.slice(0, room.min(batch.num_rows())));
                }
                *rows += batch.num_rows();
            }
            Self::Csv { writer, empty } => {
                *empty = None;
                writer.write(batch)?;
            }
            Self::Json(writer) => writer.write(batch)?,
            Self::Ndjson(writer) => writer.write(batch)?,
            Self::Parquet(writer) => writer.write(batch).map_err(parquet_error)?,
            Self::Arrow(writer) => writer.write(batch)?,
            Self::ArrowStream(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<(), QueryError> {
        match self {
            Self::Table { schema, batches, rows, mut out } => {
                let options = FormatOptions::default().with_timestamp_tz_format(Some(INSTANT));
                let batches =
                    if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches };
                writeln!(out, "{}", pretty_format_batches_with_options(&batches, &options)?)?;
                if rows > TABLE_ROWS_MAX {
                    writeln!(out, "{TABLE_ROWS_MAX} of {rows} rows; --format csv has all of them")?;
                }
                out.flush()?;
            }
            Self::Csv { mut writer, empty } => {
                if let Some(empty) = empty {
                    writer.write(&empty)?;
                }
                writer.into_inner().flush()?;
            }
            Self::Json(mut writer) => {
                writer.finish()?;
                let mut out = writer.into_inner();
                out.write_all(b"\n")?;
                out.flush()?;
            }
            Self::Ndjson(mut writer) => {
                writer.finish()?;
                writer.into_inner().flush()?;
            }
            Self::Parquet(writer) => {
                writer.close().map_err(parquet_error)?;
            }
            Self::Arrow(mut writer) => writer.finish()?,
            Self::ArrowStream(mut writer) => writer.finish()?,
        }
        Ok(())
    }
}

fn parquet_error(error: parquet::errors::ParquetError) -> QueryError {
    QueryError::Output(std::io::Error::other(error))
}
