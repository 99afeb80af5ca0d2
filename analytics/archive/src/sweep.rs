//! Deletes data files that no version within reach needs.
//!
//! In:    a table's state and a listing of its folder.
//! Out:   fewer objects.
//! Never: deletes a file that is live, that was taken out less than `REMOVED_RETENTION_HOURS`
//!        ago, or that was written less than that ago and may yet be committed.

use futures::{StreamExt, TryStreamExt};
use inzira_schemas::Micros;
use inzira_store::object_store::path::Path;

use crate::delta::state::State;
use crate::delta::{DeltaLog, REMOVED_RETENTION_HOURS};
use crate::error::ArchiveError;

/// Deletes what nobody needs. Answers how many files.
pub async fn sweep(log: &DeltaLog, state: &State, now: Micros) -> Result<usize, ArchiveError> {
    let kept_since_ms = now.0 / 1_000 - REMOVED_RETENTION_HOURS as i64 * 3_600_000;
    let listed: Vec<_> = log.objects.list(None).try_collect().await?;
    let unneeded: Vec<Path> = listed
        .into_iter()
        .filter(|object| object.location.as_ref().ends_with(".parquet"))
        .filter(|object| !object.location.as_ref().starts_with("_delta_log"))
        .filter(|object| !state.files.contains_key(object.location.as_ref()))
        .filter(|object| match state.removed.get(object.location.as_ref()) {
            Some(removed_ms) => *removed_ms < kept_since_ms,
            None => object.last_modified.timestamp_millis() < kept_since_ms,
        })
        .map(|object| object.location)
        .collect();
    let count = unneeded.len();
    let paths = futures::stream::iter(unneeded.into_iter().map(Ok)).boxed();
    log.objects.delete_stream(paths).try_collect::<Vec<_>>().await?;
    Ok(count)
}
