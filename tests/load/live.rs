//! From a phone's POST to a buyer's frame: an open loop, so that a slow answer does not slow the rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use hdrhistogram::Histogram;
use inzira_schemas::{Clock, Point, SystemClock};
use inzira_simulators::client::Vehicle;
use inzira_tests::driver::book;
use inzira_tests::watch::Watcher;
use inzira_tests::{House, Mode};
use tokio::task::JoinSet;

use crate::http::{Line, fixes_request};

/// Phones, each on its own connection, one fix a POST.
const PHONES: usize = 5_000;
/// How many of them carry an order that is watched.
const WATCHED: usize = 4_000;
/// Bookings under way at once: each waits for its rail, which takes a second.
const BOOKING_AT_ONCE: usize = 600;
/// Every phone connects and sends before anything counts.
const WARM_UP: Duration = Duration::from_secs(5);
/// Fixes a second of all phones together.
const FIXES_PER_S: u64 = 2_000;

/// `bench=live fixes_per_s= durable_p50_ms= beyond_p50_ms= p99_ms=`.
pub async fn run(seconds: u64) -> anyhow::Result<String> {
    let house = House::start(Mode::Embedded).await?.context("no house")?;
    let operator = house.client("operator").await?;
    let labels: Vec<String> = (0..PHONES).map(|n| format!("live-{n}")).collect();
    let vehicles = operator.enrol(&labels).await?;
    let booking = Instant::now();
    let watchers = book_and_watch(&house, &vehicles).await?;
    let orders_per_s = WATCHED as f64 / booking.elapsed().as_secs_f64();

    let sent_us: Arc<Mutex<HashMap<i64, i64>>> = Arc::default();
    let address = house.base().socket_addrs(|| None)?.first().context("no address")?.to_string();
    let began = Instant::now();
    let counted_from = began + WARM_UP;
    let end = counted_from + Duration::from_secs(seconds);
    let mut phones = JoinSet::new();
    for (n, vehicle) in vehicles.into_iter().enumerate() {
        let phone =
            Phone { n, address: address.clone(), token: vehicle.token, sent_us: sent_us.clone() };
        phones.spawn(phone.send_until(began, counted_from, end));
    }
    let (mut durable_us, mut sent) = (Histogram::<u64>::new(3)?, 0);
    while let Some(ended) = phones.join_next().await {
        let own: Histogram<u64> = ended??;
        sent += own.len();
        durable_us.add(own)?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut end_to_end_us = Histogram::<u64>::new(3)?;
    let sent_at = sent_us.lock().map_err(|_| anyhow::anyhow!("a phone panicked"))?.clone();
    for watcher in watchers {
        for (arrived_us, frame) in watcher.end().await.frames {
            let measured =
                frame["measured_at"].as_str().and_then(inzira_schemas::Micros::parse_rfc3339);
            if let Some(sent) = measured.and_then(|measured| sent_at.get(&measured.0)) {
                end_to_end_us.record(u64::try_from(arrived_us - sent).unwrap_or(0))?;
            }
        }
    }
    let ms = |us: u64| us as f64 / 1e3;
    let durable_p50_ms = ms(durable_us.value_at_quantile(0.5));
    Ok(format!(
        "bench=live fixes_per_s={:.0} durable_p50_ms={durable_p50_ms:.1} beyond_p50_ms={:.1} p99_ms={:.1} p50_ms={:.1} durable_p99_ms={:.1} frames={} phones={PHONES} watched={WATCHED} orders_per_s={orders_per_s:.0}",
        sent as f64 / seconds as f64,
        ms(end_to_end_us.value_at_quantile(0.5)) - durable_p50_ms,
        ms(end_to_end_us.value_at_quantile(0.99)),
        ms(end_to_end_us.value_at_quantile(0.5)),
        ms(durable_us.value_at_quantile(0.99)),
        end_to_end_us.len(),
    ))
}

async fn book_and_watch(house: &House, vehicles: &[Vehicle]) -> anyhow::Result<Vec<Watcher>> {
    let operator = house.client("operator").await?;
    let booked: Vec<_> = futures::stream::iter(vehicles.iter().take(WATCHED).enumerate())
        .map(|(n, vehicle)| {
            let pickup = Point { lat: -2.5 + n as f64 * 1e-4, lon: 29.2 };
            let destination = Point { lat: pickup.lat, lon: 29.3 };
            book(&operator, &vehicle.driver_id, pickup, destination)
        })
        .buffer_unordered(BOOKING_AT_ONCE)
        .try_collect()
        .await?;
    let watchers: Result<Vec<_>, _> =
        booked.iter().map(|booked| house.watch(&booked.order_id, &booked.share)).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    watchers
}

struct Phone {
    n: usize,
    address: String,
    token: String,
    sent_us: Arc<Mutex<HashMap<i64, i64>>>,
}

impl Phone {
    async fn send_until(
        self,
        began: Instant,
        counted_from: Instant,
        end: Instant,
    ) -> anyhow::Result<Histogram<u64>> {
        let gap = Duration::from_secs_f64(PHONES as f64 / FIXES_PER_S as f64);
        let mut line = Line::to(&self.address).await?;
        let mut durable_us = Histogram::<u64>::new(3)?;
        let mut due = began + gap.mul_f64(self.n as f64 / PHONES as f64);
        let mut step = 0_u32;
        while due < end {
            tokio::time::sleep_until(due.into()).await;
            let measured_us = SystemClock.now().0;
            let counts = due >= counted_from;
            if counts
                && self.n < WATCHED
                && let Ok(mut sent) = self.sent_us.lock()
            {
                sent.insert(measured_us, measured_us);
            }
            step += 1;
            let body = format!(
                r#"{{"measured_at":"{}","lat":{:.6},"lon":{:.6},"accuracy_m":5.0,"speed_mps":8.0,"bearing_deg":90.0}}"#,
                inzira_schemas::Micros(measured_us).to_rfc3339(),
                -2.0 + self.n as f64 * 1e-4,
                29.5 + f64::from(step) * 1.8e-4,
            );
            let asked = Instant::now();
            let status = line.ask(&fixes_request(&self.token, &body)).await?;
            anyhow::ensure!(status == 200, "status {status}");
            if counts {
                durable_us.record(u64::try_from(asked.elapsed().as_micros())?)?;
            }
            due += gap;
        }
        Ok(durable_us)
    }
}
