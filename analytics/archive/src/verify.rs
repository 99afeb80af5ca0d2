//! Checks the archive against itself: every live file is there, whole, with its checksum.
//!
//! In:    a store.
//! Out:   a report that names every bad file.
//! Never: repairs; stops at the first.

use std::fmt;

use inzira_store::Opened;
use inzira_store::object_store::path::Path;
use inzira_store::object_store::{self};

use crate::data_file::decode;
use crate::delta::DeltaLog;
use crate::delta::state::DataFile;
use crate::error::ArchiveError;
use crate::layout::Table;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// The object, below the root of the store.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Tables read.
    pub tables: usize,
    /// Files read.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// What is wrong, in the order of tables and paths.
    pub bad: Vec<Bad>,
}

impl Verified {
    /// True when nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.bad.is_empty()
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for bad in &self.bad {
            writeln!(f, "{}: {}", bad.path, bad.what)?;
        }
        write!(
            f,
            "archive={} tables={} files={} rows={} bytes={} bad={}",
            if self.is_whole() { "whole" } else { "damaged" },
            self.tables,
            self.files,
            self.rows,
            self.bytes,
            self.bad.len()
        )
    }
}

/// Reads every live file of every table. An error means that the store did not answer; damage
/// is in the report.
pub async fn verify(opened: &Opened) -> Result<Verified, ArchiveError> {
    let mut report = Verified::default();
    for table in Table::ALL {
        let log = DeltaLog::new(opened, table)?;
        let state = match log.load().await {
            Ok(Some(state)) => state,
            Ok(None) => continue,
            Err(ArchiveError::Damaged { path, what }) => {
                report.bad.push(Bad { path, what });
                continue;
            }
            Err(error) => return Err(error),
        };
        report.tables += 1;
        for file in state.files.values() {
            report.files += 1;
            report.bytes += file.size_bytes;
            match check(&log, file).await? {
                Ok(()) => report.rows += file.rows,
                Err(what) => {
                    let path = format!("{}/{}", table.folder(), file.path);
                    report.bad.push(Bad { path, what });
                }
            }
        }
    }
    Ok(report)
}

async fn check(log: &DeltaLog, file: &DataFile) -> Result<Result<(), String>, ArchiveError> {
    let path = match Path::parse(&file.path) {
        Ok(path) => path,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let bytes = match log.read(&path).await {
        Ok(bytes) => bytes,
        Err(object_store::Error::NotFound { .. }) => return Ok(Err("missing".to_owned())),
        Err(error) => return Err(error.into()),
    };
    if bytes.len() as u64 != file.size_bytes {
        return Ok(Err(format!("{} bytes, {} were written", bytes.len(), file.size_bytes)));
    }
    if let Some(crc) = file.crc32c {
        let found = crc32c::crc32c(&bytes);
        if found != crc {
            return Ok(Err(format!("checksum {found:08x}, {crc:08x} was written")));
        }
    }
    let rows = match decode(&log.table.file_schema(), bytes) {
        Ok(batches) => batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(),
        Err(what) => return Ok(Err(what)),
    };
    if rows != file.rows {
        return Ok(Err(format!("{rows} rows, {} were written", file.rows)));
    }
    Ok(Ok(()))
}
