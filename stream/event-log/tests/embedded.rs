//! What only the embedded log has: retention, a bounded write-ahead log, readers in one process
//! near the end and far back, a whole check.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "support/records.rs"]
mod records;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use inzira_event_log::embedded::EmbeddedLog;
use inzira_event_log::{Access, EventLog, LogError, NewRecord, Position, contract};
use inzira_schemas::{Clock, HandClock, Micros, Topic};
use records::{all_numbers, marked};

async fn opened(folder: &std::path::Path, clock: &Arc<HandClock>) -> Arc<EmbeddedLog> {
    let clock: Arc<dyn Clock> = Arc::<HandClock>::clone(clock);
    Arc::new(EmbeddedLog::open(folder, Access::ReadWrite, clock).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_takes_what_is_old_and_readers_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::at(Micros::from_secs(1_750_000_000)));
    let log = opened(folder.path(), &clock).await;
    for number in 0..600 {
        log.append(vec![marked(number)]).await.unwrap();
    }
    let place = |offset| [Position { topic: Topic::FlowProgress, partition: 0, offset }];
    let mut slow = log.reader(&place(0)).unwrap();
    clock.advance_secs(3600);
    let before = clock.now();
    // The first round only marks where the old ones end.
    assert_eq!(log.trim(Topic::FlowProgress, before).await.unwrap(), 512);
    for number in 600..610 {
        log.append(vec![marked(number)]).await.unwrap();
    }
    clock.advance_secs(3600);
    assert_eq!(log.trim(Topic::FlowProgress, before.plus_secs(60)).await.unwrap(), 88);
    let head = log.heads(Topic::FlowProgress).await.unwrap()[0];
    assert_eq!((head.start, head.end), (600, 610));

    let early = log.reader(&place(5)).err();
    assert!(matches!(early, Some(LogError::Gone { start: 600, asked: 5, .. })), "{early:?}");
    let polled = tokio::task::spawn_blocking(move || slow.poll(1 << 20, Duration::ZERO));
    let gone = polled.await.unwrap();
    assert!(matches!(gone, Err(LogError::Gone { start: 600, asked: 0, .. })), "{gone:?}");

    let seen: Arc<dyn EventLog> = Arc::<EmbeddedLog>::clone(&log);
    assert_eq!(all_numbers(&seen).await, (600..610).collect::<Vec<_>>());
    drop(seen);
    drop(log);
    let log = opened(folder.path(), &clock).await;
    assert_eq!(log.heads(Topic::FlowProgress).await.unwrap()[0], head, "also after reopening");
    // Everything gone: offsets still go on from where they were.
    clock.advance_secs(3600);
    log.trim(Topic::FlowProgress, clock.now()).await.unwrap();
    clock.advance_secs(1);
    log.trim(Topic::FlowProgress, clock.now()).await.unwrap();
    drop(log);
    let log = opened(folder.path(), &clock).await;
    let appended = log.append(vec![marked(610)]).await.unwrap();
    assert_eq!(appended.offsets, [(0, 610)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_write_ahead_log_stays_short_while_readers_read() {
    const ROUNDS: usize = 150;
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::at(Micros::from_secs(1_750_000_000)));
    let log = opened(folder.path(), &clock).await;
    let seen: Arc<dyn EventLog> = Arc::<EmbeddedLog>::clone(&log);
    let from = contract::ends(&seen, &[Topic::GpsFixes]).await;
    let mut reader = log.reader(&from).unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = 0;
        while bytes < ROUNDS << 20 {
            let found = reader.poll(1 << 20, Duration::from_secs(10)).unwrap();
            assert!(!found.is_empty(), "read {bytes} bytes");
            bytes += found.iter().map(|record| record.value.len()).sum::<usize>();
        }
        bytes
    });
    let mut longest = 0;
    for _ in 0..ROUNDS {
        let records: Vec<NewRecord> = (0..16)
            .map(|key| NewRecord {
                value: Bytes::from(vec![7; 64 << 10]),
                ..contract::record(Topic::GpsFixes, &format!("k{key}"), "")
            })
            .collect();
        log.append(records).await.unwrap();
        let wal = std::fs::metadata(folder.path().join("log.db-wal")).unwrap().len();
        longest = longest.max(wal);
    }
    assert_eq!(reading.await.unwrap(), ROUNDS << 20);
    println!("longest write-ahead log: {} MiB of {ROUNDS} MiB", longest >> 20);
    assert!(longest < 110 << 20, "{longest}");
    let checked = log.check().await.unwrap();
    assert_eq!(checked.records, (ROUNDS * 16) as u64);
    // Far back again, from the file: the newest 64 MiB alone are in memory.
    assert_eq!(contract::read(&seen, &from, ROUNDS * 16).await.len(), ROUNDS * 16);
}

#[tokio::test]
async fn an_append_that_nobody_waits_for_is_written_and_a_closed_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::at(Micros::from_secs(1_750_000_000)));
    let log = opened(folder.path(), &clock).await;
    let mut transactor = log.transactor("t").await.unwrap();
    {
        let append = log.append(vec![marked(0)]);
        tokio::select! {
            biased;
            _ = append => panic!("a commit takes longer than this"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(log);
    let closed = transactor.transact(vec![marked(1)]).await;
    assert!(matches!(closed, Err(LogError::Broken(_))), "{closed:?}");
    let log = opened(folder.path(), &clock).await;
    let seen: Arc<dyn EventLog> = log;
    assert_eq!(all_numbers(&seen).await, [0]);
}
