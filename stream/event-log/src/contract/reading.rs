//! The contract of readers: where they begin, what they see, how they know that they are done.

use std::time::{Duration, Instant};

use inzira_schemas::Topic;

use super::{Opener, READ_WAIT_MAX, ends, fresh, read, read_on, record, values_of};
use crate::{LogError, NewRecord, Position};

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
