//! Rooms measured in process: the archive's writer, the heat map.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use inzira_event_log::{Access, EventLog, NewRecord};
use inzira_query::{HeatmapRequest, QueryConfig, Questions};
use inzira_schemas::states::OrderKind;
use inzira_schemas::{Event, Micros, Point, SystemClock, cell, event_id, wire};
use inzira_tests::{House, Mode};
use serde_json::json;

/// Rows of the archive's run.
const ARCHIVE_ROWS: usize = 2_000_000;
/// How often freshness is looked at.
const FRESH_LOOKS: usize = 12;
/// Orders behind the heat map, each paid.
const ORDERS: usize = 200_000;
/// Requests with parameters of their own.
const REQUESTS: usize = 200;

/// `bench=archive rows_per_s_core= fresh_p99_s= write_amplification= rss_mib=`.
pub async fn archive(seconds: u64) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let url = format!("file:{}", folder.path().display());
    let store = inzira_store::open(&url, folder.path()).await?;
    let records = inzira_archive::bench::records(ARCHIVE_ROWS);
    let measured = inzira_archive::bench::run(&records, &store).await?;
    drop(records);
    let fresh = freshness(Duration::from_secs(seconds)).await?;
    Ok(format!(
        "bench=archive rows_per_s_core={:.0} committed_rows_per_s_core={:.0} fresh_p50_s={:.2} fresh_p99_s={:.2} write_amplification={:.2} rss_mib={:.0} bytes_per_row={:.1}",
        measured.rows_per_s_core,
        measured.rows_per_s_core_committed,
        fresh[fresh.len() / 2],
        fresh[fresh.len() - 1],
        measured.write_amplification,
        measured.rss_mib,
        measured.live_bytes as f64 / measured.rows.max(1) as f64,
    ))
}

/// Seconds from a fix's 2xx to its row in another process, sorted.
async fn freshness(most: Duration) -> anyhow::Result<Vec<f64>> {
    let house = House::start(Mode::Embedded).await?.context("no house")?;
    let operator = house.client("operator").await?;
    let vehicle = operator.enrol(&["fresh".to_owned()]).await?.remove(0);
    let (mut seen_after_s, began) = (Vec::new(), Instant::now());
    for look in 1..=FRESH_LOOKS {
        let fix = json!({"seq": look, "measured_at": inzira_schemas::Clock::now(&SystemClock).to_rfc3339(), "lat": -1.95, "lon": 30.06});
        let request = operator
            .http()
            .post(operator.url("/api/v1/tracking/location"))
            .bearer_auth(&vehicle.token)
            .json(&fix);
        anyhow::ensure!(request.send().await?.status().is_success(), "a fix was refused");
        let answered = Instant::now();
        let sql = format!("SELECT count(*) FROM fixes WHERE seq = {look}");
        while house.count(&sql)? == 0 {
            anyhow::ensure!(
                answered.elapsed() < Duration::from_secs(30),
                "fix {look} never showed"
            );
        }
        seen_after_s.push(answered.elapsed().as_secs_f64());
        if began.elapsed() > most && look >= 3 {
            break;
        }
    }
    seen_after_s.sort_by(f64::total_cmp);
    Ok(seen_after_s)
}

/// `bench=heatmap p95_ms= requests_per_s_core= raw_ratio=`.
pub async fn heatmap() -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let log = inzira_event_log::open("file:", folder.path(), Access::ReadWrite).await?;
    fill(&log).await?;
    let store = inzira_store::open("file:", folder.path()).await?;
    let config = QueryConfig { catch_up_max: Duration::from_secs(120), ..QueryConfig::default() };
    let questions = Questions::open(log, store, config, Arc::new(SystemClock)).await?;
    while !questions.health().rollup_ready {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (mut took_ms, cpu_before) = (Vec::with_capacity(REQUESTS), own_cpu_s());
    let mut cells = 0;
    for number in 0..REQUESTS {
        let kinds = [None, Some(OrderKind::Ride), Some(OrderKind::Delivery)];
        let request = HeatmapRequest {
            from: Some(START.plus_secs(number as i64 * 3_600)),
            resolution: 6 + (number % 4) as u8,
            kind: kinds[number % kinds.len()],
            ..HeatmapRequest::default()
        };
        let began = Instant::now();
        let answer = questions.revenue_heatmap(&request).await?;
        took_ms.push(began.elapsed().as_secs_f64() * 1e3);
        cells += answer.cells.len();
    }
    anyhow::ensure!(cells > 0, "the heat map is empty");
    let cpu_s = own_cpu_s() - cpu_before;
    took_ms.sort_by(f64::total_cmp);
    let began = Instant::now();
    let whole = questions.revenue_heatmap_by_sql(&HeatmapRequest::default()).await?;
    let by_sql_ms = began.elapsed().as_secs_f64() * 1e3;
    drop(questions);
    let raw = crate::raw::run().await?;
    Ok(format!(
        "bench=heatmap p95_ms={:.2} requests_per_s_core={:.0} raw_ratio={:.2} p50_ms={:.2} orders={ORDERS} by_sql_ms={by_sql_ms:.0} cells_by_sql={} raw_ms={:.0} duckdb_raw_ms={:.0}",
        took_ms[REQUESTS * 95 / 100],
        REQUESTS as f64 / cpu_s.max(1e-3),
        raw.ours_ms / raw.duckdb_ms,
        took_ms[REQUESTS / 2],
        whole.cells.len(),
        raw.ours_ms,
        raw.duckdb_ms,
    ))
}

const START: Micros = Micros::from_secs(1_790_000_000);

async fn fill(log: &Arc<dyn EventLog>) -> anyhow::Result<()> {
    let kinds = ["ride", "delivery", "shipment_domestic"];
    let mut records = Vec::new();
    for number in 0..ORDERS {
        let at = START.plus_secs((number * 5) as i64);
        let spread = |step: usize| (number.wrapping_mul(step) % 10_007) as f64 / 10_007.0;
        let place = Point { lat: -2.6 + spread(7_919) * 1.4, lon: 29.2 + spread(104_729) * 1.4 };
        let order_id = format!("ord_{number:026}");
        let order = wire::OrderEvent {
            envelope: Some(envelope(&["order", &order_id], "order.confirmed", at)),
            order_id: order_id.clone(),
            kind: kinds[number % kinds.len()].to_owned(),
            state: "confirmed".to_owned(),
            country: "RW".to_owned(),
            currency: "RWF".to_owned(),
            gross_minor: 1_000 + (number % 9_000) as i64,
            customer_id: format!("cus_{:026}", number % 20_000),
            driver_id: format!("drv_{:026}", number % 3_000),
            pickup_h3_r9: cell::cell_r9(place),
            destination_h3_r9: cell::cell_r9(Point { lat: place.lat + 0.02, lon: place.lon }),
            created_at_us: at.0,
            version: 1,
            ..wire::OrderEvent::default()
        };
        let payment = wire::PaymentEvent {
            envelope: Some(envelope(&["payment", &order_id], "payment.captured", at)),
            payment_id: format!("pay_{number:026}"),
            order_id,
            attempt: 1,
            provider: "MOCK".to_owned(),
            state: "captured".to_owned(),
            currency: "RWF".to_owned(),
            amount_minor: order.gross_minor,
            requested_at_us: at.0,
            ..wire::PaymentEvent::default()
        };
        records.push(record(&order));
        records.push(record(&payment));
        if records.len() >= 4_000 {
            log.append(std::mem::take(&mut records)).await?;
        }
    }
    log.append(records).await?;
    Ok(())
}

fn record<E: Event>(event: &E) -> NewRecord {
    NewRecord::of(event)
}

fn envelope(cause: &[&str], kind: &str, at: Micros) -> wire::Envelope {
    let parts: Vec<&[u8]> = cause.iter().map(|part| part.as_bytes()).collect();
    wire::Envelope::by_system(event_id(&parts), kind, at, at)
}

/// CPU-seconds of this process so far.
pub fn own_cpu_s() -> f64 {
    inzira_tests::house::cpu_seconds(std::process::id()).unwrap_or(0.0)
}
