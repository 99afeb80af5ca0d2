//! Opens a folder: what is there, is it whole, who may write it.
//!
//! In:    a folder.
//! Out:   a log whose writer and housekeeper run; or a reader's view; or the damage, with offsets.
//! Never: lets SQLite recover over damage: its write-ahead log is read before.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;

use inzira_schemas::{Clock, Topic};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};
use tokio::sync::{Semaphore, mpsc};

use super::check::{self, Depth};
use super::codec::topic_id;
use super::db::{self, Cut};
use super::housekeeper::Housekeeper;
use super::mark::{self, Mark};
use super::state::{State, TopicEnds, heads_of};
use super::wal::{self, Wal};
use super::writer::Writer;
use super::{Desk, EmbeddedLog, QUEUE_KIB, Writing, lock};
use crate::{Head, LogError, OpenError};

/// Opens for writing; makes the folder when it is absent.
pub async fn for_writing(folder: PathBuf, clock: Arc<dyn Clock>) -> Result<EmbeddedLog, OpenError> {
    fs::create_dir_all(&folder).map_err(|error| trouble(&folder, &error))?;
    let lock = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || lock::acquire(&folder))
            .await
            .map_err(|error| LogError::Broken(error.to_string()))??
    };
    look_at_wal(&folder).await?;
    let mut conn = db::connect(&folder, true).await?;
    db::prepare(&mut conn, clock.now().0).await?;
    let (topics, _) = check::walk(&mut conn, Depth::Newest).await?;
    if let Some(acknowledged) = mark::read(&folder) {
        check::against_mark(&topics, &acknowledged)?;
    }
    // What recovery dropped is cut off for good, and everything below is on the disk by its name.
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_optional(&mut conn)
        .await
        .map_err(|error| db::failure(&error))?;
    sync_folder(&folder).map_err(|error| trouble(&folder, &error))?;
    let mut mark = Mark::open(&folder).map_err(|error| trouble(&folder, &error))?;
    mark.note(&topics.iter().map(|ends| ends.next.clone()).collect())
        .map_err(|error| trouble(&folder, &error))?;
    let next_seq = newest_seq(&mut conn).await? + 1;
    let since_cut = since_cut(&mut conn).await?;
    let keeper_conn = db::connect(&folder, true).await?;

    let state = Arc::new(State::new(topics));
    let (requests, asked) = mpsc::unbounded_channel();
    let housekeeper = Housekeeper {
        folder: folder.clone(),
        conn: keeper_conn,
        state: Arc::clone(&state),
        clock: Arc::clone(&clock),
        requests: requests.clone(),
    };
    let writer = Writer {
        conn,
        wal: db::wal_file(&folder),
        state: Arc::clone(&state),
        mark,
        requests: asked,
        clock,
        next_seq,
        since_cut,
        lock,
    };
    let room = Arc::new(Semaphore::new(QUEUE_KIB as usize));
    let desk = Desk { requests, room, state };
    let writing = start(desk, writer, housekeeper).map_err(|error| trouble(&folder, &error))?;
    Ok(EmbeddedLog { folder, writing: Some(writing) })
}

fn start(desk: Desk, writer: Writer, housekeeper: Housekeeper) -> io::Result<Writing> {
    let (stop, stopped) = std_mpsc::channel();
    let housekeeper = thread::Builder::new()
        .name("log-keeper".to_owned())
        .spawn(move || housekeeper.run(&stopped))?;
    let writer =
        thread::Builder::new().name("log-writer".to_owned()).spawn(move || writer.run())?;
    Ok(Writing {
        state: Arc::clone(&desk.state),
        desk,
        housekeeper_stop: Some(stop),
        housekeeper: Some(housekeeper),
        writer: Some(writer),
    })
}

/// Opens beside a writer, or where none runs.
pub async fn for_reading(folder: PathBuf) -> Result<EmbeddedLog, OpenError> {
    if !db::file(&folder).exists() {
        return Err(OpenError::Config(format!("there is no log in {}", folder.display())));
    }
    // Beside a running writer the write-ahead log moves, and the writer has looked at it.
    if lock::is_free(&folder) {
        look_at_wal(&folder).await?;
    }
    let acknowledged = mark::read(&folder);
    let mut conn = db::connect(&folder, false).await?;
    if db::format_of(&mut conn).await? == 0 {
        return Err(OpenError::Config(format!("the log in {} is empty", folder.display())));
    }
    if let Some(acknowledged) = acknowledged {
        let mut topics = Vec::new();
        for topic in Topic::ALL {
            topics.push(ends_from_file(&mut conn, topic).await?);
        }
        check::against_mark(&topics, &acknowledged)?;
    }
    conn.close().await.map_err(|error| db::failure(&error))?;
    Ok(EmbeddedLog { folder, writing: None })
}

/// The heads of a topic, by a process that does not write.
pub async fn heads_from_file(folder: &Path, topic: Topic) -> Result<Vec<Head>, LogError> {
    let mut conn = db::connect(folder, false).await?;
    let ends = ends_from_file(&mut conn, topic).await?;
    conn.close().await.map_err(|error| db::failure(&error))?;
    Ok(heads_of(&ends))
}

async fn ends_from_file(conn: &mut SqliteConnection, topic: Topic) -> Result<TopicEnds, LogError> {
    let missing = || LogError::Broken(format!("{topic} has no beginning"));
    let oldest = Cut::oldest(conn, topic).await?.ok_or_else(missing)?;
    let newest = Cut::newest(conn, topic, 0).await?.ok_or_else(missing)?;
    let mut ends = TopicEnds { start: oldest.offsets, next: newest.offsets, last_seq: newest.seq };
    let rows = sqlx::query(
        "SELECT partition, max(base_offset + count), max(seq) FROM batches \
         WHERE topic = ? AND seq > ? GROUP BY partition",
    )
    .bind(i64::from(topic_id(topic)))
    .bind(newest.seq)
    .fetch_all(conn)
    .await
    .map_err(|error| db::failure(&error))?;
    for row in rows {
        let read = || -> Result<(i64, i64, i64), sqlx::Error> {
            Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
        };
        let (partition, next, seq) = read().map_err(|error| db::failure(&error))?;
        let slot = usize::try_from(partition).ok().and_then(|slot| ends.next.get_mut(slot));
        if let (Some(slot), Ok(next)) = (slot, u64::try_from(next)) {
            *slot = next;
        }
        ends.last_seq = ends.last_seq.max(seq);
    }
    Ok(ends)
}

async fn newest_seq(conn: &mut SqliteConnection) -> Result<i64, LogError> {
    let newest: Result<Option<i64>, sqlx::Error> = async {
        // Cuts count too: retention may have taken every batch, and a sequence is never reused.
        sqlx::query(
            "SELECT max(coalesce((SELECT max(seq) FROM batches), 0), (SELECT max(seq) FROM cuts))",
        )
        .fetch_one(&mut *conn)
        .await?
        .try_get(0)
    }
    .await;
    Ok(newest.map_err(|error| db::failure(&error))?.unwrap_or(0))
}

/// How many batches each topic has behind its newest cut.
async fn since_cut(conn: &mut SqliteConnection) -> Result<Vec<u32>, LogError> {
    let mut counts = Vec::new();
    for topic in Topic::ALL {
        let newest = Cut::newest(conn, topic, 0).await?.map_or(0, |cut| cut.seq);
        let count: Result<i64, sqlx::Error> = async {
            sqlx::query("SELECT count(*) FROM batches WHERE topic = ? AND seq > ?")
                .bind(i64::from(topic_id(topic)))
                .bind(newest)
                .fetch_one(&mut *conn)
                .await?
                .try_get(0)
        }
        .await;
        let count = count.map_err(|error| db::failure(&error))?;
        counts.push(u32::try_from(count).unwrap_or(u32::MAX));
    }
    Ok(counts)
}

/// Reads the write-ahead log; damage is refused with the offsets that are lost by it.
async fn look_at_wal(folder: &Path) -> Result<(), OpenError> {
    let path = db::wal_file(folder);
    let scanned = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || wal::scan(&path))
            .await
            .map_err(|error| LogError::Broken(error.to_string()))?
    };
    match scanned.map_err(|error| trouble(&path, &error))? {
        Wal::Empty | Wal::Sound { .. } => Ok(()),
        Wal::TornTail { at_byte } => {
            tracing::info!(at_byte, "the write-ahead log has a torn tail, which was not answered");
            Ok(())
        }
        Wal::Damaged { at_byte } => {
            let what = format!("the write-ahead log is damaged at byte {at_byte}");
            match lost_by_damage(folder, &what).await {
                Ok(damaged) => Err(damaged.into()),
                Err(error) => {
                    tracing::warn!(%error, "the offsets lost by the damage are not known");
                    Err(LogError::Broken(what).into())
                }
            }
        }
    }
}

/// Which offsets recovery would drop. It works on a second name of the file and a copy of the
/// write-ahead log, read-only, so that the damaged one stays as it is.
async fn lost_by_damage(folder: &Path, what: &str) -> Result<LogError, LogError> {
    let aside = folder.join("examine");
    let broken = |error: io::Error| LogError::Broken(error.to_string());
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir(&aside).map_err(broken)?;
    let found = async {
        fs::hard_link(db::file(folder), aside.join("log.db")).map_err(broken)?;
        fs::copy(db::wal_file(folder), aside.join("log.db-wal")).map_err(broken)?;
        let mut conn = db::connect_file(&aside.join("log.db"), false).await?;
        let mut topics = Vec::new();
        for topic in Topic::ALL {
            topics.push(ends_from_file(&mut conn, topic).await?);
        }
        conn.close().await.map_err(|error| db::failure(&error))?;
        Ok::<_, LogError>(topics)
    }
    .await;
    let _ = fs::remove_dir_all(&aside);
    let acknowledged = mark::read(folder)
        .ok_or_else(|| LogError::Broken("no note of what was acknowledged".to_owned()))?;
    match check::against_mark(&found?, &acknowledged) {
        Err(LogError::Damaged { topic, partition, first, last, .. }) => {
            Ok(LogError::Damaged { topic, partition, first, last, what: what.to_owned() })
        }
        Err(error) => Err(error),
        Ok(()) => Err(LogError::Broken("nothing acknowledged lies behind it".to_owned())),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn trouble(path: &Path, error: &io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::StorageFull => OpenError::Log(LogError::Full),
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => {
            OpenError::Config(format!("{}: {error}", path.display()))
        }
        _ => OpenError::Log(LogError::Broken(format!("{}: {error}", path.display()))),
    }
}
