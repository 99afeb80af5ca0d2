//! How fast a log is on this machine: appends, transactions, reading.
//!
//! In:    the address of a log, as `open` takes it; nothing for an embedded one in a fresh folder.
//! Out:   one line a measurement, with the CPU seconds of this process beside it.
//!
//! ```text
//! cargo run --release -p inzira-event-log --example throughput
//! cargo run --release -p inzira-event-log --example throughput -- 'kafka://host:9092?prefix=bench-'
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use inzira_event_log::{Access, EventLog, Header, LogReader, NewRecord, Position, open};
use inzira_schemas::Topic;

const RUN: Duration = Duration::from_secs(5);
const APPENDERS: u64 = 256;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let fresh = PathBuf::from(format!("/var/tmp/inzira-throughput-{}", std::process::id()));
    let url = std::env::args().nth(1).unwrap_or_else(|| format!("file:{}", fresh.display()));
    let log = open(&url, &fresh, Access::ReadWrite).await?;
    println!("log={} durability={:?}", url.split('?').next().unwrap_or(""), log.durability());
    let from = places(&log, Topic::GpsFixes).await?;
    one_record_appends(&log).await?;
    large_appends(&log).await?;
    transactions(&log).await?;
    let reader = log.reader(&from)?;
    let wanted: u64 = places(&log, Topic::GpsFixes).await?.iter().map(|place| place.offset).sum();
    let before: u64 = from.iter().map(|place| place.offset).sum();
    tokio::task::spawn_blocking(move || read_all(reader, wanted - before)).await??;
    behind_the_writer(&log).await?;
    drop(log);
    if fresh.exists() {
        std::fs::remove_dir_all(fresh)?;
    }
    Ok(())
}

fn fix(key: u64, value_bytes: usize) -> NewRecord {
    let header = |name: &str, value: &str| Header {
        name: name.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    let mut value = vec![0u8; value_bytes];
    value.iter_mut().zip(key.to_le_bytes().iter().cycle()).for_each(|(to, from)| *to = *from);
    NewRecord {
        topic: Topic::GpsFixes,
        key: Bytes::from(format!("drv_{key:08}")),
        value: value.into(),
        headers: vec![
            header("event-id", "0123456789abcdef0123456789abcdef"),
            header("event-type", "fix.accepted"),
            header("schema", "1"),
        ],
    }
}

async fn places(log: &Arc<dyn EventLog>, topic: Topic) -> Result<Vec<Position>, Failure> {
    let heads = log.heads(topic).await?;
    Ok(heads
        .into_iter()
        .map(|head| Position { topic, partition: head.partition, offset: head.end })
        .collect())
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

async fn one_record_appends(log: &Arc<dyn EventLog>) -> Result<(), Failure> {
    let done = Arc::new(AtomicU64::new(0));
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let tasks: Vec<_> = (0..APPENDERS)
        .map(|task| {
            let (log, done) = (Arc::clone(log), Arc::clone(&done));
            tokio::spawn(async move {
                let mut latencies = Histogram::<u64>::new(3)?;
                while started.elapsed() < RUN {
                    let asked = Instant::now();
                    log.append(vec![fix(task, 200)]).await?;
                    latencies.record(u64::try_from(asked.elapsed().as_micros())?)?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Failure>(latencies)
            })
        })
        .collect();
    let mut latencies = Histogram::<u64>::new(3)?;
    for task in tasks {
        latencies.add(task.await??)?;
    }
    let records = done.load(Ordering::Relaxed) as f64;
    println!(
        "one-record appends, {APPENDERS} at once: {:.0}/s  p50 {:.1} ms  p99 {:.1} ms  {:.0} a CPU second",
        records / started.elapsed().as_secs_f64(),
        latencies.value_at_quantile(0.5) as f64 / 1e3,
        latencies.value_at_quantile(0.99) as f64 / 1e3,
        records / (cpu_seconds() - cpu),
    );
    Ok(())
}

async fn large_appends(log: &Arc<dyn EventLog>) -> Result<(), Failure> {
    const RECORDS: u64 = 256 * 1024 / 300;
    let done = Arc::new(AtomicU64::new(0));
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let tasks: Vec<_> = (0..8u64)
        .map(|task| {
            let (log, done) = (Arc::clone(log), Arc::clone(&done));
            tokio::spawn(async move {
                while started.elapsed() < RUN {
                    let records: Vec<NewRecord> =
                        (0..RECORDS).map(|key| fix(task * RECORDS + key, 200)).collect();
                    let bytes: usize = records.iter().map(NewRecord::size_bytes).sum();
                    log.append(records).await?;
                    done.fetch_add(bytes as u64, Ordering::Relaxed);
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let bytes = done.load(Ordering::Relaxed) as f64;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "appends of 256 KiB, 8 at once: {:.1} MB/s  {:.0} records/s  {:.0} records a CPU second",
        bytes / seconds / 1e6,
        bytes / 300.0 / seconds,
        bytes / 300.0 / (cpu_seconds() - cpu),
    );
    Ok(())
}

async fn transactions(log: &Arc<dyn EventLog>) -> Result<(), Failure> {
    let mut transactor = log.transactor("throughput").await?;
    let mut latencies = Histogram::<u64>::new(3)?;
    for round in 0..200u64 {
        let mut records = Vec::new();
        for key in 0..20 {
            records.push(NewRecord { topic: Topic::Positions, ..fix(key, 200) });
            records.push(NewRecord { topic: Topic::TrackingEvents, ..fix(key, 200) });
        }
        records.push(NewRecord { topic: Topic::FlowProgress, ..fix(round, 100) });
        let asked = Instant::now();
        transactor.transact(records).await?;
        latencies.record(u64::try_from(asked.elapsed().as_micros())?)?;
    }
    println!(
        "transactions of 41 records over 3 topics: p50 {:.1} ms  p99 {:.1} ms",
        latencies.value_at_quantile(0.5) as f64 / 1e3,
        latencies.value_at_quantile(0.99) as f64 / 1e3,
    );
    Ok(())
}

fn read_all(mut reader: Box<dyn LogReader>, wanted: u64) -> Result<(), Failure> {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let (mut records, mut bytes) = (0u64, 0usize);
    while records < wanted && started.elapsed() < Duration::from_secs(60) {
        for record in reader.poll(1 << 20, Duration::from_secs(1))? {
            records += 1;
            bytes += record.key.len() + record.value.len();
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "reading from the beginning: {:.0} records/s  {:.1} MB/s of keys and values  {:.0} records a CPU second",
        records as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        records as f64 / (cpu_seconds() - cpu),
    );
    Ok(())
}

/// From the answer of an append to the reader that waits for it.
async fn behind_the_writer(log: &Arc<dyn EventLog>) -> Result<(), Failure> {
    let from = places(log, Topic::GpsFixes).await?;
    let mut reader = log.reader(&from)?;
    reader.poll(1, Duration::from_millis(200))?;
    let mut appended = Histogram::<u64>::new(3)?;
    let mut seen = Histogram::<u64>::new(3)?;
    for key in 0..200 {
        let reading = tokio::task::spawn_blocking(move || {
            let found = reader.poll(1 << 20, Duration::from_secs(5));
            (reader, found, Instant::now())
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        let asked = Instant::now();
        log.append(vec![fix(key, 200)]).await?;
        appended.record(u64::try_from(asked.elapsed().as_micros())?)?;
        let (back, found, at) = reading.await?;
        found?;
        reader = back;
        seen.record(u64::try_from((at - asked).as_micros())?)?;
    }
    println!(
        "one append alone: p50 {:.2} ms; until a waiting reader has it: p50 {:.2} ms  p99 {:.2} ms",
        appended.value_at_quantile(0.5) as f64 / 1e3,
        seen.value_at_quantile(0.5) as f64 / 1e3,
        seen.value_at_quantile(0.99) as f64 / 1e3,
    );
    Ok(())
}
