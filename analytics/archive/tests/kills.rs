//! A process that ends at the worst moments: the next one goes on as if nothing had happened.
//!
//! One test, because failpoints belong to the whole process.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use inzira_archive::Table;
use inzira_event_log::{EventLog, NewRecord};

#[tokio::test(flavor = "multi_thread")]
async fn a_death_between_any_two_steps_neither_loses_nor_doubles() {
    let folder = tempfile::tempdir().unwrap();
    let store = disk(folder.path()).await;
    let log = MemoryLog::default();
    let mut expected = Vec::new();
    let points = [
        "archive::after_parquet_before_commit",
        "archive::after_commit",
        "archive::after_merge_before_commit",
    ];
    for (round, point) in points.into_iter().cycle().take(9).enumerate() {
        let start = i64::try_from(round).unwrap() * 100;
        let fixes: Vec<_> = (start..start + 100).map(|second| fix("a", second, None)).collect();
        expected.extend(fixes.iter().map(|fix| id_of(fix.envelope.as_ref())));
        log.append(fixes.iter().map(NewRecord::of).collect()).await.unwrap();
        let mut config = quick();
        config.tables = vec![Table::Fixes];
        config.merge_files = 2;
        fail::cfg(point, "panic").unwrap();
        let archive = run(config.clone(), &log, &store);
        let died = archive.handle.join().await;
        fail::remove(point);
        assert!(died.is_err(), "{point} was not reached");
    }
    let archive = run(quick(), &log, &store);
    archive.until(|health| health.is_ready() && health.lag_records() == 0).await;
    archive.finish().await;
    expected.sort();
    assert_eq!(ids(&store, "fixes").await, expected);
    assert!(inzira_archive::verify(&store).await.unwrap().is_whole());
}
