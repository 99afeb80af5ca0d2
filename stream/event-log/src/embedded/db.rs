//! The database file: its tables, how it is opened, and what its errors mean.
//!
//! In:    a folder.
//! Out:   connections, each with a thread of its own; failures by what the caller may do next.
//! Keeps: `log.db`, `log.db-wal`, `log.db-shm`.
//!
//! ```text
//! batches   seq, topic, partition, base_offset, count, appended_at_us, crc32c, bytes
//! cuts      topic, seq, at_us, offsets, crc32c: the next offset of every partition of a topic
//!           behind the batch `seq`; one every CUT_EVERY batches. The oldest cut of a topic says
//!           where its partitions begin, the newest where an opening walk starts, and those
//!           between are a sparse index. Batches need no index by offset, so a commit writes only
//!           at the end of two trees.
//! writers   name, generation: the fencing table of transactors
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use inzira_schemas::Topic;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};

use super::codec::topic_id;
use crate::{LogError, OpenError};

/// A cut is written behind at most this many batches of a topic.
pub const CUT_EVERY: u32 = 256;

/// The version of the tables; another one is refused.
const FORMAT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE batches (
        seq INTEGER PRIMARY KEY,
        topic INTEGER NOT NULL,
        partition INTEGER NOT NULL,
        base_offset INTEGER NOT NULL,
        count INTEGER NOT NULL,
        appended_at_us INTEGER NOT NULL,
        crc32c INTEGER NOT NULL,
        bytes BLOB NOT NULL
    ) STRICT;
    CREATE INDEX batches_of_topic ON batches(topic);
    CREATE TABLE cuts (
        topic INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        at_us INTEGER NOT NULL,
        offsets BLOB NOT NULL,
        crc32c INTEGER NOT NULL,
        PRIMARY KEY (topic, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE writers (
        name TEXT NOT NULL PRIMARY KEY,
        generation INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;";

/// The database file of a folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("log.db")
}

/// The write-ahead log beside it.
pub fn wal_file(folder: &Path) -> PathBuf {
    folder.join("log.db-wal")
}

/// The size of a file in bytes; 0 when it is absent.
pub fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// A connection that writes, or that reads beside a writer.
pub async fn connect(folder: &Path, write: bool) -> Result<SqliteConnection, LogError> {
    connect_file(&file(folder), write).await
}

/// The same, on a file by another name.
pub async fn connect_file(file: &Path, write: bool) -> Result<SqliteConnection, LogError> {
    let mut options = SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(Duration::from_secs(2))
        .row_buffer_size(4)
        .disable_statement_logging();
    if write {
        options = options
            .create_if_missing(true)
            .page_size(8192)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "0")
            .pragma("cache_size", "-65536");
    } else {
        options = options.read_only(true).pragma("cache_size", "-4096");
    }
    options.connect().await.map_err(|error| failure(&error))
}

/// Makes the tables in a new file; refuses a file of another version.
pub async fn prepare(conn: &mut SqliteConnection, now_us: i64) -> Result<(), OpenError> {
    if format_of(conn).await? == FORMAT {
        return Ok(());
    }
    let mut transaction =
        conn.begin_with("BEGIN IMMEDIATE").await.map_err(|error| failure(&error))?;
    sqlx::raw_sql(TABLES).execute(&mut *transaction).await.map_err(|error| failure(&error))?;
    for topic in Topic::ALL {
        let offsets = vec![0; topic.partitions() as usize];
        Cut { topic, seq: 0, at_us: now_us, offsets }
            .insert(&mut transaction)
            .await
            .map_err(|error| failure(&error))?;
    }
    transaction.commit().await.map_err(|error| failure(&error))?;
    Ok(())
}

/// Refuses a file whose tables are not of our version. 0 is an empty file.
pub async fn format_of(conn: &mut SqliteConnection) -> Result<i64, OpenError> {
    let version: i64 = sqlx::query("PRAGMA user_version")
        .fetch_one(conn)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(|error| failure(&error))?;
    if version == FORMAT || version == 0 {
        return Ok(version);
    }
    Err(OpenError::Config(format!(
        "the log's tables are of version {version}, this program knows {FORMAT}"
    )))
}

/// The next offset of every partition of a topic behind batch `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Topic.
    pub topic: Topic,
    /// The last batch that it counts.
    pub seq: i64,
    /// When it was written, microseconds UTC.
    pub at_us: i64,
    /// By partition.
    pub offsets: Vec<u64>,
}

impl Cut {
    fn checksum(&self, bytes: &[u8]) -> u32 {
        let mut crc = crc32c::crc32c(&[topic_id(self.topic)]);
        crc = crc32c::crc32c_append(crc, &self.seq.to_le_bytes());
        crc = crc32c::crc32c_append(crc, &self.at_us.to_le_bytes());
        crc32c::crc32c_append(crc, bytes)
    }

    /// Writes it.
    pub async fn insert(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let bytes: Vec<u8> = self.offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let crc = self.checksum(&bytes);
        sqlx::query(
            "INSERT OR REPLACE INTO cuts (topic, seq, at_us, offsets, crc32c) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(i64::from(topic_id(self.topic)))
        .bind(self.seq)
        .bind(self.at_us)
        .bind(bytes)
        .bind(i64::from(crc))
        .execute(conn)
        .await
        .map(|_| ())
    }

    /// The cuts of a topic that `which` chooses, a constant tail of the query.
    async fn find(
        conn: &mut SqliteConnection,
        topic: Topic,
        sql: &'static str,
        argument: i64,
    ) -> Result<Option<Cut>, LogError> {
        let row = sqlx::query(sql)
            .bind(i64::from(topic_id(topic)))
            .bind(argument)
            .fetch_optional(conn)
            .await
            .map_err(|error| failure(&error))?;
        let Some(row) = row else { return Ok(None) };
        let read = || -> Result<(Cut, u32, Vec<u8>), sqlx::Error> {
            let bytes: Vec<u8> = row.try_get(2)?;
            let offsets = bytes.chunks_exact(8).map(le_u64).collect();
            let cut = Cut { topic, seq: row.try_get(0)?, at_us: row.try_get(1)?, offsets };
            let crc: i64 = row.try_get(3)?;
            Ok((cut, u32::try_from(crc).unwrap_or(0), bytes))
        };
        let (cut, crc, bytes) = read().map_err(|error| failure(&error))?;
        let whole = cut.offsets.len() == topic.partitions() as usize;
        if !whole || cut.checksum(&bytes) != crc {
            return Err(LogError::Broken(format!(
                "the index of {topic} is damaged at batch {}",
                cut.seq
            )));
        }
        Ok(Some(cut))
    }

    /// The `back`-th newest cut (0 is the newest), or the oldest when there are fewer.
    pub async fn newest(
        conn: &mut SqliteConnection,
        topic: Topic,
        back: i64,
    ) -> Result<Option<Cut>, LogError> {
        let sql = "SELECT seq, at_us, offsets, crc32c FROM cuts WHERE topic = ?1 \
                   ORDER BY seq DESC LIMIT 1 OFFSET ?2";
        match Self::find(conn, topic, sql, back).await? {
            Some(cut) => Ok(Some(cut)),
            None => Self::oldest(conn, topic).await,
        }
    }

    /// The oldest cut: where the topic begins.
    pub async fn oldest(
        conn: &mut SqliteConnection,
        topic: Topic,
    ) -> Result<Option<Cut>, LogError> {
        let sql = "SELECT seq, at_us, offsets, crc32c FROM cuts WHERE topic = ?1 \
                   AND seq >= ?2 ORDER BY seq LIMIT 1";
        Self::find(conn, topic, sql, 0).await
    }

    /// The newest cut before batch `seq`.
    pub async fn before(
        conn: &mut SqliteConnection,
        topic: Topic,
        seq: i64,
    ) -> Result<Option<Cut>, LogError> {
        let sql = "SELECT seq, at_us, offsets, crc32c FROM cuts WHERE topic = ?1 \
                   AND seq < ?2 ORDER BY seq DESC LIMIT 1";
        Self::find(conn, topic, sql, seq).await
    }

    /// The newest cut written before an instant.
    pub async fn older_than(
        conn: &mut SqliteConnection,
        topic: Topic,
        at_us: i64,
    ) -> Result<Option<Cut>, LogError> {
        let sql = "SELECT seq, at_us, offsets, crc32c FROM cuts WHERE topic = ?1 \
                   AND at_us < ?2 ORDER BY seq DESC LIMIT 1";
        Self::find(conn, topic, sql, at_us).await
    }
}

fn le_u64(eight: &[u8]) -> u64 {
    u64::from_le_bytes(eight.try_into().unwrap_or([0; 8]))
}

/// SQLite's result code, extended; 0 when the error is not SQLite's.
fn code_of(error: &sqlx::Error) -> i32 {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

/// What a failure means for the caller. Anything that is neither a full disk, nor a lock, nor a
/// bad file is `Broken`; a writer turns that into poison.
pub fn failure(error: &sqlx::Error) -> LogError {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const FULL: i32 = 13;
    const IOERR_SHMSIZE: i32 = 10 | (19 << 8);
    let code = code_of(error);
    match code & 0xff {
        BUSY | LOCKED => LogError::Busy(format!("the log's file is locked: {error}")),
        FULL => LogError::Full,
        // The frames are written, the shared index could not grow: no room, and no certainty.
        _ if code == IOERR_SHMSIZE => LogError::Unknown("no space left for the index".to_owned()),
        _ => LogError::Broken(error.to_string()),
    }
}

/// Whether SQLite found that the file is not what it wrote.
pub fn is_damage(error: &sqlx::Error) -> bool {
    const CORRUPT: i32 = 11;
    const NOTADB: i32 = 26;
    const IOERR_READ: i32 = 10 | (1 << 8);
    const IOERR_SHORT_READ: i32 = 10 | (2 << 8);
    let code = code_of(error);
    matches!(code & 0xff, CORRUPT | NOTADB) || matches!(code, IOERR_READ | IOERR_SHORT_READ)
}
