//! One Delta table in our own store: its log of commits, and what the log adds up to.
//!
//! In:    actions to commit, each commit against the version it was prepared on.
//! Out:   the table's state: files, offsets, version (`state`).
//! Keeps: nothing beyond the caller's `State`.
//! Never: commits on top of a version that it has not seen: a commit is one put-if-absent of the
//!        next version, and whoever comes second reads the table again.
//!
//! This is stricter than the library's conflict checker, on purpose: that one lets some commits
//! pass each other (removes that change no data), and two compactors would double rows. Every
//! commit also carries the table's shared application transaction, so that writers that do use
//! the checker see ours as a conflict too.

mod checkpoint;
pub mod state;
pub mod stats;

use std::collections::HashMap;
use std::sync::Arc;

use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitData, TransactionError};
use deltalake_core::kernel::{Action, StructType, Transaction};
use deltalake_core::logstore::{
    CommitOrBytes, LogStoreRef, StorageConfig, commit_uri_from_version, default_logstore,
};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, checkpoints};
use inzira_store::Opened;
use inzira_store::object_store::path::Path;
use inzira_store::object_store::prefix::PrefixStore;
use inzira_store::object_store::{self, ObjectStore, ObjectStoreExt};
use url::Url;

use crate::error::ArchiveError;
use crate::layout::{EVENT_DATE, Table};
use state::State;

/// How long a commit file is kept after a checkpoint covers it. A reader or writer that slept
/// longer must load the table anew.
pub const LOG_RETENTION_HOURS: u64 = 24;

/// How long a replaced data file is kept for readers of older versions.
pub const REMOVED_RETENTION_HOURS: u64 = 24;

/// The tag of a data file that holds the CRC32C of its bytes, eight hexadecimal digits.
pub const CRC_TAG: &str = "inzira.crc32c";

/// One table's log.
#[derive(Clone)]
pub struct DeltaLog {
    /// Which table.
    pub table: Table,
    /// The store, rooted at the table's folder.
    pub objects: Arc<dyn ObjectStore>,
    log_store: LogStoreRef,
}

impl DeltaLog {
    /// The log of `table` in a store. Nothing is read or written yet.
    pub fn new(opened: &Opened, table: Table) -> Result<Self, ArchiveError> {
        let folder = table.folder();
        let objects: Arc<dyn ObjectStore> =
            Arc::new(PrefixStore::new(opened.store.clone(), Path::from(folder.as_str())));
        // The store is rooted at its own folder or bucket, so the table's address for the
        // library is its path below that root; the scheme decides how listings are ordered.
        let mut location = opened.root.clone();
        location.set_path(&format!("/{folder}/"));
        location.set_query(None);
        if location.scheme() == "file" {
            location = Url::parse(&format!("file:///{folder}/")).map_err(ArchiveError::broken)?;
        }
        let log_store = default_logstore(
            objects.clone(),
            opened.store.clone(),
            &location,
            &StorageConfig::default(),
        );
        Ok(Self { table, objects, log_store })
    }

    /// Creates the table if there is none, and reads it.
    pub async fn open_or_create(&self) -> Result<State, ArchiveError> {
        if let Some(state) = self.load().await? {
            return Ok(state);
        }
        let created = self.create().await;
        match (self.load().await?, created) {
            // Another process may have been first: its table is as good.
            (Some(state), _) => Ok(state),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(ArchiveError::broken("a table just made cannot be read")),
        }
    }

    async fn create(&self) -> Result<(), ArchiveError> {
        let schema: StructType =
            self.table.schema().as_ref().try_into_kernel().map_err(ArchiveError::broken)?;
        let properties = [
            ("delta.logRetentionDuration", format!("interval {LOG_RETENTION_HOURS} hours")),
            (
                "delta.deletedFileRetentionDuration",
                format!("interval {REMOVED_RETENTION_HOURS} hours"),
            ),
            ("delta.enableExpiredLogCleanup", "true".to_owned()),
        ];
        CreateBuilder::new()
            .with_log_store(self.log_store.clone())
            .with_table_name(self.table.name())
            .with_comment(self.table.comment())
            .with_columns(schema.fields().cloned())
            .with_partition_columns([EVENT_DATE])
            .with_configuration(properties.map(|(key, value)| (key, Some(value))))
            .with_save_mode(SaveMode::ErrorIfExists)
            .await
            .map_err(ArchiveError::broken)?;
        Ok(())
    }

    /// The table's newest state; `None` when there is no such table.
    pub async fn load(&self) -> Result<Option<State>, ArchiveError> {
        let mut state = match self.last_checkpoint().await? {
            Some(version) => checkpoint::read(self, version).await?,
            None => match self.read_commit(0).await? {
                Some(lines) => {
                    let mut state = State::empty(self.table);
                    state.apply_lines(0, &lines)?;
                    state
                }
                None => return Ok(None),
            },
        };
        self.refresh(&mut state).await?;
        Ok(Some(state))
    }

    /// Applies every commit that came after `state`. Answers how many there were.
    pub async fn refresh(&self, state: &mut State) -> Result<usize, ArchiveError> {
        let mut applied = 0;
        while let Some(lines) = self.read_commit(state.version + 1).await? {
            state.apply_lines(state.version + 1, &lines)?;
            applied += 1;
        }
        Ok(applied)
    }

    /// Commits `actions` as the version after `state`, which afterwards includes them.
    ///
    /// `Conflict`: another writer took that version; nothing of ours was written.
    /// `Store`: unknown whether it was written; `refresh` tells.
    pub async fn commit(
        &self,
        state: &mut State,
        actions: Vec<Action>,
        offsets: Vec<Transaction>,
        operation: DeltaOperation,
    ) -> Result<(), ArchiveError> {
        let version = state.version + 1;
        let mut transactions = offsets;
        transactions.push(Transaction::new(shared_app_id(self.table), i64_of(version)));
        let data = CommitData::new(actions, operation, HashMap::new(), transactions);
        let bytes = data.get_bytes().map_err(ArchiveError::broken)?;
        let written = self
            .log_store
            .write_commit_entry(version, CommitOrBytes::LogBytes(bytes), Default::default())
            .await;
        match written {
            Ok(()) => {}
            Err(TransactionError::VersionAlreadyExists(_)) => {
                return Err(ArchiveError::Conflict(self.table));
            }
            Err(TransactionError::ObjectStore { source }) => return Err(source.into()),
            Err(other) => return Err(ArchiveError::broken(other)),
        }
        for action in &data.actions {
            state.apply(action)?;
        }
        state.version = version;
        Ok(())
    }

    /// Writes a checkpoint of the newest version and removes commit files past their retention.
    pub async fn checkpoint(&self) -> Result<(), ArchiveError> {
        let mut table = DeltaTable::new(self.log_store.clone());
        table.load().await.map_err(ArchiveError::broken)?;
        checkpoints::create_checkpoint(&table, None).await.map_err(ArchiveError::broken)?;
        checkpoints::cleanup_metadata(&table, None).await.map_err(ArchiveError::broken)?;
        Ok(())
    }

    /// The bytes of one object of the table.
    pub(crate) async fn read(&self, path: &Path) -> Result<bytes::Bytes, object_store::Error> {
        self.objects.get(path).await?.bytes().await
    }

    /// Whether a commit after `version` is there.
    pub async fn has_after(&self, version: u64) -> Result<bool, ArchiveError> {
        match self.objects.head(&commit_uri_from_version(Some(version + 1))).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn read_commit(&self, version: u64) -> Result<Option<bytes::Bytes>, ArchiveError> {
        match self.read(&commit_uri_from_version(Some(version))).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn last_checkpoint(&self) -> Result<Option<u64>, ArchiveError> {
        #[derive(serde::Deserialize)]
        struct Hint {
            version: u64,
        }
        let path = Path::from("_delta_log/_last_checkpoint");
        match self.read(&path).await {
            Ok(bytes) => serde_json::from_slice::<Hint>(&bytes)
                .map(|hint| Some(hint.version))
                .map_err(|error| self.damaged(path.as_ref(), error)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn damaged(&self, path: &str, what: impl std::fmt::Display) -> ArchiveError {
        damaged(self.table, path, what)
    }
}

/// Damage of an object of a table, named by its path below the root of the store.
pub(crate) fn damaged(table: Table, path: &str, what: impl std::fmt::Display) -> ArchiveError {
    ArchiveError::Damaged { path: format!("{}/{path}", table.folder()), what: what.to_string() }
}

/// The application id that every commit to a table carries.
pub fn shared_app_id(table: Table) -> String {
    format!("archive/{table}")
}

pub(crate) fn i64_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
