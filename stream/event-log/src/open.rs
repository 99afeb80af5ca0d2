//! Chooses the log by its URL.
//!
//! In:    `file:` with a folder, or `kafka://host:9092,host:9092`.
//! Out:   an `EventLog`.

use std::path::Path;
use std::sync::Arc;

use crate::{EventLog, LogError};

/// Whether this process writes the log or only reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The one writer of the folder; a second one is refused.
    ReadWrite,
    /// Reads what is committed: `inzira sql`, the SQL process.
    ReadOnly,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Configuration: exit 78.
    #[error("{0}")]
    Config(String),
    /// Another process writes the folder: exit 78 and name it.
    #[error("the log in {folder} is being written by process {pid}")]
    Locked {
        /// The folder.
        folder: String,
        /// The other process.
        pid: u32,
    },
    /// The log itself.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Opens the log that `url` names. `data` is the folder of everything embedded.
pub async fn open(url: &str, data: &Path, access: Access) -> Result<Arc<dyn EventLog>, OpenError> {
    let _ = (url, data, access);
    Err(OpenError::Config("not built yet".to_owned()))
}
