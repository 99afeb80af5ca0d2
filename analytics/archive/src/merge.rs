//! Merges small files of one date into larger ones, so that their number stays bounded.
//!
//! In:    the live files of a table.
//! Out:   one commit that takes files of one date and level out and puts one of the next level
//!        in; it changes no row (`dataChange` false).
//! Never: touches rows that another writer changed meanwhile: the commit is made on exactly the
//!        version that the files were chosen from, or not at all.

use std::collections::BTreeMap;

use arrow::compute::concat_batches;
use deltalake_core::kernel::{Action, Remove};
use deltalake_core::protocol::DeltaOperation;
use inzira_store::object_store::ObjectStoreExt;
use inzira_store::object_store::path::Path;
use xxhash_rust::xxh3::Xxh3;

use crate::config::ArchiveConfig;
use crate::data_file::{by_date, decode};
use crate::delta::i64_of;
use crate::delta::state::{DataFile, State};
use crate::error::ArchiveError;
use crate::writer::TableWriter;

/// Files are not merged beyond this level; 16 files a level make 16^3 cuts.
pub const LEVEL_MAX: u8 = 3;

/// What a merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// Files taken out.
    pub files: usize,
    /// Bytes of the one put in.
    pub bytes: u64,
}

/// The files that should become one, smallest first; `None` when there are too few anywhere.
pub fn due(state: &State, config: &ArchiveConfig) -> Option<Vec<DataFile>> {
    let mut groups: BTreeMap<(&str, u8), Vec<&DataFile>> = BTreeMap::new();
    for file in state.files.values() {
        if let Some(level) = level_of(&file.path).filter(|level| *level < LEVEL_MAX) {
            groups.entry((&file.event_date, level)).or_default().push(file);
        }
    }
    groups.into_values().find_map(|mut files| {
        if files.len() < config.merge_files {
            return None;
        }
        files.sort_by(|a, b| (a.size_bytes, &a.path).cmp(&(b.size_bytes, &b.path)));
        files.truncate(config.merge_files);
        let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
        (bytes <= config.merge_bytes_max).then(|| files.into_iter().cloned().collect())
    })
}

/// Merges `files`, which must be live and of one date.
pub async fn merge(writer: &mut TableWriter, files: &[DataFile]) -> Result<Merged, ArchiveError> {
    let table = writer.table();
    let schema = table.file_schema();
    let mut batches = Vec::new();
    let mut hash = Xxh3::new();
    for file in files {
        let path = Path::parse(&file.path).map_err(ArchiveError::broken)?;
        let bytes = writer.log.read(&path).await?;
        if file.crc32c.is_some_and(|crc| crc != crc32c::crc32c(&bytes)) {
            return Err(writer.log.damaged(&file.path, "its bytes do not match their checksum"));
        }
        let rows = decode(&schema, bytes).map_err(|what| writer.log.damaged(&file.path, what))?;
        batches.extend(rows);
        hash.update(file.path.as_bytes());
    }
    let rows = concat_batches(&schema, &batches).map_err(ArchiveError::broken)?;
    drop(batches);
    let level = files.iter().filter_map(|file| level_of(&file.path)).max().unwrap_or_default() + 1;
    let now_ms = writer.clock.now().0 / 1_000;
    let mut parts = by_date(table, &rows, None)?;
    drop(rows);
    let (Some((date, sorted)), true) = (parts.pop(), parts.is_empty()) else {
        return Err(ArchiveError::broken("files of one date held rows of several"));
    };
    let merged = writer.encoder.encode(&sorted, &date, level, hash.digest(), now_ms)?;
    let path = Path::parse(&merged.add.path).map_err(ArchiveError::broken)?;
    writer.log.objects.put(&path, merged.bytes.clone().into()).await?;
    fail::fail_point!("archive::after_merge_before_commit");
    let mut actions: Vec<Action> = files.iter().map(|file| removal(file, now_ms)).collect();
    actions.push(Action::Add(merged.add));
    let bytes = merged.bytes.len() as u64;
    let operation = DeltaOperation::Optimize { predicate: None, target_size: i64_of(bytes) };
    writer.log.commit(&mut writer.state, actions, Vec::new(), operation).await?;
    Ok(Merged { files: files.len(), bytes })
}

fn removal(file: &DataFile, now_ms: i64) -> Action {
    let partition = (crate::EVENT_DATE.to_owned(), Some(file.event_date.clone()));
    Action::Remove(Remove {
        path: file.path.clone(),
        data_change: false,
        deletion_timestamp: Some(now_ms),
        extended_file_metadata: Some(true),
        partition_values: Some([partition].into()),
        size: Some(i64_of(file.size_bytes)),
        ..Remove::default()
    })
}

/// The level in a file's name; `None` for files of others.
fn level_of(path: &str) -> Option<u8> {
    path.rsplit('/').next()?.strip_prefix('l')?.split('-').next()?.parse().ok()
}
