//! The batches of one commit while they are gathered.
//!
//! In:    records in the order they were asked for.
//! Out:   one batch per partition (more when large), written in one go, with the cuts due.
//! Never: touches the database before `write`.

use bytes::Bytes;
use inzira_schemas::{Micros, Topic};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use super::codec::{Batch, Encoder, topic_id};
use super::db::{CUT_EVERY, Cut};
use super::state::TopicEnds;
use crate::NewRecord;

/// A batch is closed when it has this much, so that a reader can bound what it takes.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Partitions of one topic at most; a slot number is topic * this + partition.
const SLOTS_PER_TOPIC: usize = 64;

/// Rows of one INSERT; the rest go by halves, so that few statements are prepared.
const ROWS_MAX: usize = 16;

/// The batches of one commit.
pub struct Stage {
    ends: Vec<TopicEnds>,
    next_seq: i64,
    now: Micros,
    open: Vec<Option<Encoder>>,
    opened: Vec<(usize, Topic, u32)>,
    closed: Vec<Batch>,
    records: u64,
}

impl Stage {
    /// An empty one that goes on from the ends of the last commit.
    pub fn new(ends: Vec<TopicEnds>, next_seq: i64, now: Micros) -> Self {
        let slots = ends.len() * SLOTS_PER_TOPIC;
        Self {
            ends,
            next_seq,
            now,
            open: std::iter::repeat_with(|| None).take(slots).collect(),
            opened: Vec::new(),
            closed: Vec::new(),
            records: 0,
        }
    }

    /// Stages a record; answers the place that it will have.
    pub fn push(&mut self, record: &NewRecord) -> (u32, u64) {
        let (topic, partition) = (record.topic, record.partition());
        let topic_slot = usize::from(topic_id(topic)) - 1;
        let slot = topic_slot * SLOTS_PER_TOPIC + partition as usize;
        if self.open[slot].is_none() {
            self.opened.push((slot, topic, partition));
        }
        let encoder = self.open[slot].get_or_insert_with(Encoder::new);
        encoder.push(record);
        let next = self.ends[topic_slot].next[partition as usize];
        let offset = next + u64::from(encoder.count()) - 1;
        let full = encoder.size_bytes() >= BATCH_BYTES_MAX;
        self.records += 1;
        if full {
            self.close(slot, topic, partition);
            self.opened.retain(|(opened, ..)| *opened != slot);
        }
        (partition, offset)
    }

    fn close(&mut self, slot: usize, topic: Topic, partition: u32) {
        let Some(encoder) = self.open[slot].take() else { return };
        let ends = &mut self.ends[slot / SLOTS_PER_TOPIC];
        let next = &mut ends.next[partition as usize];
        let mut batch = Batch {
            seq: self.next_seq,
            topic,
            partition,
            base_offset: *next,
            count: encoder.count(),
            appended_at_us: self.now.0,
            crc32c: 0,
            bytes: Bytes::from(encoder.finish()),
        };
        batch.crc32c = batch.checksum();
        *next = batch.end_offset();
        ends.last_seq = batch.seq;
        self.next_seq += 1;
        self.closed.push(batch);
    }

    /// Writes all of it into the open database transaction.
    pub async fn write(
        &mut self,
        conn: &mut SqliteConnection,
        since_cut: &[u32],
    ) -> Result<(), sqlx::Error> {
        for (slot, topic, partition) in std::mem::take(&mut self.opened) {
            self.close(slot, topic, partition);
        }
        let mut rest = self.closed.as_slice();
        let mut rows = ROWS_MAX;
        while !rest.is_empty() {
            while rows > rest.len() {
                rows /= 2;
            }
            let (now, later) = rest.split_at(rows);
            insert(conn, now).await?;
            rest = later;
        }
        for cut in self.cuts_due(since_cut) {
            cut.insert(conn).await?;
        }
        Ok(())
    }

    fn cuts_due(&self, since_cut: &[u32]) -> Vec<Cut> {
        let mut since = since_cut.to_vec();
        self.count_since_cut(&mut since);
        Topic::ALL
            .into_iter()
            .filter(|topic| {
                let slot = usize::from(topic_id(*topic)) - 1;
                since[slot] == 0 && self.closed.iter().any(|batch| batch.topic == *topic)
            })
            .map(|topic| {
                let ends = &self.ends[usize::from(topic_id(topic)) - 1];
                Cut { topic, seq: ends.last_seq, at_us: self.now.0, offsets: ends.next.clone() }
            })
            .collect()
    }

    /// Moves the counters of batches since the last cut on by this commit; 0 where one is due.
    pub fn count_since_cut(&self, since_cut: &mut [u32]) {
        for batch in &self.closed {
            since_cut[usize::from(topic_id(batch.topic)) - 1] += 1;
        }
        since_cut.iter_mut().filter(|count| **count >= CUT_EVERY).for_each(|count| *count = 0);
    }

    /// The sequence that the next commit begins with.
    pub fn next_seq(&self) -> i64 {
        self.next_seq
    }

    /// How many records were staged.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// What was written.
    pub fn into_batches(self) -> Vec<Batch> {
        self.closed
    }
}

async fn insert(conn: &mut SqliteConnection, batches: &[Batch]) -> Result<(), sqlx::Error> {
    const ROW: &str = "(?, ?, ?, ?, ?, ?, ?, ?)";
    let rows = vec![ROW; batches.len()].join(", ");
    // Only the number of rows varies, never text from outside.
    let sql = AssertSqlSafe(format!(
        "INSERT INTO batches (seq, topic, partition, base_offset, count, appended_at_us, crc32c, \
         bytes) VALUES {rows}"
    ));
    let mut query = sqlx::query(sql);
    for batch in batches {
        query = query
            .bind(batch.seq)
            .bind(i64::from(topic_id(batch.topic)))
            .bind(i64::from(batch.partition))
            .bind(i64::try_from(batch.base_offset).unwrap_or(i64::MAX))
            .bind(i64::from(batch.count))
            .bind(batch.appended_at_us)
            .bind(i64::from(batch.crc32c))
            .bind(Vec::from(batch.bytes.clone()));
    }
    query.execute(conn).await.map(|_| ())
}
