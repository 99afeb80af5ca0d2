//! Figures, measured on demand: `cargo test --release -p inzira-query figures -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use inzira_archive::Table;
use inzira_event_log::{EventLog, NewRecord, Record};
use inzira_schemas::states::OrderKind;
use inzira_schemas::{Event, Micros, Point, SystemClock, cell};

use crate::heatmap::render::{HeatmapFormat, render};
use crate::heatmap::{By, HeatmapRequest, Revenue};
use crate::questions::{Mode, QueryConfig, Questions};
use crate::shape::Shape;
use crate::testing::{SharedLog, at, order, payment};

const ORDERS: i64 = 200_000;
const REQUESTS: usize = 300;
const FIXES: usize = 2_000_000;

fn record<E: Event>(event: &E) -> Record {
    let new = NewRecord::of(event);
    Record {
        topic: new.topic,
        partition: new.partition(),
        offset: 0,
        appended_at_us: 0,
        key: new.key,
        value: new.value,
        headers: new.headers,
    }
}

/// Orders of thirty days, thick in the middle of Kigali and thin outside.
fn fill(revenue: &Revenue) {
    let kinds = ["ride", "delivery", "shipment_domestic"];
    let shapes = [Shape::of(Table::OrderEvents), Shape::of(Table::PaymentEvents)];
    let mut orders = Vec::new();
    let mut payments = Vec::new();
    for n in 0..ORDERS {
        let spread = |salt: i64| ((n * salt) % 1_000) as f64 / 1_000.0 - 0.5;
        let width = if n % 3 == 0 { 1.0 } else { 0.15 };
        let point = |salt| Point {
            lat: -1.95 + spread(salt) * width,
            lon: 30.06 + spread(salt + 40) * width,
        };
        let when = at(n * 13);
        let mut event = order(&format!("ord_{n}"), "delivered", when);
        event.kind = kinds[(n % 3) as usize].to_owned();
        event.customer_id = format!("cus_{}", n % 9_973);
        event.driver_id = format!("drv_{}", n % 499);
        event.pickup_h3_r9 = cell::cell_r9(point(7_919));
        event.destination_h3_r9 = cell::cell_r9(point(104_729));
        orders.push(record(&event));
        payments.push(record(&payment(
            &format!("pay_{n}"),
            &event.order_id,
            "captured",
            when,
            1_500,
        )));
        if n % 50 == 0 {
            let mut back = payment(&format!("pay_{n}"), &event.order_id, "refunded", when, 1_500);
            back.refunded_minor = 500;
            payments.push(record(&back));
        }
    }
    for (shape, records) in shapes.iter().zip([orders, payments]) {
        for part in records.chunks(8_192) {
            revenue.take(shape.table, &shape.fit(&shape.table.decode(part).0).unwrap());
        }
    }
}

fn percentile(mut took_ms: Vec<f64>, part: f64) -> f64 {
    took_ms.sort_by(f64::total_cmp);
    took_ms[((took_ms.len() - 1) as f64 * part) as usize]
}

#[test]
#[ignore = "a measurement"]
fn figures_of_the_heat_map() {
    let revenue = Revenue::new(1_000_000);
    let began = Instant::now();
    fill(&revenue);
    println!("filled {ORDERS} orders in {:.1} s", began.elapsed().as_secs_f64());
    let kinds = [None, Some(OrderKind::Ride), Some(OrderKind::Delivery)];
    for (who, hide_thin) in [("operator", false), ("analyst", true)] {
        for format in [HeatmapFormat::Json, HeatmapFormat::GeoJson, HeatmapFormat::Csv] {
            let (mut took_ms, mut summed_ms, mut cells) = (Vec::new(), Vec::new(), 0);
            for n in 0..REQUESTS {
                let request = HeatmapRequest {
                    from: Some(at(n as i64 * 900)),
                    to: Some(at(ORDERS * 13 - n as i64 * 700)),
                    resolution: 5 + (n % 5) as u8,
                    kind: kinds[n % 3],
                    bbox: None,
                    by: if n % 2 == 0 { By::Pickup } else { By::Destination },
                    hide_thin,
                };
                let began = Instant::now();
                let answer = revenue.heatmap(&request, Micros(0));
                summed_ms.push(began.elapsed().as_secs_f64() * 1e3);
                cells = cells.max(answer.cells.len());
                let bytes = render(format, &request, &answer).unwrap();
                took_ms.push(began.elapsed().as_secs_f64() * 1e3);
                assert!(!bytes.is_empty());
            }
            println!(
                "heatmap {who} {}: p50_ms={:.2} p95_ms={:.2} without_writing_p95_ms={:.2} cells_max={cells}",
                format.as_str(),
                percentile(took_ms.clone(), 0.5),
                percentile(took_ms, 0.95),
                percentile(summed_ms, 0.95)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn figures_of_sql_over_fixes() {
    let folder = tempfile::tempdir().unwrap();
    let store = inzira_store::open("file:", folder.path()).await.unwrap();
    let began = Instant::now();
    let records = inzira_archive::bench::records(FIXES);
    let measured = inzira_archive::bench::run(&records, &store).await.unwrap();
    drop(records);
    println!("{measured} in {:.1} s", began.elapsed().as_secs_f64());
    let log: Arc<dyn EventLog> = Arc::new(SharedLog::default());
    let config = QueryConfig { mode: Mode::Once, ..QueryConfig::default() };
    let ask = Questions::open(log, store, config, Arc::new(SystemClock)).await.unwrap();
    for text in [
        "SELECT 1",
        "SELECT count(*) FROM fixes",
        "SELECT count(*), count(DISTINCT device_id) FROM fixes",
        "SELECT count(*) FROM fixes WHERE lat > -1.95",
        "SELECT h3_r9, count(*) AS n FROM fixes GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
        "SELECT h3_cell_to_parent(h3_r9, 7) AS c, count(*), avg(speed_mps) FROM fixes GROUP BY 1",
        "SELECT driver_id, max(measured_at) FROM fixes GROUP BY 1 ORDER BY 1 LIMIT 5",
        "SELECT * FROM fixes WHERE driver_id = (SELECT min(driver_id) FROM fixes) ORDER BY measured_at LIMIT 20",
        "SELECT * FROM fixes ORDER BY measured_at DESC LIMIT 10",
    ] {
        let mut best_ms = f64::INFINITY;
        for _ in 0..3 {
            let began = Instant::now();
            let answer = ask.sql(text, crate::Limits::default()).await.unwrap();
            answer.collect().await.unwrap();
            best_ms = best_ms.min(began.elapsed().as_secs_f64() * 1e3);
        }
        println!("{best_ms:9.1} ms  {text}");
    }
}
