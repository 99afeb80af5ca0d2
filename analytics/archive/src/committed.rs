//! The read side: which files a table has, and up to which offsets they cover the log.
//!
//! In:    a store, from any process; nothing is locked.
//! Out:   the files with their statistics, and the offset at which the log's tail begins.
//! Keeps: the last state, so that a refresh reads only the commits that are new.
//! Never: answers a mixture of two versions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inzira_store::Opened;

use crate::delta::state::State;
use crate::delta::{DeltaLog, LOG_RETENTION_HOURS};
use crate::error::ArchiveError;
use crate::layout::Table;

/// The newest committed state of a table; `None` while the table does not exist.
pub async fn committed(opened: &Opened, table: Table) -> Result<Option<Arc<State>>, ArchiveError> {
    Ok(DeltaLog::new(opened, table)?.load().await?.map(Arc::new))
}

/// A table followed over time.
pub struct CommittedTable {
    log: DeltaLog,
    state: Option<Arc<State>>,
    read_at: Instant,
}

impl std::fmt::Debug for CommittedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = self.state.as_ref().map(|state| state.version);
        f.debug_struct("CommittedTable")
            .field("table", &self.log.table)
            .field("version", &version)
            .finish()
    }
}

impl CommittedTable {
    /// Follows `table`; the first `refresh` reads it.
    pub fn new(opened: &Opened, table: Table) -> Result<Self, ArchiveError> {
        Ok(Self { log: DeltaLog::new(opened, table)?, state: None, read_at: Instant::now() })
    }

    /// Reads what was committed since the last call: one small read when nothing was.
    /// Answers the state, or `None` while the table does not exist. On an error the last state
    /// stays.
    pub async fn refresh(&mut self) -> Result<Option<Arc<State>>, ArchiveError> {
        // Commit files go away after their retention: after a long sleep the next one may be
        // missing although there are newer ones.
        let stale = self.read_at.elapsed() > Duration::from_secs(LOG_RETENTION_HOURS * 1_800);
        match self.state.as_mut() {
            Some(state) if !stale => {
                let mut next = None;
                if self.log.has_after(state.version).await? {
                    let mut newer = State::clone(state);
                    self.log.refresh(&mut newer).await?;
                    next = Some(newer);
                }
                if let Some(newer) = next {
                    *state = Arc::new(newer);
                }
            }
            _ => self.state = self.log.load().await?.map(Arc::new),
        }
        self.read_at = Instant::now();
        Ok(self.state.clone())
    }

    /// The state of the last refresh.
    pub fn state(&self) -> Option<&Arc<State>> {
        self.state.as_ref()
    }
}
