//! The contract of writers: order, partitions, transactions, fences, limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use inzira_schemas::{Clock, SystemClock, Topic, partition_of};

use super::{Opener, ends, fresh, read, record, values_of};
use crate::{Header, LogError, NewRecord, RECORD_BYTES_MAX, Record};

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
    SystemClock.now().0
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
