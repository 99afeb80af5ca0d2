//! Keeps the write-ahead log short and old records out, off the writer's thread.
//!
//! In:    the size of the write-ahead log; how long each topic is kept.
//! Out:   checkpoints; deletions, asked of the writer.
//! Keeps: a connection of its own.
//! Never: lets the write-ahead log grow much past WAL_BYTES_MAX: then it holds the writer for the
//!        last piece (some 20 ms) and the file begins anew. A writer that outruns it waits.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use inzira_schemas::{Clock, Micros, Topic};
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use super::db;
use super::state::State;
use super::writer::Request;
use crate::{LogError, kept_for};

/// A checkpoint copies pages into the file when this much is new.
const CHECKPOINT_BYTES: u64 = 8 << 20;

/// From this size on the writer is held so that the write-ahead log begins anew.
const WAL_BYTES_MAX: u64 = 64 << 20;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const TRIM_EVERY: Duration = Duration::from_secs(600);

/// Between two pieces that retention deletes, appends have the disk to themselves.
const TRIM_PAUSE: Duration = Duration::from_millis(20);

/// The thread that keeps house.
pub struct Housekeeper {
    pub(super) folder: PathBuf,
    pub(super) conn: SqliteConnection,
    pub(super) state: Arc<State>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) requests: mpsc::UnboundedSender<Request>,
}

impl Housekeeper {
    /// Works until the other end of `stop` is dropped.
    pub fn run(mut self, stop: &Receiver<()>) {
        let mut copied_at_bytes = 0;
        let mut trimmed = Instant::now();
        while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            if self.state.poisoned().is_some() {
                break;
            }
            let wal_bytes = db::size_of(&db::wal_file(&self.folder));
            metrics::gauge!("log_wal_bytes").set(wal_bytes as f64);
            if wal_bytes < copied_at_bytes {
                copied_at_bytes = 0;
            }
            if wal_bytes >= WAL_BYTES_MAX {
                self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
                self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)");
                copied_at_bytes = 0;
            } else if wal_bytes >= copied_at_bytes + CHECKPOINT_BYTES {
                self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
                copied_at_bytes = wal_bytes;
            }
            if trimmed.elapsed() >= TRIM_EVERY {
                trimmed = Instant::now();
                self.trim_all(stop);
            }
        }
        self.state.shield_when_poisoned(&db::file(&self.folder));
        if let Err(error) = block_on(self.conn.close()) {
            tracing::warn!(%error, "closing the housekeeper's connection");
        }
    }

    fn checkpoint(&mut self, sql: &'static str) {
        let started = Instant::now();
        let outcome = block_on(sqlx::query(sql).fetch_optional(&mut self.conn));
        metrics::histogram!("log_checkpoint_seconds").record(started.elapsed().as_secs_f64());
        let Err(error) = outcome else { return };
        match db::failure(&error) {
            // A reader or the writer was faster, or there is no room: the next look tries again.
            LogError::Busy(_) | LogError::Full | LogError::Unknown(_) => {
                tracing::warn!(%error, "checkpoint of the event log put off");
            }
            _ => drop(self.state.poison(format!("checkpoint: {error}"))),
        }
    }

    fn trim_all(&self, stop: &Receiver<()>) {
        for topic in Topic::ALL {
            let Some(kept) = kept_for(topic) else { continue };
            let kept_s = i64::try_from(kept.as_secs()).unwrap_or(i64::MAX);
            let before = self.clock.now().plus_secs(-kept_s);
            loop {
                match block_on(trim_piece(&self.requests, topic, before)) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, %topic, "retention put off");
                        break;
                    }
                }
                if stop.recv_timeout(TRIM_PAUSE) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        }
    }
}

/// Asks the writer to delete one piece; answers how many batches went.
pub async fn trim_piece(
    requests: &mpsc::UnboundedSender<Request>,
    topic: Topic,
    before: Micros,
) -> Result<u64, LogError> {
    let closed = || LogError::Broken("the log is closed".to_owned());
    let (answer, answered) = oneshot::channel();
    requests.send(Request::Trim { topic, before, answer }).map_err(|_| closed())?;
    answered.await.map_err(|_| closed())?
}
