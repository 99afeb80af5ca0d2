//! SQLite's one writer, taken in turns: many transactions, one durable commit.
//!
//! In:    transactions that wait for their turn, first come, first served.
//! Out:   each is told that it is committed after the fsync that covers it, never before.
//! Keeps: one open transaction of the database; a savepoint for the turn under way; who waits
//!        for the commit.
//! Never: lets one turn's rollback undo another's.
//!
//! An fsync takes milliseconds. While one is under way further transactions queue; then they run
//! one after the other and share the next. A turn sees what the turns before it did, so whoever
//! answers from what it saw must `commit` first, even when it wrote nothing.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AnyConnection, Executor};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::db::DbError;

/// The writer, shared.
#[derive(Clone)]
pub struct GroupWriter {
    turns: Arc<Mutex<Writer>>,
    wanted: Arc<Notify>,
    /// Ends with the last handle.
    _committer: Arc<AbortOnDropHandle<()>>,
}

/// One transaction's turn. Dropped without `commit`, nothing of it happened.
pub struct Turn {
    writer: OwnedMutexGuard<Writer>,
    wanted: Arc<Notify>,
}

struct Writer {
    connection: AnyConnection,
    closed: bool,
    /// The database's own transaction is open.
    open: bool,
    /// A turn began and has not ended.
    in_turn: bool,
    /// Those whose turn has ended, in the open transaction.
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

impl std::fmt::Debug for GroupWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GroupWriter")
    }
}

impl GroupWriter {
    /// Takes a connection for good. Must be called within a tokio runtime.
    pub fn over(connection: AnyConnection) -> Self {
        let writer =
            Writer { connection, closed: false, open: false, in_turn: false, waiting: Vec::new() };
        let (turns, wanted) = (Arc::new(Mutex::new(writer)), Arc::new(Notify::new()));
        let committer = tokio::spawn(commit_when_wanted(turns.clone(), wanted.clone()));
        Self { turns, wanted, _committer: Arc::new(AbortOnDropHandle::new(committer)) }
    }

    /// Waits for a turn, at most so long.
    pub async fn begin(&self, patience: Duration) -> Result<Turn, DbError> {
        let waited = tokio::time::timeout(patience, self.turns.clone().lock_owned()).await;
        let writer = waited.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let mut turn = Turn { writer, wanted: self.wanted.clone() };
        turn.writer.begin_turn().await?;
        Ok(turn)
    }

    /// Commits what waits; there are no turns any more.
    pub async fn close(&self) {
        let mut writer = self.turns.lock().await;
        writer.commit().await;
        writer.closed = true;
    }
}

/// Queues for a turn of its own whenever one has ended: behind all who wait already, so that the
/// commit covers them too.
async fn commit_when_wanted(turns: Arc<Mutex<Writer>>, wanted: Arc<Notify>) {
    loop {
        wanted.notified().await;
        turns.lock().await.commit().await;
    }
}

impl Turn {
    /// For queries.
    pub fn connection(&mut self) -> &mut AnyConnection {
        &mut self.writer.connection
    }

    /// Ends the turn and waits until it is durable.
    pub async fn commit(mut self) -> Result<(), DbError> {
        let writer = &mut *self.writer;
        let released = writer.run("RELEASE turn").await;
        writer.in_turn = false;
        if let Err(error) = released {
            writer.give_up(&error.to_string()).await;
            return Err(error.into());
        }
        let (tell, told) = oneshot::channel();
        writer.waiting.push(tell);
        drop(self);
        match told.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(DbError::NotCommitted(reason)),
            Err(_) => Err(DbError::NotCommitted("the writer has ended".to_owned())),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Also after a turn that came to nothing: an open transaction must not stay open.
        self.wanted.notify_one();
    }
}

impl Writer {
    async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        self.connection.execute(statement).await.map(|_| ())
    }

    async fn begin_turn(&mut self) -> Result<(), DbError> {
        if self.closed {
            return Err(sqlx::Error::PoolClosed.into());
        }
        self.undo_unfinished().await;
        if !self.open {
            self.run("BEGIN IMMEDIATE").await?;
            self.open = true;
        }
        if let Err(error) = self.run("SAVEPOINT turn").await {
            self.give_up(&error.to_string()).await;
            return Err(error.into());
        }
        self.in_turn = true;
        Ok(())
    }

    /// Rolls back a turn that was dropped; those before it stay.
    async fn undo_unfinished(&mut self) {
        if !std::mem::take(&mut self.in_turn) {
            return;
        }
        let undone = match self.run("ROLLBACK TO turn").await {
            Ok(()) => self.run("RELEASE turn").await,
            Err(error) => Err(error),
        };
        // SQLite rolls back the whole transaction by itself when a disk is full or fails.
        if let Err(error) = undone {
            self.give_up(&error.to_string()).await;
        }
    }

    async fn commit(&mut self) {
        self.undo_unfinished().await;
        if !self.open {
            return;
        }
        match self.run("COMMIT").await {
            Ok(()) => {
                self.open = false;
                for waiting in self.waiting.drain(..) {
                    let _ = waiting.send(Ok(()));
                }
            }
            Err(error) => self.give_up(&error.to_string()).await,
        }
    }

    /// Nothing of the open transaction happened: everyone in it is told so.
    async fn give_up(&mut self, reason: &str) {
        // It may have been rolled back already.
        let _ = self.run("ROLLBACK").await;
        self.open = false;
        self.in_turn = false;
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Err(reason.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection, Row};

    const PATIENCE: Duration = Duration::from_secs(5);

    async fn writer(folder: &tempfile::TempDir) -> (GroupWriter, AnyConnection) {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("x.db").display());
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        connection.execute("PRAGMA journal_mode = WAL").await.unwrap();
        connection.execute("CREATE TABLE t (n BIGINT PRIMARY KEY)").await.unwrap();
        (GroupWriter::over(connection), AnyConnection::connect(&url).await.unwrap())
    }

    async fn insert(turn: &mut Turn, n: i64) -> Result<(), sqlx::Error> {
        let insert = sqlx::query("INSERT INTO t VALUES ($1)").bind(n);
        insert.execute(turn.connection()).await.map(|_| ())
    }

    async fn count(reader: &mut AnyConnection) -> i64 {
        sqlx::query("SELECT count(*) FROM t").fetch_one(reader).await.unwrap().get(0)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn turns_share_a_commit_and_one_that_is_dropped_undoes_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (group, mut reader) = writer(&folder).await;
        let tasks: Vec<_> = (0..200_i64)
            .map(|n| {
                let group = group.clone();
                tokio::spawn(async move {
                    let mut turn = group.begin(PATIENCE).await.unwrap();
                    insert(&mut turn, n).await.unwrap();
                    if n % 3 == 0 {
                        return;
                    }
                    turn.commit().await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(count(&mut reader).await, 200 - 67);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_is_told_can_be_read_by_others_and_a_failed_statement_harms_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (group, mut reader) = writer(&folder).await;
        for n in 0..10 {
            let mut turn = group.begin(PATIENCE).await.unwrap();
            insert(&mut turn, n).await.unwrap();
            turn.commit().await.unwrap();
            assert_eq!(count(&mut reader).await, n + 1);
            let mut turn = group.begin(PATIENCE).await.unwrap();
            assert!(insert(&mut turn, n).await.is_err());
        }
        group.close().await;
        assert!(group.begin(PATIENCE).await.is_err());
        assert_eq!(count(&mut reader).await, 10);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn when_the_transaction_is_lost_everyone_in_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (group, mut reader) = writer(&folder).await;
        let mut first = group.begin(PATIENCE).await.unwrap();
        insert(&mut first, 1).await.unwrap();
        // The second waits for its turn before the first ends, so it comes before the commit.
        let mut second = Box::pin(group.begin(PATIENCE));
        assert!(futures::poll!(&mut second).is_pending());
        let first = tokio::spawn(first.commit());
        let mut second = second.await.unwrap();
        // As SQLite does by itself when the disk is full.
        second.connection().execute("ROLLBACK").await.unwrap();
        drop(second);
        assert!(matches!(first.await.unwrap(), Err(DbError::NotCommitted(_))));
        assert_eq!(count(&mut reader).await, 0);
        let mut third = group.begin(PATIENCE).await.unwrap();
        insert(&mut third, 3).await.unwrap();
        third.commit().await.unwrap();
        assert_eq!(count(&mut reader).await, 1);
    }
}
