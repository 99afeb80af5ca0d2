//! Reads a checkpoint: the whole state of a table in one Parquet file.
//!
//! In:    the version that `_last_checkpoint` names.
//! Out:   the state at that version.
//! Never: takes a checkpoint in parts: ours are single files, and another is refused by name.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::Int64Type;
use deltalake_core::kernel::{Add, Transaction};
use inzira_store::object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::DeltaLog;
use super::state::{State, offset_of};
use crate::error::ArchiveError;

/// The state at a checkpoint.
pub(super) async fn read(log: &DeltaLog, version: u64) -> Result<State, ArchiveError> {
    let name = format!("_delta_log/{version:020}.checkpoint.parquet");
    let bytes = log.read(&Path::from(name.as_str())).await?;
    let damaged = |error: &dyn std::fmt::Display| log.damaged(&name, error);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.build())
        .map_err(|error| damaged(&error))?;
    let mut state = State::empty(log.table);
    for batch in reader {
        let batch = batch.map_err(|error| damaged(&error))?;
        apply(&mut state, &batch)?;
    }
    state.version = version;
    Ok(state)
}

fn apply(state: &mut State, batch: &RecordBatch) -> Result<(), ArchiveError> {
    if let Some(metadata) = group(batch, "metaData") {
        for row in (0..metadata.len()).filter(|row| metadata.is_valid(*row)) {
            state.set_columns(&text(metadata, "schemaString", row).unwrap_or_default());
        }
    }
    if let Some(transactions) = group(batch, "txn") {
        for row in (0..transactions.len()).filter(|row| transactions.is_valid(*row)) {
            let app_id = text(transactions, "appId", row).unwrap_or_default();
            let version = number(transactions, "version", row).unwrap_or_default();
            if let Some((place, offset)) = offset_of(&Transaction::new(app_id, version)) {
                state.offsets.insert(place, offset);
            }
        }
    }
    if let Some(removes) = group(batch, "remove") {
        for row in (0..removes.len()).filter(|row| removes.is_valid(*row)) {
            let path = decoded(text(removes, "path", row).unwrap_or_default());
            let at_ms = number(removes, "deletionTimestamp", row).unwrap_or_default();
            state.removed.insert(path, at_ms);
        }
    }
    if let Some(adds) = group(batch, "add") {
        for row in (0..adds.len()).filter(|row| adds.is_valid(*row)) {
            let file = state.data_file(&add(adds, row))?;
            state.files.insert(file.path.clone(), file);
        }
    }
    Ok(())
}

fn add(adds: &StructArray, row: usize) -> Add {
    Add {
        path: decoded(text(adds, "path", row).unwrap_or_default()),
        partition_values: map(adds, "partitionValues", row).unwrap_or_default(),
        size: number(adds, "size", row).unwrap_or_default(),
        modification_time: number(adds, "modificationTime", row).unwrap_or_default(),
        data_change: false,
        stats: text(adds, "stats", row),
        tags: map(adds, "tags", row),
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

/// Paths in the log are encoded as in a URL.
fn decoded(path: String) -> String {
    Path::from_url_path(&path).map(|path| path.to_string()).unwrap_or(path)
}

fn group<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a StructArray> {
    batch.column_by_name(name)?.as_struct_opt()
}

fn text(group: &StructArray, name: &str, row: usize) -> Option<String> {
    let column = group.column_by_name(name)?.as_string_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn number(group: &StructArray, name: &str, row: usize) -> Option<i64> {
    let column = group.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn map(group: &StructArray, name: &str, row: usize) -> Option<HashMap<String, Option<String>>> {
    let column = group.column_by_name(name)?.as_map_opt()?;
    if column.is_null(row) {
        return None;
    }
    let entries = column.value(row);
    let (keys, values) =
        (entries.column(0).as_string_opt::<i32>()?, entries.column(1).as_string_opt::<i32>()?);
    let pairs = (0..entries.len())
        .map(|index| {
            let value = values.is_valid(index).then(|| values.value(index).to_owned());
            (keys.value(index).to_owned(), value)
        })
        .collect();
    Some(pairs)
}
