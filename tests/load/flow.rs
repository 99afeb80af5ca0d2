//! The flow: its rules in process with workers exchanging, then the whole of it from the log to the
//! committed log, on the embedded one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use inzira_event_log::{Access, EventLog, NewRecord, Position};
use inzira_flow::{FlowConfig, FlowHandle};
use inzira_schemas::{Clock, Micros, SystemClock, Topic, event_id, wire};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rooms::own_cpu_s;

/// Fixes, drivers and workers in process.
const IN_PROCESS: (usize, usize, usize) = (2_000_000, 100_000, 2);
/// Fixes and drivers from the log to the committed log.
const THROUGH_LOG: (usize, usize) = (400_000, 10_000);
/// Fixes a second while latency is measured, and how many go into one append.
const PACED: (u64, u64) = (5_000, 50);
const APPEND: usize = 4_000;

/// `bench=flow fixes_per_s_core= log_fixes_per_s_core= … checksum=`.
pub async fn run(seconds: u64) -> anyhow::Result<String> {
    let (fixes, drivers, workers) = IN_PROCESS;
    let (big, small) = tokio::task::spawn_blocking(move || {
        let big = inzira_flow::bench::in_process(fixes, drivers, workers)?;
        let small = inzira_flow::bench::in_process(fixes / 4, 1_000, workers)?;
        Ok::<_, inzira_flow::FlowError>((big, small))
    })
    .await??;
    anyhow::ensure!(big.positions == fixes as u64, "{} positions of {fixes}", big.positions);
    let log_fixes_per_s_core = through_the_log().await?;
    let latency_us = paced(Duration::from_secs(seconds)).await?;
    let ms = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1e3;
    Ok(format!(
        "bench=flow fixes_per_s_core={:.0} log_fixes_per_s_core={log_fixes_per_s_core:.0} bytes_per_driver={:.0} growth={:.2} best_peer=- ratio_cpu=- p50_ms={:.1} p99_ms={:.1} checksum={:016x} workers={workers} drivers={drivers} snapshots={}",
        big.fixes_per_s_core,
        big.bytes_per_driver,
        small.fixes_per_s_core / big.fixes_per_s_core,
        ms(0.5),
        ms(0.99),
        big.checksum,
        big.snapshots,
    ))
}

/// A flow on a fresh embedded log.
struct House {
    log: Arc<dyn EventLog>,
    folder: TempDir,
}

impl House {
    async fn empty() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = inzira_event_log::open("file:", folder.path(), Access::ReadWrite).await?;
        Ok(Self { log, folder })
    }

    async fn start(&self, stop: &CancellationToken) -> anyhow::Result<FlowHandle> {
        let bus = inzira_live_bus::open("memory:").await?;
        let store = inzira_store::open("file:", self.folder.path()).await?;
        let config = FlowConfig { workers: IN_PROCESS.2, ..FlowConfig::default() };
        let clock = Arc::new(SystemClock);
        Ok(inzira_flow::start(config, self.log.clone(), bus, store, clock, stop.clone()).await?)
    }

    /// Positions committed so far.
    async fn committed(&self) -> anyhow::Result<u64> {
        let heads = self.log.heads(Topic::Positions).await?;
        Ok(heads.iter().map(|head| head.end - head.start).sum())
    }
}

/// Fixes that wait in the log, from the start of the flow to the commit of the last position:
/// fixes a CPU-second of the whole process.
async fn through_the_log() -> anyhow::Result<f64> {
    let (fixes, drivers) = THROUGH_LOG;
    let house = House::empty().await?;
    let began_at = SystemClock.now();
    let mut records = Vec::with_capacity(APPEND);
    for number in 0..fixes {
        let (driver, round) = (number % drivers, number / drivers);
        records.push(NewRecord::of(&fix(driver, began_at.plus_secs(round as i64 * 2), number)));
        if records.len() == APPEND || number + 1 == fixes {
            house.log.append(std::mem::take(&mut records)).await?;
        }
    }
    let (stop, cpu_before, began) = (CancellationToken::new(), own_cpu_s(), Instant::now());
    let flow = house.start(&stop).await?;
    loop {
        let committed = house.committed().await?;
        anyhow::ensure!(committed <= fixes as u64, "{committed} positions of {fixes} fixes");
        if committed == fixes as u64 {
            break;
        }
        anyhow::ensure!(began.elapsed() < Duration::from_secs(120), "{:?}", flow.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let cpu_s = own_cpu_s() - cpu_before;
    stop.cancel();
    flow.join().await?;
    Ok(fixes as f64 / cpu_s.max(1e-3))
}

/// Microseconds from the moment a fix is handed to the log until its position is read back as
/// committed, at a steady pace.
async fn paced(span: Duration) -> anyhow::Result<Histogram<u64>> {
    let house = House::empty().await?;
    let stop = CancellationToken::new();
    let flow = house.start(&stop).await?;
    while !flow.health().ready {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ended = CancellationToken::new();
    let reading = read_positions(&house, ended.clone()).await?;
    let (per_s, append) = PACED;
    let (began, mut number) = (tokio::time::Instant::now(), 0_u64);
    while began.elapsed() < span {
        let due = began + Duration::from_secs_f64(number as f64 / per_s as f64);
        tokio::time::sleep_until(due).await;
        let now = SystemClock.now();
        // A microsecond apart: no two of them are the same fix.
        let records = (0..append).map(|n| {
            let (at, number) = (Micros(now.0 + n as i64), number + n);
            NewRecord::of(&fix(number as usize % THROUGH_LOG.1, at, number as usize))
        });
        house.log.append(records.collect()).await?;
        number += append;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    ended.cancel();
    let latency_us = reading.await??;
    anyhow::ensure!(latency_us.len() == number, "{} positions of {number}", latency_us.len());
    stop.cancel();
    flow.join().await?;
    Ok(latency_us)
}

async fn read_positions(
    house: &House,
    ended: CancellationToken,
) -> anyhow::Result<JoinHandle<anyhow::Result<Histogram<u64>>>> {
    let heads = house.log.heads(Topic::Positions).await?;
    let from: Vec<Position> = heads
        .iter()
        .map(|head| Position {
            topic: Topic::Positions,
            partition: head.partition,
            offset: head.end,
        })
        .collect();
    let log = house.log.clone();
    Ok(tokio::task::spawn_blocking(move || {
        let mut reader = log.reader(&from)?;
        let mut latency_us = Histogram::<u64>::new(3)?;
        while !ended.is_cancelled() {
            let records = reader.poll(1 << 20, Duration::from_millis(20))?;
            let now = SystemClock.now();
            for record in records {
                let position: wire::Position = record.decode()?;
                latency_us.record(u64::try_from(now.0 - position.measured_at_us).unwrap_or(0))?;
            }
        }
        Ok(latency_us)
    }))
}

/// A vehicle that drives east at 8 m/s.
fn fix(driver: usize, at: Micros, number: usize) -> wire::Fix {
    let name = format!("drv_{driver:026}");
    let seconds = (at.0 % 10_000_000_000) as f64 / 1e6;
    let id = event_id(&[b"bench", &(number as u64).to_le_bytes()]);
    wire::Fix {
        envelope: Some(wire::Envelope::by_system(id, "fix.accepted", at, at)),
        driver_id: name,
        device_id: format!("dev_{driver:026}"),
        seq: Some(number as u64 + 1),
        measured_at_us: at.0,
        received_at_us: at.0,
        time_source: "device".to_owned(),
        protocol: "json".to_owned(),
        lat: -2.6 + (driver % 317) as f64 * 0.0045,
        lon: 29.1 + (driver % 293) as f64 * 0.0055 + seconds * 8.0 / 111_195.0 % 0.05,
        accuracy_m: Some(8.0),
        speed_mps: Some(8.0),
        bearing_deg: Some(90.0),
        ..wire::Fix::default()
    }
}
