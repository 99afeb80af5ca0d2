//! The embedded log under faults: damage, torn tails, a full disk, a failing fsync, kill -9, and a
//! system-call trace of the promise that no answer precedes its fsync.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "support/machine.rs"]
mod machine;
#[path = "support/records.rs"]
mod records;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use inzira_event_log::{EventLog, LogError, OpenError, Position, contract};
use inzira_schemas::Topic;
use machine::{
    Mount, child, crash_image, flip, missing_root, missing_strace, open_at, places_of, sh, skipped,
};
use records::{all_numbers, marked};

async fn append(log: &Arc<dyn EventLog>, number: usize) -> Result<(), LogError> {
    log.append(vec![marked(number)]).await.map(|_| ())
}

fn damage(opened: Result<Arc<dyn EventLog>, OpenError>) -> (u64, u64, String) {
    match opened.err() {
        Some(OpenError::Log(LogError::Damaged { topic, partition, first, last, what })) => {
            assert_eq!((topic, partition), (Topic::FlowProgress, 0));
            (first, last, what)
        }
        other => panic!("damage is named: {other:?}"),
    }
}

#[tokio::test]
async fn a_flipped_byte_in_a_batch_is_refused_at_open_with_its_offsets() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_at(folder.path()).await.unwrap();
    for number in 0..40 {
        append(&log, number).await.unwrap();
    }
    drop(log);
    let file = folder.path().join("log.db");
    let places = places_of(&file, b"<record 000017>");
    // Pages that were split leave copies behind; one of the places is the live one.
    places.iter().for_each(|place| flip(&file, place + 40));
    let (first, last, what) = damage(open_at(folder.path()).await);
    assert_eq!((first, last), (17, 17), "{what}");
    places.iter().for_each(|place| flip(&file, place + 40));
    assert_eq!(all_numbers(&open_at(folder.path()).await.unwrap()).await.len(), 40);
}

/// Damage far back is not looked for at open, but nobody reads past it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_stops_in_front_of_damage_far_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_at(folder.path()).await.unwrap();
    for number in 0..1400 {
        append(&log, number).await.unwrap();
    }
    drop(log);
    let file = folder.path().join("log.db");
    let places = places_of(&file, b"<record 000042>");
    places.iter().for_each(|place| flip(&file, place + 30));
    let log = open_at(folder.path()).await.expect("an opening walk looks at the newest part");
    let from = [Position { topic: Topic::FlowProgress, partition: 0, offset: 0 }];
    let mut reader = log.reader(&from).unwrap();
    tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        let error = loop {
            match reader.poll(4 << 20, Duration::from_millis(100)) {
                Ok(records) => found.extend(records),
                Err(error) => break error,
            }
        };
        assert_eq!(found.len(), 42);
        let named = matches!(error, LogError::Damaged { first: 42, last: 42, partition: 0, .. });
        assert!(named, "{error}");
        assert_eq!(reader.poll(4 << 20, Duration::ZERO).unwrap_err(), error, "it stays so");
        assert_eq!(reader.positions()[0].offset, 42);
    })
    .await
    .unwrap();
    // Others still read what is whole.
    let behind = [Position { offset: 43, ..from[0] }];
    assert_eq!(contract::read(&log, &behind, 1357).await.len(), 1357);
}

#[tokio::test]
async fn a_flipped_frame_with_later_commits_behind_it_is_refused_with_the_offsets_lost() {
    let folder = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let log = open_at(folder.path()).await.unwrap();
    for number in 0..30 {
        append(&log, number).await.unwrap();
    }
    crash_image(folder.path(), image.path());
    drop(log);
    let wal = image.path().join("log.db-wal");
    let places = places_of(&wal, b"<record 000011>");
    flip(&wal, *places.first().unwrap());
    let before = std::fs::read(&wal).unwrap();
    let (first, last, what) = damage(open_at(image.path()).await);
    assert_eq!((first, last), (11, 29), "{what}");
    assert!(what.contains("at byte"), "{what}");
    assert!(std::fs::read(&wal).unwrap() == before, "refusing changes nothing");
    // Without the note of what was acknowledged it is still refused, by byte.
    std::fs::remove_file(image.path().join("log.acked")).unwrap();
    match open_at(image.path()).await.err() {
        Some(OpenError::Log(LogError::Broken(what))) => assert!(what.contains("at byte"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_torn_tail_that_no_answer_covered_is_dropped_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_at(folder.path()).await.unwrap();
    for number in 0..10 {
        append(&log, number).await.unwrap();
    }
    let acked = std::fs::read(folder.path().join("log.acked")).unwrap();
    let whole = std::fs::metadata(folder.path().join("log.db-wal")).unwrap().len();
    append(&log, 10).await.unwrap();
    let end = std::fs::metadata(folder.path().join("log.db-wal")).unwrap().len();
    assert!(end > whole);
    // As if the crash had come in the middle of the last commit, before its answer.
    for cut in [whole + 1, whole + 24, (whole + end) / 2, end - 1] {
        let image = tempfile::tempdir().unwrap();
        crash_image(folder.path(), image.path());
        std::fs::write(image.path().join("log.acked"), &acked).unwrap();
        let wal = image.path().join("log.db-wal");
        let file = std::fs::OpenOptions::new().write(true).open(&wal).unwrap();
        file.set_len(cut).unwrap();
        let log = open_at(image.path()).await.unwrap();
        assert_eq!(all_numbers(&log).await, (0..10).collect::<Vec<_>>());
        append(&log, 11).await.unwrap();
        drop(log);
        let log = open_at(image.path()).await.unwrap();
        assert_eq!(all_numbers(&log).await.last(), Some(&11));
    }
    // The same tail, when it was answered, is a loss and is named.
    let image = tempfile::tempdir().unwrap();
    crash_image(folder.path(), image.path());
    let wal = image.path().join("log.db-wal");
    let file = std::fs::OpenOptions::new().write(true).open(&wal).unwrap();
    file.set_len(end - 1).unwrap();
    let (first, last, _) = damage(open_at(image.path()).await);
    assert_eq!((first, last), (10, 10));
}

#[tokio::test]
async fn a_write_ahead_log_that_went_missing_is_a_loss_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let log = open_at(folder.path()).await.unwrap();
    for number in 0..5 {
        append(&log, number).await.unwrap();
    }
    crash_image(folder.path(), image.path());
    std::fs::remove_file(image.path().join("log.db-wal")).unwrap();
    let (first, last, _) = damage(open_at(image.path()).await);
    assert_eq!((first, last), (0, 4));
}

#[tokio::test]
async fn a_full_disk_refuses_and_works_again_when_there_is_room() {
    if skipped(missing_root()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::tmpfs(folder.path(), "12m");
    let ballast = folder.path().join("ballast");
    std::fs::write(&ballast, vec![1u8; 5 << 20]).unwrap();
    let at = folder.path().join("log");
    let log = open_at(&at).await.unwrap();
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for number in 0..40_000 {
        match append(&log, number).await {
            Ok(()) => acknowledged.push(number),
            Err(LogError::Full) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        if refused == 20 {
            break;
        }
    }
    assert_eq!(refused, 20, "the disk becomes full");
    assert!(acknowledged.len() > 100);
    std::fs::remove_file(&ballast).unwrap();
    for number in 50_000..50_100 {
        append(&log, number).await.unwrap();
        acknowledged.push(number);
    }
    assert_eq!(all_numbers(&log).await, acknowledged, "refused records are nowhere");
    drop(log);
    let log = open_at(&at).await.unwrap();
    assert_eq!(all_numbers(&log).await, acknowledged);
    drop(log);
    drop(mount);
}

/// A file system on a sparse image on a smaller tmpfs: writes go into the page cache and succeed,
/// then fsync finds no room below and fails.
#[tokio::test]
async fn after_a_failed_fsync_nothing_is_acknowledged_and_what_was_is_there() {
    if skipped(missing_root()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let below = Mount::tmpfs(&folder.path().join("below"), "24m");
    let image = folder.path().join("below/image");
    std::fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
    assert!(sh("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]));
    let above = folder.path().join("above");
    let mount = Mount::image(&image, &above);
    let log = open_at(&above.join("log")).await.unwrap();
    let mut acknowledged = Vec::new();
    let mut failure = None;
    for number in 0..20_000 {
        let records = (0..40).map(|step| marked(number * 40 + step)).collect();
        match log.append(records).await {
            Ok(_) => acknowledged.push(number),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let failure = failure.expect("the disk below becomes full");
    println!("after {} commits: {failure}", acknowledged.len());
    assert!(matches!(failure, LogError::Poisoned(_)), "{failure:?}");
    assert!(acknowledged.len() > 10);
    for number in 0..50 {
        let refused = append(&log, 900_000 + number).await;
        assert!(matches!(refused, Err(LogError::Poisoned(_))), "{refused:?}");
    }
    assert!(matches!(log.transactor("x").await.err(), Some(LogError::Poisoned(_))));
    drop(log);
    drop(mount);
    // Room below again, and the page cache forgotten: what survives is what was written.
    assert!(sh(
        "mount",
        &["-o", "remount,size=256m", folder.path().join("below").to_str().unwrap()]
    ));
    let mount = Mount::image(&image, &above);
    match open_at(&above.join("log")).await {
        Ok(log) => {
            let found = all_numbers(&log).await;
            // This disk itself forgets the last block that it said was synced before it failed (a
            // plain write and fsync show the same), so the last commit may be gone; no other.
            let sure: Vec<usize> = (0..(acknowledged.len() - 1) * 40).collect();
            assert!(found.starts_with(&sure), "{} of {}", found.len(), sure.len());
            append(&log, 999_999).await.unwrap();
        }
        Err(OpenError::Log(LogError::Damaged { first, last, what, .. })) => {
            println!("damage is reported: {first}..={last} {what}");
        }
        Err(other) => panic!("{other}"),
    }
    drop(mount);
    drop(below);
}

/// The child of the tests below: appends for ever and writes a line for each answer.
#[test]
fn child_appender() {
    let Ok(folder) = std::env::var("INZIRA_LOG_CHILD") else { return };
    let count: usize =
        std::env::var("INZIRA_LOG_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let tasks: usize = if count > 0 { 1 } else { 8 };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let log = open_at(Path::new(&folder)).await.unwrap();
        let next = Arc::new(AtomicUsize::new(
            usize::try_from(log.heads(Topic::FlowProgress).await.unwrap()[0].end).unwrap() + 1000,
        ));
        let tasks: Vec<_> = (0..tasks)
            .map(|task| {
                let (log, next) = (Arc::clone(&log), Arc::clone(&next));
                tokio::spawn(async move {
                    let mut transactor = log.transactor(&format!("t{task}")).await.unwrap();
                    for step in 0.. {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        let mut records = vec![marked(number)];
                        if task % 2 == 0 {
                            append(&log, number).await.unwrap();
                        } else {
                            records.push(contract::record(Topic::Orders, "k", "v"));
                            transactor.transact(records).await.unwrap();
                        }
                        let line = format!("ack {number}\n");
                        let mut out = std::io::stdout().lock();
                        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
                            return;
                        }
                        if step + 1 == count {
                            return;
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[tokio::test]
async fn kill_nine_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for cycle in 0u64..8 {
        let mut child = child(folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let ledger = std::thread::spawn(move || {
            let mut numbers = Vec::new();
            for line in BufReader::new(out).split(b'\n') {
                let Ok(line) = line else { break };
                let text = String::from_utf8_lossy(&line).into_owned();
                let number = text.rsplit_once("ack ").and_then(|(_, text)| text.parse().ok());
                numbers.extend::<Option<usize>>(number);
            }
            numbers
        });
        tokio::time::sleep(Duration::from_millis(700 + cycle * 37)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(ledger.join().unwrap());
        let log = open_at(folder.path()).await.unwrap();
        let mut found = all_numbers(&log).await;
        found.sort_unstable();
        let before = found.len();
        found.dedup();
        assert_eq!(found.len(), before, "nothing doubled");
        for number in &acknowledged {
            assert!(found.binary_search(number).is_ok(), "{number} was answered and is lost");
        }
    }
    assert!(acknowledged.len() > 200, "only {} were answered", acknowledged.len());
    println!("{} answered over 8 kills, none lost", acknowledged.len());
}

/// One appender, one record at a time, under strace: between the last write to the write-ahead log
/// and the line that says `ack` there is a finished sync of that file.
#[test]
fn no_answer_precedes_the_fsync_that_covers_it() {
    if skipped(missing_strace()) {
        return;
    }
    const COUNT: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let log = folder.path().join("log");
    let child = child(&log);
    let status = std::process::Command::new("strace")
        .args(["-f", "-y", "-s", "64", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o"])
        .arg(&trace)
        .arg(child.get_program())
        .args(child.get_args())
        .env("INZIRA_LOG_CHILD", &log)
        .env("INZIRA_LOG_COUNT", COUNT.to_string())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let text = std::fs::read_to_string(&trace).unwrap();
    let mut answers = 0;
    let mut unsynced_writes = 0;
    let mut writes = 0;
    let mut syncing: Vec<String> = Vec::new();
    for line in text.lines() {
        let thread = line.split_whitespace().next().unwrap_or_default().to_owned();
        let of_wal = line.contains("log.db-wal>");
        let is_sync = line.contains("sync(") || line.contains("sync resumed");
        if line.contains("pwrite64(") && of_wal {
            writes += 1;
            unsynced_writes += 1;
        } else if is_sync && of_wal && line.contains("<unfinished") {
            syncing.push(thread);
        } else if is_sync && line.ends_with("= 0") {
            let resumed = syncing.iter().position(|one| *one == thread);
            if of_wal || resumed.is_some() {
                unsynced_writes = 0;
            }
            if let Some(at) = resumed {
                syncing.remove(at);
            }
        } else if line.contains("write(1") && line.contains("ack ") {
            assert_eq!(unsynced_writes, 0, "answered before the sync: {line}");
            answers += 1;
        }
    }
    assert_eq!(answers, COUNT);
    assert!(writes >= COUNT, "the trace sees the writes");
}
