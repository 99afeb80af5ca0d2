//! The one writer: everything that waits goes into one commit, and one commit is one fsync.
//!
//! In:    requests in the order they came.
//! Out:   one answer each, after the commit that holds it is durable.
//! Keeps: the next offset of every partition.
//! Never: answers first; writes after a failed write or fsync; lets one request spoil another: a
//!        member is checked whole (size by the caller, fence here) before anything of it is
//!        staged, so inside a group only the disk can fail, and then nothing of the group stands.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use inzira_schemas::{Clock, Micros, Topic};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::codec::topic_id;
use super::db::{self, Cut};
use super::lock::FolderLock;
use super::mark::Mark;
use super::stage::Stage;
use super::state::State;
use crate::{Appended, LogError, NewRecord};

/// A commit takes at most this much; the rest waits for the next one.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Retention deletes at most this many batches in one commit, so that appends wait little.
const TRIM_BATCHES_MAX: i64 = 512;

/// With a longer write-ahead log than this the writer waits for the housekeeper, at most so long;
/// it goes on then, since a reader in another process must not stop the log.
const WAL_BYTES_HELD: u64 = 96 << 20;
const HELD_MAX: Duration = Duration::from_secs(5);

/// What the writer is asked.
pub enum Request {
    /// Append records.
    Append {
        /// What.
        records: Vec<NewRecord>,
        /// Who waits.
        answer: oneshot::Sender<Result<Appended, LogError>>,
        /// Room in the queue.
        room: OwnedSemaphorePermit,
    },
    /// Append records in the name of a transactor.
    Transact {
        /// Its name.
        name: Arc<str>,
        /// Its generation.
        generation: i64,
        /// What.
        records: Vec<NewRecord>,
        /// Who waits.
        answer: oneshot::Sender<Result<(), LogError>>,
        /// Room in the queue.
        room: OwnedSemaphorePermit,
    },
    /// Become the one transactor of a name; answers its generation.
    TakeOver {
        /// The name.
        name: Arc<str>,
        /// Who waits.
        answer: oneshot::Sender<Result<i64, LogError>>,
    },
    /// Drop a piece of what was written before an instant; answers how many batches went. Ask
    /// again until it is 0.
    Trim {
        /// Topic.
        topic: Topic,
        /// Older than this.
        before: Micros,
        /// Who waits.
        answer: oneshot::Sender<Result<u64, LogError>>,
    },
    /// End after everything asked before.
    Stop,
}

/// A member of a group that was admitted, waiting for the commit. It keeps its room in the queue
/// until it is answered.
enum Admitted {
    Append(oneshot::Sender<Result<Appended, LogError>>, Appended, OwnedSemaphorePermit),
    Transact(oneshot::Sender<Result<(), LogError>>, OwnedSemaphorePermit),
    TakeOver(oneshot::Sender<Result<i64, LogError>>, i64),
}

impl Admitted {
    fn answer(self, outcome: Result<(), LogError>) {
        // Who no longer waits has given up; what was written stays written.
        match self {
            Admitted::Append(answer, appended, room) => {
                drop(room);
                let _ = answer.send(outcome.map(|()| appended));
            }
            Admitted::Transact(answer, room) => {
                drop(room);
                let _ = answer.send(outcome);
            }
            Admitted::TakeOver(answer, generation) => {
                let _ = answer.send(outcome.map(|()| generation));
            }
        }
    }
}

/// The writer's thread.
pub struct Writer {
    pub(super) conn: SqliteConnection,
    pub(super) wal: PathBuf,
    pub(super) state: Arc<State>,
    pub(super) mark: Mark,
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) next_seq: i64,
    pub(super) since_cut: Vec<u32>,
    pub(super) lock: FolderLock,
}

impl Writer {
    /// Serves requests until `Stop`, or until nobody can ask any more.
    pub fn run(mut self) {
        while let Some(first) = self.requests.blocking_recv() {
            let mut group = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            let mut stopping = false;
            while let Some(request) = next.take() {
                match request {
                    Request::Stop => {
                        stopping = true;
                        break;
                    }
                    Request::Trim { topic, before, answer } => {
                        let _ = answer.send(self.trim(topic, before));
                    }
                    member => {
                        bytes += bytes_of(&member);
                        group.push(member);
                    }
                }
                if bytes < GROUP_BYTES_MAX {
                    next = self.requests.try_recv().ok();
                }
            }
            if !group.is_empty() {
                self.commit(group);
            }
            if stopping {
                break;
            }
            self.hold();
        }
        // Closing folds the write-ahead log into the file when nobody else has it open.
        self.state.shield_when_poisoned(&self.wal.with_file_name("log.db"));
        if let Err(error) = block_on(self.conn.close()) {
            tracing::warn!(%error, "closing the event log");
        }
        drop(self.lock);
    }

    fn hold(&self) {
        let started = Instant::now();
        while self.state.poisoned().is_none() && db::size_of(&self.wal) >= WAL_BYTES_HELD {
            if started.elapsed() > HELD_MAX {
                tracing::warn!("the write-ahead log of the event log cannot be shortened");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn commit(&mut self, group: Vec<Request>) {
        if let Some(poisoned) = self.state.poisoned() {
            return group.into_iter().for_each(|request| refuse(request, &poisoned));
        }
        let started = Instant::now();
        let mut stage = Stage::new(self.state.all_ends(), self.next_seq, self.clock.now());
        let mut admitted = Vec::with_capacity(group.len());
        let mut waiting = group.into_iter();
        let outcome = block_on(async {
            execute(&mut self.conn, "BEGIN IMMEDIATE").await?;
            for request in waiting.by_ref() {
                admit(&mut self.conn, request, &mut stage, &mut admitted).await?;
            }
            stage.write(&mut self.conn, &self.since_cut).await?;
            fail::fail_point!("log-before-commit");
            execute(&mut self.conn, "COMMIT").await
        });
        let failed = outcome.err().map(|error| self.give_up(&error));
        match failed {
            None => {
                self.next_seq = stage.next_seq();
                stage.count_since_cut(&mut self.since_cut);
                let records = stage.records();
                let ends = self.state.publish(stage.into_batches());
                if let Err(error) = self.mark.note(&ends) {
                    tracing::warn!(%error, "the note of what was acknowledged is not kept");
                }
                fail::fail_point!("log-after-commit");
                admitted.into_iter().for_each(|member| member.answer(Ok(())));
                metrics::histogram!("log_commit_seconds").record(started.elapsed().as_secs_f64());
                metrics::counter!("log_records_appended_total").increment(records);
            }
            Some(error) => {
                admitted.into_iter().for_each(|member| member.answer(Err(error.clone())));
                waiting.for_each(|request| refuse(request, &error));
            }
        }
    }

    /// The commit did not happen, or nobody knows. Undoes what is undone safely, poisons the rest.
    fn give_up(&mut self, error: &sqlx::Error) -> LogError {
        let undone = block_on(execute(&mut self.conn, "ROLLBACK"));
        match db::failure(error) {
            // SQLite has undone it itself when the rollback says that nothing is open.
            failure @ (LogError::Full | LogError::Busy(_) | LogError::Unknown(_)) => {
                tracing::warn!(%error, undone = undone.is_ok(), "a commit of the event log failed");
                failure
            }
            _ => self.state.poison(error.to_string()),
        }
    }

    /// Deletes a piece of what lies before the newest cut that is old enough.
    fn trim(&mut self, topic: Topic, before: Micros) -> Result<u64, LogError> {
        if let Some(poisoned) = self.state.poisoned() {
            return Err(poisoned);
        }
        let ends = self.state.ends(topic);
        let slot = usize::from(topic_id(topic)) - 1;
        let cut = Cut { topic, seq: ends.last_seq, at_us: self.clock.now().0, offsets: ends.next };
        let conn = &mut self.conn;
        let outcome = block_on(async {
            // Where traffic has ended the last stretch would never get its cut, and stay for ever.
            if self.since_cut[slot] > 0 {
                cut.insert(conn).await.map_err(Trouble::Write)?;
                self.since_cut[slot] = 0;
            }
            let found = Cut::older_than(conn, topic, before.0).await.map_err(Trouble::Read)?;
            let Some(cut) = found else { return Ok(0) };
            // Readers are told first where the topic begins, then its batches go.
            self.state.trimmed(topic, cut.offsets.clone());
            delete_before(conn, &cut).await.map_err(Trouble::Write)
        });
        match outcome {
            Ok(batches) => Ok(batches),
            Err(Trouble::Read(error)) => Err(error),
            Err(Trouble::Write(error)) => Err(self.give_up(&error)),
        }
    }
}

enum Trouble {
    Read(LogError),
    Write(sqlx::Error),
}

async fn delete_before(conn: &mut SqliteConnection, cut: &Cut) -> Result<u64, sqlx::Error> {
    let topic = i64::from(topic_id(cut.topic));
    sqlx::query("DELETE FROM cuts WHERE topic = ? AND seq < ?")
        .bind(topic)
        .bind(cut.seq)
        .execute(&mut *conn)
        .await?;
    let gone = sqlx::query(
        "DELETE FROM batches WHERE seq IN \
         (SELECT seq FROM batches WHERE topic = ? AND seq <= ? ORDER BY seq LIMIT ?)",
    )
    .bind(topic)
    .bind(cut.seq)
    .bind(TRIM_BATCHES_MAX)
    .execute(&mut *conn)
    .await?;
    Ok(gone.rows_affected())
}

async fn execute(conn: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(conn).await.map(|_| ())
}

/// Takes one request into the group: checks its fence, then stages its records.
async fn admit(
    conn: &mut SqliteConnection,
    request: Request,
    stage: &mut Stage,
    admitted: &mut Vec<Admitted>,
) -> Result<(), sqlx::Error> {
    match request {
        Request::Append { records, answer, room } => {
            let offsets = records.iter().map(|record| stage.push(record)).collect();
            admitted.push(Admitted::Append(answer, Appended { offsets }, room));
        }
        Request::Transact { name, generation, records, answer, room } => {
            let holder = match holder_of(conn, &name).await {
                Ok(holder) => holder,
                Err(error) => {
                    // It counts as admitted, so that it hears why the group failed.
                    admitted.push(Admitted::Transact(answer, room));
                    return Err(error);
                }
            };
            if holder == Some(generation) {
                for record in &records {
                    stage.push(record);
                }
                admitted.push(Admitted::Transact(answer, room));
            } else {
                let _ = answer.send(Err(LogError::Fenced(format!(
                    "{name} is at generation {}, this writer is {generation}",
                    holder.unwrap_or(0)
                ))));
            }
        }
        Request::TakeOver { name, answer } => match take_over(conn, &name).await {
            Ok(generation) => admitted.push(Admitted::TakeOver(answer, generation)),
            Err(error) => {
                admitted.push(Admitted::TakeOver(answer, 0));
                return Err(error);
            }
        },
        Request::Trim { .. } | Request::Stop => {}
    }
    Ok(())
}

async fn holder_of(conn: &mut SqliteConnection, name: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query("SELECT generation FROM writers WHERE name = ?")
        .bind(name)
        .fetch_optional(conn)
        .await?
        .map(|row| row.try_get(0))
        .transpose()
}

async fn take_over(conn: &mut SqliteConnection, name: &str) -> Result<i64, sqlx::Error> {
    sqlx::query(
        "INSERT INTO writers (name, generation) VALUES (?, 1) \
         ON CONFLICT (name) DO UPDATE SET generation = generation + 1 RETURNING generation",
    )
    .bind(name)
    .fetch_one(conn)
    .await?
    .try_get(0)
}

fn bytes_of(request: &Request) -> usize {
    match request {
        Request::Append { records, .. } | Request::Transact { records, .. } => {
            records.iter().map(NewRecord::size_bytes).sum()
        }
        _ => 0,
    }
}

fn refuse(request: Request, error: &LogError) {
    match request {
        Request::Append { answer, .. } => drop(answer.send(Err(error.clone()))),
        Request::Transact { answer, .. } => drop(answer.send(Err(error.clone()))),
        Request::TakeOver { answer, .. } => drop(answer.send(Err(error.clone()))),
        Request::Trim { answer, .. } => drop(answer.send(Err(error.clone()))),
        Request::Stop => {}
    }
}
