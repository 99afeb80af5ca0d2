//! Walks batches in order and says whether they are what was written.
//!
//! In:    a connection; where to begin.
//! Out:   the ends of each topic, or the first damage with its offsets.
//! Never: skips a bad batch.

use futures::TryStreamExt;
use inzira_schemas::Topic;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::codec::{Batch, topic_id};
use super::db::{self, Cut};
use super::mark::Ends;
use super::state::TopicEnds;
use crate::LogError;

/// An opening walk begins this many cuts back, so that opening a large log stays quick; what lies
/// before is checked when it is read, and by `EmbeddedLog::check`.
const OPEN_CUTS: i64 = 4;

/// How far a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The newest part.
    Newest,
    /// Everything.
    Whole,
}

/// What a walk saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Batches.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the batches.
    pub bytes: u64,
}

/// A row as a batch. Numbers that do not fit become a batch that fails its checksum.
pub fn batch_of(topic: Topic, row: &SqliteRow) -> Result<Batch, sqlx::Error> {
    let partition: i64 = row.try_get(1)?;
    let base_offset: i64 = row.try_get(2)?;
    let count: i64 = row.try_get(3)?;
    let crc32c: i64 = row.try_get(5)?;
    let bytes: Vec<u8> = row.try_get(6)?;
    Ok(Batch {
        seq: row.try_get(0)?,
        topic,
        partition: u32::try_from(partition).unwrap_or(u32::MAX),
        base_offset: u64::try_from(base_offset).unwrap_or(u64::MAX),
        count: u32::try_from(count).unwrap_or(u32::MAX),
        appended_at_us: row.try_get(4)?,
        crc32c: u32::try_from(crc32c).unwrap_or(0),
        bytes: bytes.into(),
    })
}

/// Walks every topic.
pub async fn walk(
    conn: &mut SqliteConnection,
    depth: Depth,
) -> Result<(Vec<TopicEnds>, Checked), LogError> {
    let mut checked = Checked::default();
    let mut all = Vec::with_capacity(Topic::ALL.len());
    for topic in Topic::ALL {
        all.push(walk_topic(conn, topic, depth, &mut checked).await?);
    }
    Ok((all, checked))
}

async fn walk_topic(
    conn: &mut SqliteConnection,
    topic: Topic,
    depth: Depth,
    checked: &mut Checked,
) -> Result<TopicEnds, LogError> {
    let missing = || LogError::Broken(format!("{topic} has no beginning"));
    let oldest = Cut::oldest(conn, topic).await?.ok_or_else(missing)?;
    let from = match depth {
        Depth::Newest => Cut::newest(conn, topic, OPEN_CUTS).await?.ok_or_else(missing)?,
        Depth::Whole => oldest.clone(),
    };
    let mut ends = TopicEnds { start: oldest.offsets, next: from.offsets, last_seq: from.seq };
    let mut rows = sqlx::query(
        "SELECT seq, partition, base_offset, count, appended_at_us, crc32c, bytes FROM batches \
         WHERE topic = ? AND seq > ? ORDER BY seq",
    )
    .bind(i64::from(topic_id(topic)))
    .bind(from.seq)
    .fetch(conn);
    loop {
        let row = match rows.try_next().await {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) if db::is_damage(&error) => {
                return Err(unreadable(topic, &ends, &error));
            }
            Err(error) => return Err(db::failure(&error)),
        };
        let batch = batch_of(topic, &row).map_err(|error| unreadable(topic, &ends, &error))?;
        admit(&mut ends, &batch)?;
        checked.batches += 1;
        checked.records += u64::from(batch.count);
        checked.bytes += batch.bytes.len() as u64;
    }
    drop(rows);
    Ok(ends)
}

/// Takes the next batch of a walk, or says what is wrong with it.
fn admit(ends: &mut TopicEnds, batch: &Batch) -> Result<(), LogError> {
    let expected = ends.next.get(batch.partition as usize).copied();
    if let Err(what) = batch.verify() {
        return Err(damaged(batch, expected, what));
    }
    match expected {
        Some(next) if next == batch.base_offset => {
            ends.next[batch.partition as usize] = batch.end_offset();
            ends.last_seq = batch.seq;
            Ok(())
        }
        Some(next) if next < batch.base_offset => Err(LogError::Damaged {
            topic: batch.topic,
            partition: batch.partition,
            first: next,
            last: batch.base_offset - 1,
            what: "batches are missing".to_owned(),
        }),
        _ => Err(damaged(batch, expected, "a batch out of order".to_owned())),
    }
}

/// The error for a bad batch. Its own numbers may be the bad part, so where its place is known
/// from its neighbours that is what is named.
pub fn damaged(batch: &Batch, expected: Option<u64>, what: String) -> LogError {
    let first = expected.unwrap_or(batch.base_offset);
    LogError::Damaged {
        topic: batch.topic,
        partition: batch.partition,
        first,
        last: first.saturating_add(u64::from(batch.count.max(1)) - 1),
        what: format!("batch {}: {what}", batch.seq),
    }
}

/// SQLite cannot read on: which partition comes first is not known, the walk's place is.
fn unreadable(topic: Topic, ends: &TopicEnds, error: &sqlx::Error) -> LogError {
    let first = ends.next.first().copied().unwrap_or(0);
    LogError::Damaged {
        topic,
        partition: 0,
        first,
        last: first,
        what: format!("behind batch {} the file cannot be read: {error}", ends.last_seq),
    }
}

/// Whether everything that was answered is there.
pub fn against_mark(found: &[TopicEnds], acknowledged: &Ends) -> Result<(), LogError> {
    for ((topic, ends), marked) in Topic::ALL.iter().zip(found).zip(acknowledged) {
        for ((partition, next), marked) in (0u32..).zip(&ends.next).zip(marked) {
            if next < marked {
                return Err(LogError::Damaged {
                    topic: *topic,
                    partition,
                    first: *next,
                    last: marked - 1,
                    what: "records that were acknowledged are missing".to_owned(),
                });
            }
        }
    }
    Ok(())
}
