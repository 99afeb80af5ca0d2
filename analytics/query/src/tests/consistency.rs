//! Files and tail together: every accepted row once, whatever is committed when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inzira_archive::Table;
use inzira_event_log::NewRecord;
use inzira_schemas::{Clock, Micros, SystemClock, Topic};

use crate::questions::{Mode, QueryConfig};
use crate::testing::{HandArchive, SharedLog, at, config, fix, number, order, questions};

const COUNT: &str = "SELECT count(*) FROM fixes";
const DISTINCT: &str = "SELECT count(DISTINCT event_id) FROM fixes";

fn once() -> QueryConfig {
    QueryConfig { mode: Mode::Once, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_the_log_alone_in_files_alone_and_in_both_are_all_seen_once() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    let ask = questions(&log, &archive, once()).await;
    assert_eq!(number(&ask, COUNT).await, 0);
    for n in 0..100 {
        log.0.say(&fix(&format!("{}", n % 7), Some(n), at(n as i64)));
    }
    assert_eq!(number(&ask, COUNT).await, 100);
    archive.commit(Table::Fixes, 5).await;
    assert_eq!(number(&ask, COUNT).await, 100);
    archive.commit(Table::Fixes, usize::MAX).await;
    assert_eq!((number(&ask, COUNT).await, number(&ask, DISTINCT).await), (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_not_seen_within_the_tail_nor_against_committed_rows() {
    for config in [once(), config()] {
        let log = SharedLog::default();
        let archive = HandArchive::new(&log);
        log.0.say(&fix("a", Some(1), at(0)));
        log.0.say(&fix("a", Some(2), at(1)));
        log.0.say(&fix("b", None, at(0)));
        archive.commit(Table::Fixes, usize::MAX).await;
        // The same device, time and place, in the other topic.
        log.0.put(NewRecord::on(Topic::GpsBacklog, &fix("b", None, at(0))));
        // The same device and sequence with a time of its own.
        log.0.say(&fix("a", Some(2), at(30)));
        // The same sequence on another day is another fix, as the archive has it.
        log.0.say(&fix("a", Some(2), at(86_400)));
        log.0.say(&fix("c", Some(9), at(2)));
        log.0.say(&fix("c", Some(9), at(2)));
        let ask = questions(&log, &archive, config).await;
        assert_eq!(number(&ask, COUNT).await, 5);
        archive.commit(Table::Fixes, usize::MAX).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(number(&ask, COUNT).await, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn young_repeats_are_known_from_memory() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    let ask = questions(&log, &archive, config()).await;
    let young = SystemClock.now().plus_secs(3_600);
    for _ in 0..3 {
        log.0.say(&fix("a", Some(1), young));
        log.0.say(&fix("a", Some(2), young.plus_secs(1)));
    }
    ask.caught_up(SystemClock.now()).await;
    assert_eq!(number(&ask, COUNT).await, 2);
    archive.commit(Table::Fixes, usize::MAX).await;
    log.0.say(&fix("a", Some(2), young.plus_secs(1)));
    log.0.say(&fix("a", Some(3), young.plus_secs(2)));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(number(&ask, COUNT).await, 3);
}

/// The archive commits and the log grows while questions run: no answer is ever short of what
/// was acknowledged before it was asked, and none holds a row twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_in_the_middle_neither_doubles_nor_loses() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    let ask = questions(&log, &archive, config()).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let committing = tokio::spawn({
        let (archive, stop) = (Arc::clone(&archive), Arc::clone(&stop));
        async move {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                archive.commit(Table::Fixes, 7).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let mut said = 0_u64;
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        for _ in 0..20 {
            log.0.say(&fix(&format!("{}", said % 13), Some(said), at(said as i64 % 5_000)));
            said += 1;
        }
        ask.caught_up(SystemClock.now()).await;
        let expected = i64::try_from(said).unwrap();
        assert_eq!(number(&ask, COUNT).await, expected);
        assert_eq!(number(&ask, DISTINCT).await, expected);
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    committing.await.unwrap();
    assert!(said > 200, "only {said} rows were said");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_seen_within_two_seconds_and_the_answer_says_how_new_it_is() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    let ask = questions(&log, &archive, config()).await;
    let mut slowest = Duration::ZERO;
    for n in 1..20 {
        log.0.say(&fix("a", Some(n), at(n as i64)));
        let said = Instant::now();
        while number(&ask, COUNT).await < n as i64 {
            assert!(said.elapsed() < Duration::from_secs(2), "not seen after 2 s");
        }
        slowest = slowest.max(said.elapsed());
    }
    println!("fresh_max_ms={:.1}", slowest.as_secs_f64() * 1e3);
    let before = SystemClock.now();
    ask.caught_up(before).await;
    let answer = ask.sql(COUNT, crate::Limits::default()).await.unwrap();
    assert!(answer.data_as_of >= before);
    assert!(answer.data_as_of > Micros(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_tail_pauses_reading_and_says_how_old_the_answer_is() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    let small = QueryConfig {
        tail_bytes_max: 20_000,
        catch_up_max: Duration::from_millis(300),
        ..config()
    };
    for n in 0..2_000 {
        log.0.say(&order(&format!("ord_{n}"), "confirmed", at(n)));
    }
    let ask = questions(&log, &archive, small).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    for n in 2_000..2_010 {
        log.0.say(&order(&format!("ord_{n}"), "confirmed", at(n)));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ask.health().data_as_of, Micros(0), "it never caught up, so it cannot say so");
    archive.commit(Table::OrderEvents, usize::MAX).await;
    ask.caught_up(SystemClock.now()).await;
    assert_eq!(number(&ask, "SELECT count(*) FROM order_events").await, 2_010);
    let tiny = QueryConfig { tail_bytes_max: 1_000, ..once() };
    let other = HandArchive::new(&log);
    let ask = questions(&log, &other, tiny).await;
    let error = ask.sql("SELECT * FROM orders", crate::Limits::default()).await.unwrap_err();
    assert!(error.to_string().contains("is the archive running"), "{error}");
}
