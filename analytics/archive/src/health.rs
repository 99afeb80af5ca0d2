//! What the archive says of itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use inzira_schemas::{Micros, Topic};

use crate::layout::{Table, Undecodable};

/// Undecodable records that are kept to be shown; older ones are in the process's log.
pub const UNDECODABLE_SHOWN_MAX: usize = 16;

/// One table's state.
#[derive(Debug, Clone)]
pub struct TableHealth {
    /// Which table.
    pub table: Table,
    /// The Delta version of the last commit; `None` until the table is open.
    pub version: Option<u64>,
    /// Live data files.
    pub files: usize,
    /// Records in the log that no commit covers yet, by topic.
    pub lag: Vec<(Topic, u64)>,
    /// Rows in memory that no commit has yet.
    pub buffered_rows: usize,
    /// When something was last committed, by the handed-in clock.
    pub last_commit_at: Option<Micros>,
    /// Rows committed since the start.
    pub rows: u64,
    /// Repeats dropped since the start.
    pub repeats: u64,
    /// Records that are no event, since the start.
    pub undecodable: u64,
    /// The newest of them.
    pub undecodable_last: VecDeque<Undecodable>,
    /// Commits that met another writer's, since the start.
    pub conflicts: u64,
    /// What is wrong now; `None` when all is well.
    pub failing: Option<String>,
}

/// The whole archive's state.
#[derive(Debug, Clone)]
pub struct Health {
    /// By table.
    pub tables: Vec<TableHealth>,
}

impl Health {
    /// True when every table is open and nothing fails.
    pub fn is_ready(&self) -> bool {
        self.tables.iter().all(|table| table.version.is_some() && table.failing.is_none())
    }

    /// Records that no commit covers yet, in all topics.
    pub fn lag_records(&self) -> u64 {
        self.tables.iter().flat_map(|table| &table.lag).map(|(_, lag)| lag).sum()
    }

    /// Seconds since the table that committed last did so; `None` before the first commit.
    pub fn last_commit_age_s(&self, now: Micros) -> Option<f64> {
        let newest = self.tables.iter().filter_map(|table| table.last_commit_at).max()?;
        Some(now.seconds_since(newest))
    }
}

/// Shared by a table's thread and those who ask.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<TableHealth>>);

impl Shared {
    pub fn of(table: Table) -> Self {
        Self(Arc::new(Mutex::new(TableHealth {
            table,
            version: None,
            files: 0,
            lag: Vec::new(),
            buffered_rows: 0,
            last_commit_at: None,
            rows: 0,
            repeats: 0,
            undecodable: 0,
            undecodable_last: VecDeque::new(),
            conflicts: 0,
            failing: None,
        })))
    }

    /// A panic of the other side leaves numbers behind, not broken promises.
    pub fn lock(&self) -> MutexGuard<'_, TableHealth> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn undecodable(&self, record: Undecodable) {
        tracing::error!(
            topic = %record.topic,
            partition = record.partition,
            offset = record.offset,
            reason = record.reason,
            "a record is no event and stays out of the archive"
        );
        metrics::counter!("inzira_archive_undecodable_total", "topic" => record.topic.name())
            .increment(1);
        let mut health = self.lock();
        health.undecodable += 1;
        if health.undecodable_last.len() == UNDECODABLE_SHOWN_MAX {
            health.undecodable_last.pop_front();
        }
        health.undecodable_last.push_back(record);
    }
}
