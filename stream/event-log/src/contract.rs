//! What every event log must do, whichever it is: one suite, run over both.
//!
//! In:    something that opens the same log, again and again.
//! Out:   a panic that names the promise broken.
//! Never: assumes an empty log: each case begins at the heads that it finds, with keys of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use inzira_schemas::{Topic, partition_of};

use crate::{EventLog, Header, LogError, LogReader, NewRecord, Position, RECORD_BYTES_MAX, Record};

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

/// Key, value, headers, topic, partition and offset are what was given and what was answered.
pub async fn records_come_back_as_they_went(open: &Opener) {
    let log = open().await;
    let from = ends(&log, &[Topic::Orders]).await;
    let header = |name: &str, value: &[u8]| Header {
        name: name.to_owned(),
        value: Bytes::copy_from_slice(value),
    };
    let mut sent = vec![
        record(Topic::Orders, &fresh("plain"), "value"),
        record(Topic::Orders, "", "a record with an empty key"),
        record(Topic::Orders, &fresh("empty value"), ""),
        record(Topic::Orders, &fresh("headers"), "value"),
    ];
    sent[3].headers = vec![
        header("event-id", b"e1"),
        header("event-type", b"order.confirmed"),
        header("schema", b"1"),
        header("traceparent", b"00-x"),
        header("something-else", &[0, 255, 7]),
        header("empty", b""),
    ];
    let before_us = now_us();
    let appended = log.append(sent.clone()).await.expect("an append");
    let found = read(&log, &from, sent.len()).await;
    assert_eq!(found.len(), sent.len());
    for (sent, (partition, offset)) in sent.iter().zip(appended.offsets) {
        let found = found
            .iter()
            .find(|found| (found.partition, found.offset) == (partition, offset))
            .expect("a record at the place that was answered");
        assert_eq!(found.topic, sent.topic);
        assert_eq!(found.key, sent.key);
        assert_eq!(found.value, sent.value);
        assert_eq!(found.headers, sent.headers);
        let age_us = found.appended_at_us - before_us;
        assert!((-2_000_000..60_000_000).contains(&age_us), "appended at about now: {age_us}");
    }
}

fn now_us() -> i64 {
    use inzira_schemas::Clock;
    inzira_schemas::SystemClock.now().0
}

/// One key's records are read in the order they were appended, within a call and across calls.
pub async fn order_per_key_is_the_order_of_appends(open: &Opener) {
    let log = open().await;
    let from = ends(&log, &[Topic::Payments]).await;
    let keys: Vec<String> = (0..5).map(|key| fresh(&format!("order{key}"))).collect();
    let mut count = 0;
    for round in 0..20 {
        let records: Vec<NewRecord> = (0..10)
            .flat_map(|step| {
                keys.iter().map(move |key| {
                    record(Topic::Payments, key, &format!("{:04}", round * 10 + step))
                })
            })
            .collect();
        count += records.len();
        log.append(records).await.expect("an append");
    }
    let found = read(&log, &from, count).await;
    for key in &keys {
        let values = values_of(&found, key);
        assert_eq!(values.len(), 200);
        assert!(values.is_sorted(), "the order of {key}");
    }
}

/// The partition is the one that any Java producer would choose.
pub async fn keys_go_to_the_partitions_of_murmur2(open: &Opener) {
    let log = open().await;
    let from = ends(&log, &[Topic::GpsFixes]).await;
    let records: Vec<NewRecord> =
        (0..500).map(|key| record(Topic::GpsFixes, &fresh(&format!("drv{key}")), "x")).collect();
    let appended = log.append(records.clone()).await.expect("an append");
    let mut used = [false; 24];
    for (record, (partition, _)) in records.iter().zip(&appended.offsets) {
        assert_eq!(*partition, partition_of(Topic::GpsFixes, &record.key));
        used[*partition as usize] = true;
    }
    assert!(used.iter().all(|used| *used), "500 keys reach all 24 partitions");
    let found = read(&log, &from, records.len()).await;
    assert_eq!(found.len(), records.len());
    for record in found {
        assert_eq!(record.partition, partition_of(Topic::GpsFixes, &record.key));
    }
}

/// Reading again from an answered offset gives that record first, then those behind it.
pub async fn a_reader_begins_where_it_is_told(open: &Opener) {
    let log = open().await;
    let key = fresh("begin");
    let records: Vec<NewRecord> =
        (0..50).map(|step| record(Topic::Trips, &key, &format!("{step:02}"))).collect();
    let mut places = Vec::new();
    for chunk in records.chunks(7) {
        places.extend(log.append(chunk.to_vec()).await.expect("an append").offsets);
    }
    for step in [0usize, 3, 13, 14, 49] {
        let (partition, offset) = places[step];
        let from = [Position { topic: Topic::Trips, partition, offset }];
        let found = read(&log, &from, 50 - step).await;
        let expected: Vec<String> = (step..50).map(|step| format!("{step:02}")).collect();
        assert_eq!(values_of(&found, &key), expected, "from record {step}");
        assert_eq!(found[0].offset, offset);
    }
}

/// Two readers that share out the partitions see everything once between them.
pub async fn a_reader_of_some_partitions_sees_no_others(open: &Opener) {
    let log = open().await;
    let from = ends(&log, &[Topic::GpsFixes, Topic::Orders]).await;
    let (even, odd): (Vec<Position>, Vec<Position>) =
        from.iter().partition(|place| place.partition % 2 == 0);
    let mut records = Vec::new();
    for key in 0..60 {
        records.push(record(Topic::GpsFixes, &fresh(&format!("g{key}")), "x"));
        records.push(record(Topic::Orders, &fresh(&format!("o{key}")), "x"));
    }
    let appended = log.append(records.clone()).await.expect("an append");
    let evens = appended.offsets.iter().filter(|(partition, _)| partition % 2 == 0).count();
    let left = read(&log, &even, evens).await;
    let right = read(&log, &odd, records.len() - evens).await;
    assert_eq!(left.len(), evens);
    assert_eq!(right.len(), records.len() - evens);
    assert!(left.iter().all(|record| record.partition % 2 == 0));
    assert!(right.iter().all(|record| record.partition % 2 == 1));
}

/// The end moves past what was appended, by exactly that on plain appends, and start stays.
pub async fn heads_say_where_a_topic_ends(open: &Opener) {
    let log = open().await;
    let before = log.heads(Topic::DeadLetter).await.expect("heads");
    assert_eq!(before.len(), 1);
    let records = (0..7).map(|step| record(Topic::DeadLetter, &step.to_string(), "x")).collect();
    let appended = log.append(records).await.expect("an append");
    let after = log.heads(Topic::DeadLetter).await.expect("heads");
    assert_eq!(after[0].start, before[0].start);
    assert_eq!(after[0].end, before[0].end + 7);
    assert_eq!(appended.offsets.last(), Some(&(0, after[0].end - 1)));
}

/// Positions reach the heads, also behind the markers of transactions.
pub async fn a_reader_that_has_caught_up_knows_it(open: &Opener) {
    let log = open().await;
    let topics = [Topic::Positions, Topic::FlowProgress];
    let from = ends(&log, &topics).await;
    let mut transactor = log.transactor(&fresh("catch-up")).await.expect("a transactor");
    for step in 0..3 {
        let records = vec![
            record(Topic::Positions, &fresh("p"), &step.to_string()),
            record(Topic::FlowProgress, "progress", &step.to_string()),
        ];
        transactor.transact(records).await.expect("a transaction");
    }
    let ends = ends(&log, &topics).await;
    let reader = log.reader(&from).expect("a reader");
    let (mut reader, found) = read_on(reader, 6).await;
    assert_eq!(found.len(), 6);
    let caught_up = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        loop {
            let positions = reader.positions();
            let reached = ends.iter().all(|end| {
                let found = positions
                    .iter()
                    .find(|found| (found.topic, found.partition) == (end.topic, end.partition));
                found.is_some_and(|found| found.offset >= end.offset)
            });
            if reached {
                return true;
            }
            if started.elapsed() > READ_WAIT_MAX {
                return false;
            }
            let more = reader.poll(1 << 20, Duration::from_millis(50)).expect("a poll");
            assert!(more.is_empty(), "nothing more was appended");
        }
    });
    assert!(caught_up.await.expect("the reading thread"), "positions reach the heads");
}

/// A reader that waits hears of a record long before its wait is over.
pub async fn an_idle_reader_wakes_for_new_records(open: &Opener) {
    let log = open().await;
    let from = ends(&log, &[Topic::TrackingEvents]).await;
    let mut reader = log.reader(&from).expect("a reader");
    let reading = tokio::task::spawn_blocking(move || {
        let empty = reader.poll(1 << 20, Duration::from_millis(100)).expect("a poll");
        assert!(empty.is_empty(), "nothing was appended yet");
        let started = Instant::now();
        let mut found = Vec::new();
        while found.is_empty() && started.elapsed() < READ_WAIT_MAX {
            found = reader.poll(1 << 20, READ_WAIT_MAX).expect("a poll");
        }
        (found, started.elapsed())
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    log.append(vec![record(Topic::TrackingEvents, &fresh("wake"), "x")]).await.expect("an append");
    let (found, waited) = reading.await.expect("the reading thread");
    assert_eq!(found.len(), 1);
    assert!(waited < READ_WAIT_MAX / 2, "woken after {waited:?}");
}

/// While transactions over three topics run, a reader never stands between two parts of one for
/// good: in the end each is there whole, in order, and nothing else.
pub async fn a_transaction_is_seen_whole(open: &Opener) {
    let log = open().await;
    let topics = [Topic::Positions, Topic::TrackingEvents, Topic::FlowProgress];
    let from = ends(&log, &topics).await;
    let key = fresh("whole");
    let mut transactor = log.transactor(&fresh("whole")).await.expect("a transactor");
    for step in 0..10 {
        let mut records = Vec::new();
        for topic in topics {
            for part in 0..3 {
                records.push(record(topic, &key, &format!("{step:02}/{part}")));
            }
        }
        transactor.transact(records).await.expect("a transaction");
    }
    let found = read(&log, &from, 90).await;
    let expected: Vec<String> =
        (0..10).flat_map(|step| (0..3).map(move |part| format!("{step:02}/{part}"))).collect();
    for topic in topics {
        let of_topic: Vec<Record> =
            found.iter().filter(|record| record.topic == topic).cloned().collect();
        assert_eq!(values_of(&of_topic, &key), expected, "{topic}");
    }
    // A transaction that is refused leaves nothing anywhere.
    let mut refused = vec![record(Topic::Positions, &key, "refused")];
    refused.push(NewRecord {
        value: Bytes::from(vec![0; RECORD_BYTES_MAX + 1]),
        ..record(Topic::TrackingEvents, &key, "")
    });
    assert!(matches!(transactor.transact(refused).await, Err(LogError::Broken(_))));
    transactor
        .transact(vec![record(Topic::FlowProgress, &key, "after")])
        .await
        .expect("a refused transaction does not spoil the next");
    let found = read(&log, &from, 91).await;
    assert_eq!(found.len(), 91);
    assert!(found.iter().all(|record| record.value != "refused"));
}

/// A second holder of a name ends the first, whose records never show.
pub async fn a_fenced_writer_writes_nothing(open: &Opener) {
    let log = open().await;
    let from = ends(&log, &[Topic::FlowProgress]).await;
    let name = fresh("fenced");
    let mut zombie = log.transactor(&name).await.expect("the first holder");
    let one = |value: &str| vec![record(Topic::FlowProgress, "p", value)];
    zombie.transact(one("before")).await.expect("the first holder writes");
    let mut heir = log.transactor(&name).await.expect("the second holder");
    heir.transact(one("heir")).await.expect("the second holder writes");
    for _ in 0..2 {
        let refused = zombie.transact(one("zombie")).await;
        assert!(matches!(refused, Err(LogError::Fenced(_))), "a zombie is fenced: {refused:?}");
    }
    heir.transact(one("heir again")).await.expect("the second holder goes on");
    let mut other = log.transactor(&fresh("other")).await.expect("another name");
    other.transact(one("other")).await.expect("another name is not fenced");
    let found = read(&log, &from, 4).await;
    let values: Vec<&[u8]> = found.iter().map(|record| &record.value[..]).collect();
    assert_eq!(values, [&b"before"[..], b"heir", b"heir again", b"other"]);
}

/// Nothing to write is written at once.
pub async fn empty_calls_are_no_failure(open: &Opener) {
    let log = open().await;
    let appended = log.append(Vec::new()).await.expect("an empty append");
    assert!(appended.offsets.is_empty());
    let mut transactor = log.transactor(&fresh("empty")).await.expect("a transactor");
    transactor.transact(Vec::new()).await.expect("an empty transaction");
    let mut reader = log.reader(&[]).expect("a reader of nothing");
    let polled = tokio::task::spawn_blocking(move || {
        let polled = reader.poll(1000, Duration::from_millis(10));
        (polled, reader.positions())
    });
    let (polled, positions) = polled.await.expect("the reading thread");
    assert!(polled.expect("a poll").is_empty());
    assert!(positions.is_empty());
}

/// One MiB goes through; more than the limit is refused clearly and writes nothing.
pub async fn a_large_record_passes_and_a_larger_one_is_refused(open: &Opener) {
    let log = open().await;
    let from = ends(&log, &[Topic::DeadLetter]).await;
    // Bytes that do not compress.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let value: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(1 << 20)
    .collect();
    let large = |value: Vec<u8>| NewRecord {
        value: Bytes::from(value),
        ..record(Topic::DeadLetter, "large", "")
    };
    let too_large = log.append(vec![
        record(Topic::DeadLetter, "beside", "x"),
        large(vec![1; RECORD_BYTES_MAX + 1]),
    ]);
    match too_large.await {
        Err(LogError::Broken(what)) => assert!(what.contains("at most"), "{what}"),
        other => panic!("a record over the limit is refused: {other:?}"),
    }
    log.append(vec![large(value.clone()), large(vec![2; RECORD_BYTES_MAX - 100])])
        .await
        .expect("records within the limit");
    let found = read(&log, &from, 2).await;
    assert_eq!(found.len(), 2);
    assert!(found[0].value == value, "the bytes of a large record");
    assert_eq!(found[1].value.len(), RECORD_BYTES_MAX - 100);
}

/// Past the end and a partition that does not exist are errors, at once or on the first poll.
pub async fn a_place_that_is_not_there_is_refused(open: &Opener) {
    let log = open().await;
    let end = log.heads(Topic::DeadLetter).await.expect("heads")[0].end;
    let place = |partition, offset| [Position { topic: Topic::DeadLetter, partition, offset }];
    assert!(log.reader(&place(1, 0)).is_err(), "there is one partition");
    let Ok(mut reader) = log.reader(&place(0, end + 1000)) else { return };
    let polled = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        while started.elapsed() < READ_WAIT_MAX {
            let found = reader.poll(1000, Duration::from_millis(100))?;
            assert!(found.is_empty());
        }
        Ok(())
    });
    let refused: Result<(), LogError> = polled.await.expect("the reading thread");
    assert!(matches!(refused, Err(LogError::Broken(_))), "past the end: {refused:?}");
}

/// Forty appenders and two transactors at once: every record is there once, in order per key.
pub async fn many_at_once_lose_nothing(open: &Opener) {
    const APPENDERS: usize = 40;
    const ROUNDS: usize = 25;
    let log = open().await;
    let topics = [Topic::GpsFixes, Topic::Orders];
    let from = ends(&log, &topics).await;
    let run = fresh("many");
    let appenders = (0..APPENDERS).map(|appender| {
        let (log, run) = (Arc::clone(&log), run.clone());
        tokio::spawn(async move {
            let key = format!("{run}-{appender}");
            let topic = topics[appender % 2];
            for round in 0..ROUNDS {
                let value = format!("{round:04}");
                log.append(vec![record(topic, &key, &value)]).await.expect("an append");
            }
        })
    });
    let transactors = (0..2).map(|transactor| {
        let (log, run) = (Arc::clone(&log), run.clone());
        tokio::spawn(async move {
            let key = format!("{run}-t{transactor}");
            let mut writer = log.transactor(&key).await.expect("a transactor");
            for round in 0..ROUNDS {
                let value = format!("{round:04}");
                let records = topics.iter().map(|topic| record(*topic, &key, &value)).collect();
                writer.transact(records).await.expect("a transaction");
            }
        })
    });
    let tasks: Vec<_> = appenders.chain(transactors).collect();
    for task in join_all(tasks).await {
        task.expect("a task");
    }
    let expected = (APPENDERS + 4) * ROUNDS;
    let found = read(&log, &from, expected).await;
    assert_eq!(found.len(), expected, "nothing lost, nothing doubled");
    let mut by_key: BTreeMap<(Topic, Bytes), Vec<Bytes>> = BTreeMap::new();
    for record in found {
        by_key.entry((record.topic, record.key)).or_default().push(record.value);
    }
    assert_eq!(by_key.len(), APPENDERS + 4);
    for ((_, key), values) in by_key {
        assert_eq!(values.len(), ROUNDS, "{key:?}");
        assert!(values.is_sorted(), "{key:?}");
    }
}

/// A log that is closed and opened again goes on where it was.
pub async fn what_was_appended_is_there_after_reopening(open: &Opener) {
    let log = open().await;
    let from = ends(&log, &[Topic::Orders]).await;
    let key = fresh("reopen");
    let name = fresh("reopen");
    log.append(vec![record(Topic::Orders, &key, "1")]).await.expect("an append");
    let mut transactor = log.transactor(&name).await.expect("a transactor");
    transactor.transact(vec![record(Topic::Orders, &key, "2")]).await.expect("a transaction");
    drop(transactor);
    drop(log);
    let log = open().await;
    log.append(vec![record(Topic::Orders, &key, "3")]).await.expect("an append");
    let mut transactor = log.transactor(&name).await.expect("the same name again");
    transactor.transact(vec![record(Topic::Orders, &key, "4")]).await.expect("a transaction");
    let found = read(&log, &from, 4).await;
    assert_eq!(values_of(&found, &key), ["1", "2", "3", "4"]);
    let heads = log.heads(Topic::Orders).await.expect("heads");
    let last = &found[3];
    assert!(heads[last.partition as usize].end > last.offset);
}
