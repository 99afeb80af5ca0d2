//! The archive: what the log said, as Delta tables of Parquet that anyone can read.
//!
//! In:    the log's topics, from the offsets that the tables themselves hold.
//! Out:   one Delta table a kind of event (`layout`), each row once, sorted, dated.
//! Keeps: every row until its retention ends; the offsets in the same commit as the files.
//! Never: loses or doubles a row across a kill; skips damage in silence.
//!
//! The way of a row: `archiver` reads the log, `rows` makes columns, `repeats` drops what the
//! table has, `data_file` sorts and encodes, `writer` makes files durable and commits them with
//! their offsets through `delta`; `merge` and `sweep` keep the number of files down. `committed`
//! is the read side, `verify` the check.

mod archiver;
pub mod bench;
pub mod committed;
mod config;
mod data_file;
mod delta;
mod error;
mod health;
pub mod layout;
mod merge;
pub mod repeats;
pub mod rows;
mod sweep;
mod verify;
mod writer;

pub use committed::{CommittedTable, committed};
pub use config::ArchiveConfig;
pub use delta::state::{DataFile, Offsets, State as Committed};
pub use delta::stats::{Bound, ColumnStats, FileStats};
pub use error::ArchiveError;
pub use health::{Health, TableHealth};
pub use layout::{EVENT_DATE, Table, Undecodable};
pub use verify::{Bad, Verified, verify};

use std::sync::Arc;

use inzira_event_log::EventLog;
use inzira_schemas::Clock;
use inzira_store::Opened;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

/// A running archive.
pub struct ArchiveHandle {
    tables: Vec<(health::Shared, JoinHandle<()>)>,
}

/// Starts one blocking task a table. Needs a tokio runtime with several threads. A store or log
/// that is away is no error: it is tried again and shown in `health`.
pub fn start(
    config: ArchiveConfig,
    log: Arc<dyn EventLog>,
    store: Opened,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<ArchiveHandle, ArchiveError> {
    let runtime = Handle::try_current().map_err(ArchiveError::broken)?;
    let config = Arc::new(config);
    let tables = config
        .tables
        .iter()
        .map(|table| {
            let health = health::Shared::of(*table);
            let job = archiver::Job {
                table: *table,
                config: config.clone(),
                log: log.clone(),
                opened: store.clone(),
                clock: clock.clone(),
                stop: stop.clone(),
                health: health.clone(),
                runtime: runtime.clone(),
            };
            (health, runtime.spawn_blocking(move || job.run()))
        })
        .collect();
    Ok(ArchiveHandle { tables })
}

/// Looks at a running archive; outlives it.
#[derive(Clone)]
pub struct ArchiveWatch {
    tables: Vec<(health::Shared, AbortHandle)>,
}

impl ArchiveWatch {
    /// How each table stands.
    pub fn health(&self) -> Health {
        let tables = self.tables.iter().map(|(shared, task)| {
            let mut health = shared.lock().clone();
            if task.is_finished() && health.failing.is_none() {
                health.failing = Some("its task has ended".to_owned());
            }
            health
        });
        Health { tables: tables.collect() }
    }
}

impl ArchiveHandle {
    /// For those who only want to look.
    pub fn watch(&self) -> ArchiveWatch {
        let tables = self.tables.iter().map(|(shared, task)| (shared.clone(), task.abort_handle()));
        ArchiveWatch { tables: tables.collect() }
    }

    /// How each table stands.
    pub fn health(&self) -> Health {
        self.watch().health()
    }

    /// Waits until every table has stopped: after the token is cancelled, what is in memory is
    /// committed first, within `ArchiveConfig::stop_within`. An error means that a task panicked.
    pub async fn join(self) -> Result<(), ArchiveError> {
        let mut failed = None;
        for (shared, task) in self.tables {
            if let Err(error) = task.await {
                let table = shared.lock().table;
                failed = Some(ArchiveError::Broken(format!("{table}: {error}")));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
