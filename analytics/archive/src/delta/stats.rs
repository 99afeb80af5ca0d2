//! Per-file statistics: smallest, largest, how many null; in Delta's JSON and as values.
//!
//! In:    a batch that becomes a file, or the text of a commit.
//! Out:   the text of a commit, or values to prune files by.
//! Never: claims a bound that a row of the file lies outside of.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use inzira_schemas::Micros;
use serde_json::{Map, Value, json};

use crate::layout::{Column, Kind, Table};

/// Texts longer than this get no bounds.
const TEXT_BYTES_MAX: usize = 64;

/// One bound. Instants are microseconds UTC as `Int`.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub enum Bound {
    /// A number or an instant.
    Int(i64),
    /// A double.
    Float(f64),
    /// A text.
    Text(String),
}

/// What is known of one column of one file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnStats {
    /// No value is smaller.
    pub min: Option<Bound>,
    /// No value is larger.
    pub max: Option<Bound>,
    /// How many are null, where known.
    pub nulls: Option<u64>,
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileStats {
    /// Rows.
    pub rows: u64,
    /// By column name; columns without statistics are absent.
    pub columns: BTreeMap<String, ColumnStats>,
}

/// Whether a column's bounds are worth their place in the log.
fn bounded(column: &Column) -> bool {
    match column.kind {
        Kind::Instant | Kind::Int | Kind::Small => true,
        Kind::Float => matches!(column.name, "lat" | "lon"),
        Kind::Text => column.name.ends_with("_id") && column.name != "event_id",
        Kind::Flag | Kind::Texts => false,
    }
}

impl FileStats {
    /// The statistics of a file that will hold exactly this batch (in the table's file schema).
    pub fn of(table: Table, batch: &RecordBatch) -> Self {
        let mut columns = BTreeMap::new();
        for (column, array) in table.columns().iter().zip(batch.columns()) {
            let nulls = Some(array.null_count() as u64);
            let (min, max) =
                if bounded(column) { bounds(column.kind, array) } else { (None, None) };
            columns.insert(column.name.to_owned(), ColumnStats { min, max, nulls });
        }
        Self { rows: batch.num_rows() as u64, columns }
    }

    /// As Delta's log holds it.
    pub fn to_json(&self, table: Table) -> String {
        let (mut mins, mut maxs, mut nulls) = (Map::new(), Map::new(), Map::new());
        for column in table.columns() {
            let Some(stats) = self.columns.get(column.name) else { continue };
            if let (Some(min), Some(max)) = (&stats.min, &stats.max) {
                mins.insert(column.name.to_owned(), value_of(column.kind, min));
                maxs.insert(column.name.to_owned(), value_of(column.kind, max));
            }
            if let Some(count) = stats.nulls {
                nulls.insert(column.name.to_owned(), json!(count));
            }
        }
        json!({ "numRecords": self.rows, "minValues": mins, "maxValues": maxs, "nullCount": nulls })
            .to_string()
    }

    /// Reads it back. A file without a row count is an error: rows could not be counted.
    pub fn parse(table: Table, text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let rows = value["numRecords"].as_u64().ok_or("statistics without numRecords")?;
        let columns = table
            .columns()
            .iter()
            .map(|column| {
                let stats = ColumnStats {
                    min: bound_of(column.kind, &value["minValues"][column.name]),
                    max: bound_of(column.kind, &value["maxValues"][column.name]),
                    nulls: value["nullCount"][column.name].as_u64(),
                };
                (column.name.to_owned(), stats)
            })
            .filter(|(_, stats)| *stats != ColumnStats::default())
            .collect();
        Ok(Self { rows, columns })
    }
}

fn bounds(kind: Kind, array: &dyn Array) -> (Option<Bound>, Option<Bound>) {
    match kind {
        Kind::Instant => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            (min(values).map(Bound::Int), max(values).map(Bound::Int))
        }
        Kind::Int => {
            let values = array.as_primitive::<Int64Type>();
            (min(values).map(Bound::Int), max(values).map(Bound::Int))
        }
        Kind::Small => {
            let values = array.as_primitive::<Int32Type>();
            let wide = |value: i32| Bound::Int(i64::from(value));
            (min(values).map(wide), max(values).map(wide))
        }
        Kind::Float => {
            let values = array.as_primitive::<Float64Type>();
            let finite = |value: &f64| value.is_finite();
            (
                min(values).filter(finite).map(Bound::Float),
                max(values).filter(finite).map(Bound::Float),
            )
        }
        Kind::Text => {
            let values = array.as_string::<i32>();
            let short = |text: &&str| text.len() <= TEXT_BYTES_MAX;
            let text = |text: &str| Bound::Text(text.to_owned());
            (min_string(values).filter(short).map(text), max_string(values).filter(short).map(text))
        }
        Kind::Flag | Kind::Texts => (None, None),
    }
}

fn value_of(kind: Kind, bound: &Bound) -> Value {
    match (kind, bound) {
        (Kind::Instant, Bound::Int(us)) => json!(Micros(*us).to_rfc3339()),
        (_, Bound::Int(number)) => json!(number),
        (_, Bound::Float(number)) => json!(number),
        (_, Bound::Text(text)) => json!(text),
    }
}

fn bound_of(kind: Kind, value: &Value) -> Option<Bound> {
    match kind {
        Kind::Instant => {
            value.as_str().and_then(Micros::parse_rfc3339).map(|instant| Bound::Int(instant.0))
        }
        Kind::Int | Kind::Small => value.as_i64().map(Bound::Int),
        Kind::Float => value.as_f64().map(Bound::Float),
        Kind::Text => value.as_str().map(|text| Bound::Text(text.to_owned())),
        Kind::Flag | Kind::Texts => None,
    }
}
