//! The archive on the embedded log and the store on disk, as one machine runs them.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use common::*;
use inzira_archive::repeats::KnownRows;
use inzira_archive::{Bound, Table, committed};
use inzira_event_log::{Access, EventLog, NewRecord, Position};

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_log_reaches_the_disk_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let store = inzira_store::open("file:", folder.path()).await.unwrap();
    let mut expected = Vec::new();
    for round in 0..3_i64 {
        let log = inzira_event_log::open("file:", folder.path(), Access::ReadWrite).await.unwrap();
        let archive = run_on(quick(), log.clone(), &store);
        for second in 0..5 {
            let start = round * 1_000 + second * 200;
            let fixes: Vec<_> =
                (start..start + 200).map(|at| fix("a", at, Some(at.unsigned_abs()))).collect();
            expected.extend(fixes.iter().map(|fix| id_of(fix.envelope.as_ref())));
            // Sent twice, as a phone does whose answer was lost.
            log.append(fixes.iter().map(NewRecord::of).collect()).await.unwrap();
            log.append(fixes.iter().take(20).map(NewRecord::of).collect()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        archive.finish().await;
        drop(log);
    }
    // What the last stop left in the log comes with the next start.
    let log = inzira_event_log::open("file:", folder.path(), Access::ReadWrite).await.unwrap();
    let archive = run_on(quick(), log.clone(), &store);
    let started = std::time::Instant::now();
    while committed(&store, Table::Fixes).await.unwrap().unwrap().rows() < 3_000 {
        assert!(started.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    archive.finish().await;
    expected.sort();
    assert_eq!(ids(&store, "fixes").await, expected);
    assert!(inzira_archive::verify(&store).await.unwrap().is_whole());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_after_the_committed_offsets_completes_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let store = disk(folder.path()).await;
    let log = MemoryLog::default();
    let old: Vec<_> = (0..100).map(|at| fix("a", at, Some(at.unsigned_abs()))).collect();
    log.append(old.iter().map(NewRecord::of).collect()).await.unwrap();
    let archive = run(quick(), &log, &store);
    archive.until(|health| rows(health, Table::Fixes) == 100).await;
    archive.finish().await;
    // Ten sent again, ten new, one of them twice.
    let new: Vec<_> = (100..110).map(|at| fix("a", at, Some(at.unsigned_abs()))).collect();
    for fixes in [&old[90..], &new[..], &new[..1]] {
        log.append(fixes.iter().map(NewRecord::of).collect()).await.unwrap();
    }
    let state = committed(&store, Table::Fixes).await.unwrap().unwrap();
    let from: Vec<Position> = state
        .offsets
        .iter()
        .map(|((topic, partition), offset)| Position {
            topic: *topic,
            partition: *partition,
            offset: *offset,
        })
        .collect();
    let tail = log.reader(&from).unwrap().poll(1 << 20, Duration::ZERO).unwrap();
    let (batch, undecodable) = Table::Fixes.decode(&tail);
    assert!(undecodable.is_empty());
    let mut known = KnownRows::new(&store, Table::Fixes, 1 << 20).unwrap();
    let is_new = known.is_new(&state, &batch).await.unwrap();
    assert_eq!(is_new.iter().filter(|new| **new).count(), 10);
    assert_eq!(known.is_new(&state, &batch).await.unwrap(), is_new);
    let measured = batch.column_by_name("measured_at").unwrap();
    let measured = measured.as_primitive::<TimestampMicrosecondType>();
    let newest = state.files.values().filter_map(|file| {
        file.stats.columns.get("measured_at").and_then(|stats| stats.max.clone())
    });
    let Some(Bound::Int(newest)) = newest.max_by(|a, b| a.partial_cmp(b).unwrap()) else {
        panic!("no statistics");
    };
    for (row, is_new) in is_new.iter().enumerate() {
        assert_eq!(*is_new && measured.value(row) > newest, *is_new);
    }
}
