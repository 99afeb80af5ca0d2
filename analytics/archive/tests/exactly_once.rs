//! What goes into the log is what the tables hold: each row once, whatever happens between.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::*;
use inzira_archive::{CommittedTable, Table, committed};
use inzira_event_log::{EventLog, NewRecord};
use inzira_schemas::{Topic, wire};
use inzira_store::Opened;

async fn put(log: &MemoryLog, fixes: &[wire::Fix]) {
    log.append(fixes.iter().map(NewRecord::of).collect()).await.unwrap();
}

fn sorted_ids(fixes: &[wire::Fix]) -> Vec<String> {
    let mut ids: Vec<String> = fixes.iter().map(|fix| id_of(fix.envelope.as_ref())).collect();
    ids.sort();
    ids
}

fn drive(driver: &str, seconds: std::ops::Range<i64>) -> Vec<wire::Fix> {
    seconds.map(|second| fix(driver, second, Some(second.unsigned_abs()))).collect()
}

/// Every test body runs on disk, and on S3 when one is there.
async fn stores() -> Vec<(Opened, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut stores = vec![(disk(folder.path()).await, Some(folder))];
    stores.extend(s3().await.map(|store| (store, None)));
    stores
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_are_rows_out_across_a_restart() {
    for (store, _folder) in stores().await {
        let log = MemoryLog::default();
        let first = drive("a", 0..500);
        put(&log, &first).await;
        let archive = run(quick(), &log, &store);
        archive.until(|health| rows(health, Table::Fixes) > 0).await;
        let second = drive("b", 0..500);
        put(&log, &second).await;
        archive.finish().await;

        let third = drive("c", 0..500);
        put(&log, &third).await;
        let archive = run(quick(), &log, &store);
        archive.until(|health| rows(health, Table::Fixes) >= 500 && health.is_ready()).await;
        archive.finish().await;

        let all = [first, second, third].concat();
        assert_eq!(ids(&store, "fixes").await, sorted_ids(&all));
        let state = committed(&store, Table::Fixes).await.unwrap().unwrap();
        assert_eq!(state.rows(), 1_500);
        assert_eq!(state.offsets.values().sum::<u64>(), 1_500);
        assert!(inzira_archive::verify(&store).await.unwrap().is_whole());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_topic_has_its_table() {
    let folder = tempfile::tempdir().unwrap();
    let store = disk(folder.path()).await;
    let log = MemoryLog::default();
    let envelope = fix("a", 0, None).envelope;
    let order = wire::OrderEvent { envelope: envelope.clone(), ..Default::default() };
    let decision = wire::FraudDecision {
        envelope: envelope.clone(),
        reasons: vec!["velocity".to_owned(), "new device".to_owned()],
        ..Default::default()
    };
    let records = vec![
        NewRecord::of(&fix("a", 0, None)),
        NewRecord::on(Topic::GpsBacklog, &fix("b", 0, None)),
        NewRecord::of(&wire::Position { envelope: envelope.clone(), ..Default::default() }),
        NewRecord::of(&wire::TrackingEvent { envelope: envelope.clone(), ..Default::default() }),
        NewRecord::of(&wire::Trip { envelope: envelope.clone(), ..Default::default() }),
        NewRecord::of(&order),
        NewRecord::of(&wire::PaymentEvent { envelope, ..Default::default() }),
        NewRecord::of(&decision),
    ];
    log.append(records).await.unwrap();
    let archive = run(quick(), &log, &store);
    archive.until(|health| health.tables.iter().all(|table| table.rows > 0)).await;
    archive.finish().await;
    for table in Table::ALL {
        let expected = if table == Table::Fixes { 2 } else { 1 };
        assert_eq!(read(&store, table.name()).await.len(), expected, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_dropped_before_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = disk(folder.path()).await;
    let log = MemoryLog::default();
    let original = drive("a", 0..50);
    put(&log, &original).await;
    put(&log, &original[10..20]).await;
    let archive = run(quick(), &log, &store);
    archive.until(|health| rows(health, Table::Fixes) == 50).await;
    archive.finish().await;

    put(&log, &original).await;
    // The same sequence number with another place is the same fix, sent again.
    let mut moved = fix("a", 7, Some(7));
    if let Some(envelope) = moved.envelope.as_mut() {
        envelope.event_id = "evt_elsewhere".to_owned();
    }
    put(&log, &[moved]).await;
    // Without a sequence number it is known by its event id alone.
    let new = fix("a", 100_000, None);
    put(&log, &[new.clone(), new.clone()]).await;
    let archive = run(quick(), &log, &store);
    archive.until(|health| rows(health, Table::Fixes) == 1).await;
    let repeats: u64 = archive.handle.health().tables.iter().map(|table| table.repeats).sum();
    assert_eq!(repeats, 50 + 1 + 1);
    archive.finish().await;
    assert_eq!(ids(&store, "fixes").await, sorted_ids(&[original, vec![new]].concat()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_archivers_at_once_lose_and_double_nothing() {
    for (store, _folder) in stores().await {
        let log = MemoryLog::default();
        let one = run(quick(), &log, &store);
        let two = run(quick(), &log, &store);
        let mut all = Vec::new();
        for round in 0..30 {
            let fixes = drive("a", round * 40..(round + 1) * 40);
            put(&log, &fixes).await;
            all.extend(fixes);
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let expected = sorted_ids(&all);
        let both = |a: &inzira_archive::Health| rows(a, Table::Fixes);
        let started = std::time::Instant::now();
        while committed(&store, Table::Fixes).await.unwrap().is_none_or(|s| s.rows() < 1_200) {
            assert!(started.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (first, second) = (one.handle.health(), two.handle.health());
        one.finish().await;
        two.finish().await;
        assert_eq!(ids(&store, "fixes").await, expected);
        assert!(both(&first) + both(&second) <= 1_200);
        let conflicts: u64 =
            first.tables.iter().chain(&second.tables).map(|table| table.conflicts).sum();
        assert!(conflicts > 0, "the two never met");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_rows_go_to_their_own_date() {
    let folder = tempfile::tempdir().unwrap();
    let store = disk(folder.path()).await;
    let log = MemoryLog::default();
    let fixes = [fix("a", 10, None), fix("a", -10, None), fix("a", -86_400 * 40, None)];
    put(&log, &fixes).await;
    let archive = run(quick(), &log, &store);
    archive.until(|health| rows(health, Table::Fixes) == 3).await;
    archive.finish().await;
    let mut dates: Vec<String> =
        read(&store, "fixes").await.into_iter().map(|row| row.event_date).collect();
    dates.sort();
    assert_eq!(dates, ["2026-01-20", "2026-02-28", "2026-03-01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_no_event_is_named_and_passed() {
    let folder = tempfile::tempdir().unwrap();
    let store = disk(folder.path()).await;
    let log = MemoryLog::default();
    let mut broken = NewRecord::of(&fix("a", 0, None));
    broken.value = vec![0xff; 40].into();
    let good = fix("a", 1, None);
    log.append(vec![broken, NewRecord::of(&good)]).await.unwrap();
    let archive = run(quick(), &log, &store);
    archive.until(|health| rows(health, Table::Fixes) == 1).await;
    let health = archive.handle.health();
    let fixes = health.tables.iter().find(|table| table.table == Table::Fixes).unwrap();
    assert_eq!(fixes.undecodable, 1);
    let named = fixes.undecodable_last.back().unwrap();
    assert_eq!((named.topic, named.offset), (Topic::GpsFixes, 0));
    archive.finish().await;
    assert_eq!(ids(&store, "fixes").await, sorted_ids(&[good]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_loses_nothing_and_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (flaky, store) = Flaky::over(&disk(folder.path()).await);
    let log = MemoryLog::default();
    let archive = run(quick(), &log, &store);
    archive.until(inzira_archive::Health::is_ready).await;
    flaky.away.store(true, Ordering::SeqCst);
    let fixes = drive("a", 0..100);
    put(&log, &fixes).await;
    archive.until(|health| !health.is_ready()).await;
    flaky.away.store(false, Ordering::SeqCst);
    archive.until(|health| health.is_ready() && rows(health, Table::Fixes) == 100).await;
    archive.finish().await;
    assert_eq!(ids(&store, "fixes").await, sorted_ids(&fixes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_not_made_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (flaky, store) = Flaky::over(&disk(folder.path()).await);
    let log = MemoryLog::default();
    let archive = run(quick(), &log, &store);
    archive.until(inzira_archive::Health::is_ready).await;
    let mut all = Vec::new();
    for round in 0..5 {
        flaky.unheard_commits.store(1, Ordering::SeqCst);
        let fixes = drive("a", round * 20..(round + 1) * 20);
        put(&log, &fixes).await;
        all.extend(fixes);
        let rows = u64::try_from(all.len()).unwrap();
        while committed(&store, Table::Fixes).await.unwrap().unwrap().rows() < rows {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    archive.finish().await;
    assert_eq!(ids(&store, "fixes").await, sorted_ids(&all));
}

#[tokio::test(flavor = "multi_thread")]
async fn merging_and_checkpoints_change_no_row() {
    for (store, _folder) in stores().await {
        let log = MemoryLog::default();
        let mut config = quick();
        config.merge_files = 4;
        config.checkpoint_every = 5;
        config.cut_age = Duration::from_millis(10);
        let archive = run(config, &log, &store);
        let mut follower = CommittedTable::new(&store, Table::Fixes).unwrap();
        let mut all = Vec::new();
        for round in 0..40 {
            let fixes = drive("a", round * 10..(round + 1) * 10);
            put(&log, &fixes).await;
            all.extend(fixes);
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(state) = follower.refresh().await.unwrap() {
                assert_eq!(state.rows(), state.offsets.values().sum::<u64>());
            }
        }
        archive.until(|health| rows(health, Table::Fixes) == 400).await;
        archive.finish().await;
        assert_eq!(ids(&store, "fixes").await, sorted_ids(&all));
        let followed = follower.refresh().await.unwrap().unwrap();
        let loaded = committed(&store, Table::Fixes).await.unwrap().unwrap();
        assert!(loaded.files.len() < 16, "{} files", loaded.files.len());
        assert_eq!(loaded.files, followed.files);
        assert_eq!(loaded.offsets, followed.offsets);
        assert!(loaded.files.values().all(|file| file.crc32c.is_some()));
        assert!(loaded.files.values().any(|file| !file.path.contains("/l0-")));
        assert!(inzira_archive::verify(&store).await.unwrap().is_whole());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_and_absence_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = disk(folder.path()).await;
    let log = MemoryLog::default();
    put(&log, &[fix("a", 0, None), fix("a", 86_400, None), fix("a", 172_800, None)]).await;
    let archive = run(quick(), &log, &store);
    archive.until(|health| rows(health, Table::Fixes) == 3).await;
    archive.finish().await;
    let state = committed(&store, Table::Fixes).await.unwrap().unwrap();
    let paths: Vec<String> = state.files.keys().cloned().collect();
    let on_disk = |path: &str| folder.path().join("tables/fixes").join(path);
    let mut bytes = std::fs::read(on_disk(&paths[0])).unwrap();
    bytes[100] ^= 1;
    std::fs::write(on_disk(&paths[0]), bytes).unwrap();
    std::fs::remove_file(on_disk(&paths[1])).unwrap();
    let report = inzira_archive::verify(&store).await.unwrap();
    let named: Vec<&str> = report.bad.iter().map(|bad| bad.path.as_str()).collect();
    assert_eq!(named, [format!("tables/fixes/{}", paths[0]), format!("tables/fixes/{}", paths[1])]);
    assert_eq!(report.rows, 1);

    std::fs::write(on_disk("_delta_log/00000000000000000001.json"), b"").unwrap();
    let report = inzira_archive::verify(&store).await.unwrap();
    assert!(report.bad[0].path.ends_with("00000000000000000001.json"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_shorter_than_the_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = disk(folder.path()).await;
    let log = MemoryLog::default();
    put(&log, &drive("a", 0..10)).await;
    let archive = run(quick(), &log, &store);
    archive.until(|health| rows(health, Table::Fixes) == 10).await;
    archive.finish().await;
    let archive = run(quick(), &MemoryLog::default(), &store);
    archive
        .until(|health| {
            health.tables.iter().any(|table| {
                table.failing.as_ref().is_some_and(|what| what.contains("do not belong together"))
            })
        })
        .await;
    archive.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_none_until_the_table_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = disk(folder.path()).await;
    let mut follower = CommittedTable::new(&store, Table::Trips).unwrap();
    assert!(follower.refresh().await.unwrap().is_none());
    let archive = run(quick(), &MemoryLog::default(), &store);
    archive.until(inzira_archive::Health::is_ready).await;
    let state = follower.refresh().await.unwrap().unwrap();
    assert_eq!((state.rows(), state.files.len()), (0, 0));
    archive.finish().await;
    assert!(Arc::ptr_eq(&state, &follower.refresh().await.unwrap().unwrap()));
}
