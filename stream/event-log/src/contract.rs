//! What every event log must do, whichever it is: one suite, run over both.
//!
//! In:    something that opens the same log, again and again.
//! Out:   a panic that names the promise broken.
//! Never: assumes an empty log: each case begins at the heads that it finds, with keys of its own.

mod reading;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use inzira_schemas::Topic;

pub use self::reading::*;
pub use self::writing::*;
use crate::{EventLog, LogReader, NewRecord, Position, Record};

/// Opens the log under test. An earlier one may still be open (Kafka) or was dropped (embedded).
pub type Opener = dyn Fn() -> BoxFuture<'static, Arc<dyn EventLog>> + Send + Sync;

/// What was appended is given up on after this long.
const READ_WAIT_MAX: Duration = Duration::from_secs(20);

/// Runs every case.
pub async fn all(open: &Opener) {
    records_come_back_as_they_went(open).await;
    order_per_key_is_the_order_of_appends(open).await;
    keys_go_to_the_partitions_of_murmur2(open).await;
    a_reader_begins_where_it_is_told(open).await;
    a_reader_of_some_partitions_sees_no_others(open).await;
    heads_say_where_a_topic_ends(open).await;
    a_reader_that_has_caught_up_knows_it(open).await;
    an_idle_reader_wakes_for_new_records(open).await;
    a_transaction_is_seen_whole(open).await;
    a_fenced_writer_writes_nothing(open).await;
    empty_calls_are_no_failure(open).await;
    a_large_record_passes_and_a_larger_one_is_refused(open).await;
    a_place_that_is_not_there_is_refused(open).await;
    many_at_once_lose_nothing(open).await;
    what_was_appended_is_there_after_reopening(open).await;
}

/// A record without headers.
pub fn record(topic: Topic, key: &str, value: &str) -> NewRecord {
    NewRecord {
        topic,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        headers: Vec::new(),
    }
}

/// The ends of topics, as places to read from.
pub async fn ends(log: &Arc<dyn EventLog>, topics: &[Topic]) -> Vec<Position> {
    let mut places = Vec::new();
    for topic in topics {
        let heads = log.heads(*topic).await.expect("heads");
        assert_eq!(heads.len(), topic.partitions() as usize, "one head a partition");
        places.extend(heads.into_iter().map(|head| Position {
            topic: *topic,
            partition: head.partition,
            offset: head.end,
        }));
    }
    places
}

/// Reads from `places` until `count` records came, and checks that each partition's offsets rise.
pub async fn read(log: &Arc<dyn EventLog>, places: &[Position], count: usize) -> Vec<Record> {
    let reader = log.reader(places).expect("a reader");
    let (_, records) = read_on(reader, count).await;
    records
}

async fn read_on(
    mut reader: Box<dyn LogReader>,
    count: usize,
) -> (Box<dyn LogReader>, Vec<Record>) {
    tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let mut records: Vec<Record> = Vec::new();
        let mut next: BTreeMap<(Topic, u32), u64> = BTreeMap::new();
        while records.len() < count && started.elapsed() < READ_WAIT_MAX {
            let polled = reader.poll(1 << 20, Duration::from_millis(200)).expect("a poll");
            for record in &polled {
                let place = next.entry((record.topic, record.partition)).or_default();
                assert!(record.offset >= *place, "offsets rise within a partition");
                *place = record.offset + 1;
            }
            records.extend(polled);
        }
        (reader, records)
    })
    .await
    .expect("the reading thread")
}

/// A key that no other case has.
fn fresh(name: &str) -> String {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!("{name}-{nanos}")
}

fn values_of(records: &[Record], key: &str) -> Vec<String> {
    records
        .iter()
        .filter(|record| record.key == key.as_bytes())
        .map(|record| String::from_utf8_lossy(&record.value).into_owned())
        .collect()
}
