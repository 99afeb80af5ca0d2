//! How the archive can fail, and what to do then.

use inzira_event_log::LogError;
use inzira_store::object_store;

use crate::layout::Table;

/// How the archive can fail.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store did not do it, or it is not known whether it did. Try again after a pause;
    /// doing it twice changes nothing.
    #[error("the store failed: {0}")]
    Store(#[source] object_store::Error),
    /// Another writer changed the table first. Read it again and resume from its offsets.
    #[error("{0} was changed by another writer")]
    Conflict(Table),
    /// Bytes that were written are not what they were. Nothing is skipped: an operator must look.
    #[error("damage in {path}: {what}")]
    Damaged {
        /// The object, below the root of the store.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The log could not be read; each kind says what to do.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A bug or a broken installation: retrying will not help.
    #[error("archive failure: {0}")]
    Broken(String),
}

impl From<object_store::Error> for ArchiveError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

impl ArchiveError {
    pub(crate) fn broken(error: impl std::fmt::Display) -> Self {
        Self::Broken(error.to_string())
    }
}
