//! Devices to the durable log, the ingest role alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use inzira_schemas::{Clock, SystemClock};
use inzira_tests::{House, Mode};
use tokio::task::JoinSet;

use crate::http::{Line, fixes_request};

/// Phones that send one fix a POST.
const PHONES: usize = 512;
/// Connections that send batches, each for one phone after the other: a single phone is paced.
const BATCHERS: usize = 8;
/// Fixes a batch.
const BATCH: usize = 500;

/// `bench=ingest posts_per_cpu_s= fixes_per_cpu_s= p99_ms=`.
pub async fn run(seconds: u64) -> anyhow::Result<String> {
    let mut house = House::planned(Mode::Embedded)?.context("no house")?;
    house.launch().await?;
    let operator = house.client("operator").await?;
    let labels: Vec<String> = (0..PHONES).map(|n| format!("bench-{n}")).collect();
    let tokens: Vec<String> =
        operator.enrol(&labels).await?.into_iter().map(|vehicle| vehicle.token).collect();
    house.stop()?;
    house.roles("ingest");
    house.launch().await?;
    let half = Duration::from_secs(seconds.max(4) / 2);

    let single = measure(&house, &tokens, PHONES, 1, half).await?;
    let batched = measure(&house, &tokens, BATCHERS, BATCH, half).await?;
    Ok(format!(
        "bench=ingest posts_per_cpu_s={:.0} fixes_per_cpu_s={:.0} p99_ms={:.1} p50_ms={:.1} posts_per_s={:.0} batch_fixes_per_s={:.0}",
        single.requests as f64 / single.cpu_s,
        (batched.requests * BATCH as u64) as f64 / batched.cpu_s,
        single.latency_us.value_at_quantile(0.99) as f64 / 1e3,
        single.latency_us.value_at_quantile(0.5) as f64 / 1e3,
        single.requests as f64 / half.as_secs_f64(),
        (batched.requests * BATCH as u64) as f64 / half.as_secs_f64(),
    ))
}

struct Measured {
    requests: u64,
    cpu_s: f64,
    latency_us: Histogram<u64>,
}

async fn measure(
    house: &House,
    tokens: &[String],
    connections: usize,
    fixes: usize,
    span: Duration,
) -> anyhow::Result<Measured> {
    let address = house.base().socket_addrs(|| None)?.first().context("no address")?.to_string();
    let requests = Arc::new(AtomicU64::new(0));
    let (cpu_before, end) = (house.cpu_s(), Instant::now() + span);
    let mut senders = JoinSet::new();
    for connection in 0..connections {
        let own: Vec<String> =
            tokens.iter().skip(connection).step_by(connections).cloned().collect();
        let (address, requests) = (address.clone(), requests.clone());
        senders.spawn(async move {
            let mut line = Line::to(&address).await?;
            let mut latency_us = Histogram::<u64>::new(3)?;
            let (mut step, mut phone) = (0_u64, 0);
            while Instant::now() < end {
                phone = (phone + 1) % own.len();
                let request = fixes_request(&own[phone], &body(connection, &mut step, fixes));
                let began = Instant::now();
                let status = line.ask(&request).await?;
                anyhow::ensure!(status == 200, "status {status}");
                latency_us.record(u64::try_from(began.elapsed().as_micros())?)?;
                requests.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, anyhow::Error>(latency_us)
        });
    }
    let mut latency_us = Histogram::<u64>::new(3)?;
    while let Some(ended) = senders.join_next().await {
        latency_us.add(ended??)?;
    }
    let cpu_s = (house.cpu_s() - cpu_before).max(0.01);
    Ok(Measured { requests: requests.load(Ordering::Relaxed), cpu_s, latency_us })
}

fn body(phone: usize, step: &mut u64, fixes: usize) -> String {
    let now_us = SystemClock.now().0;
    let items: Vec<String> = (0..fixes)
        .map(|_| {
            *step += 1;
            format!(
                r#"{{"seq":{step},"measured_at":{},"lat":{:.6},"lon":{:.6},"accuracy_m":6.5,"speed_mps":8.2,"bearing_deg":91.0}}"#,
                (now_us / 1_000) - (fixes as i64) + (*step as i64 % fixes as i64),
                -1.95 + phone as f64 * 1e-4,
                30.05 + (*step % 10_000) as f64 * 1e-5,
            )
        })
        .collect();
    if fixes == 1 { items.concat() } else { format!("[{}]", items.join(",")) }
}
