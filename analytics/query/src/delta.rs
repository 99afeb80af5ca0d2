//! The archive's own Delta tables as the source of versions.
//!
//! In:    the store.
//! Out:   snapshots with bounds in the engine's terms.
//! Keeps: the last state of every table, so that asking again reads only new commits.
//! Never: writes.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use inzira_archive::{Bound, Committed as State, CommittedTable, Table};
use inzira_store::Opened;
use tokio::sync::Mutex;

use crate::error::QueryError;
use crate::shape::Shape;
use crate::source::{Committed, DataFile, Snapshot};

/// Every table of one store.
pub struct DeltaTables {
    tables: HashMap<Table, (Shape, Mutex<CommittedTable>)>,
}

impl DeltaTables {
    /// The tables of a store; nothing is read yet.
    pub fn new(store: &Opened) -> Result<Self, QueryError> {
        let tables = Table::ALL
            .into_iter()
            .map(|table| {
                let followed = CommittedTable::new(store, table).map_err(archive)?;
                Ok((table, (Shape::of(table), Mutex::new(followed))))
            })
            .collect::<Result<_, QueryError>>()?;
        Ok(Self { tables })
    }
}

#[async_trait]
impl Committed for DeltaTables {
    async fn newest(
        &self,
        table: Table,
        known: Option<&Snapshot>,
    ) -> Result<Option<Snapshot>, QueryError> {
        let Some((shape, followed)) = self.tables.get(&table) else { return Ok(None) };
        let state = followed.lock().await.refresh().await.map_err(archive)?;
        let Some(state) = state else { return Ok(None) };
        if known.and_then(|known| known.version) == i64::try_from(state.version).ok() {
            return Ok(None);
        }
        Ok(Some(snapshot(shape, &state)))
    }
}

fn archive(error: inzira_archive::ArchiveError) -> QueryError {
    QueryError::Archive(error.to_string())
}

fn snapshot(shape: &Shape, state: &State) -> Snapshot {
    let folder = shape.table.folder();
    let files = state.files.values().map(|file| DataFile {
        path: format!("{folder}/{}", file.path),
        size_bytes: file.size_bytes,
        event_date: file.event_date.clone(),
        statistics: Arc::new(statistics(shape, file)),
    });
    Snapshot {
        table: shape.table,
        version: i64::try_from(state.version).ok(),
        files: files.collect(),
        next: state.offsets.clone(),
    }
}

fn statistics(shape: &Shape, file: &inzira_archive::DataFile) -> Statistics {
    let columns = shape.scan.file_schema().fields().iter().map(|field| {
        let Some(stats) = file.stats.columns.get(field.name()) else {
            return ColumnStatistics::new_unknown();
        };
        let value = |bound: &Option<Bound>| {
            bound
                .as_ref()
                .and_then(|bound| scalar(field.data_type(), bound))
                .map_or(Precision::Absent, Precision::Exact)
        };
        let nulls = stats.nulls.and_then(|nulls| usize::try_from(nulls).ok());
        ColumnStatistics {
            null_count: nulls.map_or(Precision::Absent, Precision::Exact),
            min_value: value(&stats.min),
            max_value: value(&stats.max),
            ..ColumnStatistics::new_unknown()
        }
    });
    Statistics {
        num_rows: usize::try_from(file.rows).map_or(Precision::Absent, Precision::Exact),
        total_byte_size: Precision::Absent,
        column_statistics: columns.collect(),
    }
}

fn scalar(data_type: &arrow::datatypes::DataType, bound: &Bound) -> Option<ScalarValue> {
    use arrow::datatypes::DataType;
    match (data_type, bound) {
        (DataType::Int64, Bound::Int(number)) => Some(ScalarValue::Int64(Some(*number))),
        (DataType::Int32, Bound::Int(number)) => {
            i32::try_from(*number).ok().map(|number| ScalarValue::Int32(Some(number)))
        }
        (DataType::Timestamp(_, zone), Bound::Int(us)) => {
            Some(ScalarValue::TimestampMicrosecond(Some(*us), zone.clone()))
        }
        (DataType::Float64, Bound::Float(number)) => Some(ScalarValue::Float64(Some(*number))),
        (DataType::Utf8View, Bound::Text(text)) => Some(ScalarValue::Utf8View(Some(text.clone()))),
        _ => None,
    }
}
