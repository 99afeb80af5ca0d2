//! Reads the embedded log: from memory near the end, from the file further back.
//!
//! In:    the next offset of each partition.
//! Out:   records in offset order per partition, each batch checked.
//! Keeps: one connection of its own, opened when the first query is needed.
//! Never: holds a query open between polls; goes past a bad batch.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use futures::executor::block_on;
use inzira_schemas::Topic;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::check;
use super::codec::{Batch, topic_id};
use super::db::{self, Cut};
use super::state::{State, TopicEnds, Wanted};
use crate::{LogError, LogReader, Position, Record};

/// A reader in another process than the writer's looks this often.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// One query takes at most this many batches; with 24 partitions that is ten commits or more.
const BATCHES_MAX: i64 = 256;

/// A reader of the embedded log.
pub struct EmbeddedReader {
    folder: PathBuf,
    /// Present in the writer's process.
    state: Option<Arc<State>>,
    conn: Option<SqliteConnection>,
    topics: Vec<Following>,
    /// The topic that comes first in the next poll, so that none is starved.
    turn: usize,
    failed: Option<LogError>,
    /// In another process: the newest batch when it last looked.
    looked_at_seq: i64,
}

/// One topic that is followed.
struct Following {
    topic: Topic,
    /// The next offset by partition; `None` where the partition is not followed.
    next: Vec<Option<u64>>,
    partitions: u64,
    /// Every batch up to here has been seen; `None` before it was looked up.
    seen_seq: Option<i64>,
}

impl Following {
    fn sort(from: &[Position]) -> Vec<Self> {
        let mut topics: Vec<Self> = Vec::new();
        for position in from {
            let at = topics.iter().position(|topic| topic.topic == position.topic);
            let at = at.unwrap_or_else(|| {
                topics.push(Self {
                    topic: position.topic,
                    next: vec![None; position.topic.partitions() as usize],
                    partitions: 0,
                    seen_seq: None,
                });
                topics.len() - 1
            });
            topics[at].next[position.partition as usize] = Some(position.offset);
            topics[at].partitions |= 1 << position.partition;
        }
        topics
    }

    fn has_passed(&self, batch: &Batch) -> bool {
        let next = self.next.get(batch.partition as usize).copied().flatten();
        next.is_some_and(|next| batch.end_offset() <= next)
    }

    /// Takes the next batch, already verified.
    fn admit(&mut self, batch: &Batch, out: &mut Vec<Record>) -> Result<usize, LogError> {
        let Some(Some(next)) = self.next.get_mut(batch.partition as usize) else { return Ok(0) };
        if batch.end_offset() <= *next {
            return Ok(0);
        }
        if batch.base_offset > *next {
            return Err(LogError::Damaged {
                topic: self.topic,
                partition: batch.partition,
                first: *next,
                last: batch.base_offset - 1,
                what: "batches are missing".to_owned(),
            });
        }
        let before = out.len();
        match batch.decode(*next, out) {
            Ok(bytes) => {
                *next = batch.end_offset();
                Ok(bytes)
            }
            Err(what) => {
                out.truncate(before);
                Err(check::damaged(batch, Some(*next), what))
            }
        }
    }

    /// Having seen the topic up to `ends`, whether nothing is missing at the end.
    fn check_complete(&self, ends: &TopicEnds) -> Result<(), LogError> {
        for ((partition, next), end) in (0u32..).zip(&self.next).zip(&ends.next) {
            if let Some(next) = next
                && next < end
            {
                return Err(LogError::Damaged {
                    topic: self.topic,
                    partition,
                    first: *next,
                    last: end - 1,
                    what: "batches are missing".to_owned(),
                });
            }
        }
        Ok(())
    }
}

impl EmbeddedReader {
    /// A reader from these places, whose offsets the log has checked.
    pub fn new(folder: PathBuf, state: Option<Arc<State>>, from: &[Position]) -> Self {
        Self {
            folder,
            state,
            conn: None,
            topics: Following::sort(from),
            turn: 0,
            failed: None,
            looked_at_seq: -1,
        }
    }

    /// Takes what is there. Answers whether there may be more at once.
    fn take(&mut self, bytes_max: usize, out: &mut Vec<Record>) -> Result<bool, LogError> {
        let newest_seq = match &self.state {
            Some(_) => 0,
            None => match self.look()? {
                Some(seq) => seq,
                None => return Ok(false),
            },
        };
        let mut left = bytes_max;
        let mut more = false;
        for step in 0..self.topics.len() {
            let at = (self.turn + step) % self.topics.len();
            let (taken, complete) = match self.state.clone() {
                Some(state) => self.take_here(at, &state, left, out)?,
                None => self.take_from_file(at, newest_seq, left, out)?,
            };
            more |= !complete;
            left = left.saturating_sub(taken);
            if left == 0 {
                more = true;
                break;
            }
        }
        self.turn = (self.turn + 1) % self.topics.len().max(1);
        if !more {
            self.looked_at_seq = newest_seq;
        }
        Ok(more)
    }

    /// Beside the writer: from memory, or from the file what memory no longer has.
    fn take_here(
        &mut self,
        at: usize,
        state: &State,
        bytes_max: usize,
        out: &mut Vec<Record>,
    ) -> Result<(usize, bool), LogError> {
        let following = &mut self.topics[at];
        let ends = state.ends(following.topic);
        let caught_up = (0..).zip(&following.next).all(|(partition, next): (usize, _)| {
            next.is_none_or(|next| next >= ends.next[partition])
        });
        if caught_up {
            following.seen_seq = Some(following.seen_seq.unwrap_or(0).max(ends.last_seq));
            return Ok((0, true));
        }
        if let Some(after_seq) = following.seen_seq {
            let wanted = Wanted {
                topic: following.topic,
                partitions: following.partitions,
                after_seq,
                bytes_max,
            };
            if let Some(found) = state.newest(wanted) {
                let mut taken = 0;
                for batch in &found.batches {
                    taken += following.admit(batch, out)?;
                }
                following.seen_seq = Some(found.up_to_seq);
                let complete = found.up_to_seq >= ends.last_seq;
                if complete {
                    following.check_complete(&ends)?;
                }
                return Ok((taken, complete));
            }
        }
        let (taken, complete) = self.take_from_file(at, ends.last_seq, bytes_max, out)?;
        if complete {
            self.topics[at].check_complete(&ends)?;
        }
        Ok((taken, complete))
    }

    /// One short query. Answers the bytes, and whether the topic was seen up to `up_to_seq`.
    fn take_from_file(
        &mut self,
        at: usize,
        up_to_seq: i64,
        bytes_max: usize,
        out: &mut Vec<Record>,
    ) -> Result<(usize, bool), LogError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => block_on(db::connect(&self.folder, false))?,
        };
        let following = &mut self.topics[at];
        let answer = block_on(query(&mut conn, following, up_to_seq, bytes_max, out));
        self.conn = Some(conn);
        answer
    }

    /// In another process: the newest batch, or `None` when nothing is new since the last look.
    fn look(&mut self) -> Result<Option<i64>, LogError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => block_on(db::connect(&self.folder, false))?,
        };
        let newest = block_on(async {
            sqlx::query("SELECT max(seq) FROM batches").fetch_one(&mut conn).await?.try_get(0)
        });
        self.conn = Some(conn);
        let newest: Option<i64> = newest.map_err(|error: sqlx::Error| db::failure(&error))?;
        Ok(newest.filter(|seq| *seq > self.looked_at_seq))
    }

    /// What is missing because retention took it is not damage.
    fn or_gone(&mut self, error: LogError) -> LogError {
        let LogError::Damaged { topic, partition, first, .. } = error else { return error };
        let starts = match (&self.state, &mut self.conn) {
            (Some(state), _) => state.ends(topic).start,
            (None, Some(conn)) => match block_on(Cut::oldest(conn, topic)) {
                Ok(Some(cut)) => cut.offsets,
                _ => return error,
            },
            (None, None) => return error,
        };
        match starts.get(partition as usize) {
            Some(start) if *start > first => {
                LogError::Gone { topic, partition, start: *start, asked: first }
            }
            _ => error,
        }
    }

    fn wait(&self, deadline: Instant) -> bool {
        match &self.state {
            Some(state) => {
                let seen: Vec<(Topic, i64)> = self
                    .topics
                    .iter()
                    .map(|topic| (topic.topic, topic.seen_seq.unwrap_or(0)))
                    .collect();
                state.wait(&seen, deadline)
            }
            None => {
                let left = deadline.saturating_duration_since(Instant::now());
                std::thread::sleep(left.min(LOOK_EVERY));
                left > Duration::ZERO
            }
        }
    }
}

impl LogReader for EmbeddedReader {
    fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let deadline = Instant::now() + wait;
        let mut out = Vec::new();
        loop {
            let more = match self.take(bytes_max.max(1), &mut out) {
                Ok(more) => more,
                Err(busy @ LogError::Busy(_)) if out.is_empty() => return Err(busy),
                Err(LogError::Busy(_)) => return Ok(out),
                // What came before the damage is good; the next poll says what stopped it.
                Err(error) => {
                    let error = self.or_gone(error);
                    self.failed = Some(error.clone());
                    if out.is_empty() {
                        return Err(error);
                    }
                    return Ok(out);
                }
            };
            if !out.is_empty() || (!more && !self.wait(deadline)) {
                return Ok(out);
            }
        }
    }

    fn positions(&self) -> Vec<Position> {
        self.topics
            .iter()
            .flat_map(|following| {
                (0u32..).zip(&following.next).filter_map(|(partition, next)| {
                    next.map(|offset| Position { topic: following.topic, partition, offset })
                })
            })
            .collect()
    }
}

async fn query(
    conn: &mut SqliteConnection,
    following: &mut Following,
    up_to_seq: i64,
    bytes_max: usize,
    out: &mut Vec<Record>,
) -> Result<(usize, bool), LogError> {
    let topic = following.topic;
    let after_seq = match following.seen_seq {
        Some(seq) => seq,
        None => first_seq(conn, following).await?,
    };
    following.seen_seq = Some(after_seq);
    let (mut taken, mut rows_seen) = (0, 0);
    let mut rows = sqlx::query(
        "SELECT seq, partition, base_offset, count, appended_at_us, crc32c, bytes FROM batches \
         WHERE topic = ?1 AND seq > ?2 AND seq <= ?3 AND ((?4 >> partition) & 1) = 1 \
         ORDER BY seq LIMIT ?5",
    )
    .bind(i64::from(topic_id(topic)))
    .bind(after_seq)
    .bind(up_to_seq)
    .bind(i64::from_le_bytes(following.partitions.to_le_bytes()))
    .bind(BATCHES_MAX)
    .fetch(conn);
    loop {
        let row = match rows.try_next().await {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) if db::is_damage(&error) => return Err(unreadable(following, &error)),
            Err(error) => return Err(db::failure(&error)),
        };
        let batch = check::batch_of(topic, &row).map_err(|error| unreadable(following, &error))?;
        following.seen_seq = Some(batch.seq);
        rows_seen += 1;
        // What lies before the reader's place is not its concern, nor is damage there.
        if following.has_passed(&batch) {
            continue;
        }
        if let Err(what) = batch.verify() {
            let expected = following.next.get(batch.partition as usize).copied().flatten();
            return Err(check::damaged(&batch, expected, what));
        }
        taken += following.admit(&batch, out)?;
        if taken >= bytes_max {
            return Ok((taken, false));
        }
    }
    let complete = rows_seen < BATCHES_MAX;
    if complete {
        following.seen_seq = Some(up_to_seq.max(after_seq));
    }
    Ok((taken, complete))
}

/// The batch behind which everything wanted lies: the newest cut that is not past any position.
async fn first_seq(conn: &mut SqliteConnection, following: &Following) -> Result<i64, LogError> {
    let mut before = i64::MAX;
    while let Some(cut) = Cut::before(conn, following.topic, before).await? {
        let reaches = following
            .next
            .iter()
            .zip(&cut.offsets)
            .all(|(next, offset)| next.is_none_or(|next| *offset <= next));
        if reaches {
            return Ok(cut.seq);
        }
        before = cut.seq;
    }
    gone(conn, following).await
}

async fn gone(conn: &mut SqliteConnection, following: &Following) -> Result<i64, LogError> {
    let oldest = Cut::oldest(conn, following.topic).await?;
    let starts = oldest.map(|cut| cut.offsets).unwrap_or_default();
    for ((partition, next), start) in (0u32..).zip(&following.next).zip(starts) {
        if let Some(asked) = *next
            && asked < start
        {
            return Err(LogError::Gone { topic: following.topic, partition, start, asked });
        }
    }
    Err(LogError::Broken(format!("{} has no beginning", following.topic)))
}

/// SQLite cannot read on. The partitions that have more are all cut off; the first is named.
fn unreadable(following: &Following, error: &sqlx::Error) -> LogError {
    let named =
        (0u32..).zip(&following.next).find_map(|(partition, next)| Some((partition, (*next)?)));
    let (partition, first) = named.unwrap_or((0, 0));
    LogError::Damaged {
        topic: following.topic,
        partition,
        first,
        last: first,
        what: format!(
            "the file cannot be read behind batch {}: {error}",
            following.seen_seq.unwrap_or(0)
        ),
    }
}
