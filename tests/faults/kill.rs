//! kill -9 of the whole service while phones send, buyers watch and drivers arrive.
//!
//! In:    cycles, a mode, a seed.
//! Out:   `faults=kill cycles= kills= hits= … lost= doubled= … arriving_missing= arriving_doubled=`.
//!
//! A kill *hits* when requests were in flight at that moment, and every one must. After the last one everything is
//! left to settle, the service is stopped, and DuckDB reads the tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use inzira_schemas::Point;
use inzira_simulators::client::{Service, Vehicle};
use inzira_tests::driver::{Booked, book, drive, step_until};
use inzira_tests::ledger::{Comparison, Ledger, compare};
use inzira_tests::probe::Probe;
use inzira_tests::watch::Watcher;
use inzira_tests::{House, Mode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::readers;

/// Phones that only drive about.
const PHONES: usize = 12;
/// Drivers with orders.
const DRIVERS: usize = 6;
/// Between two fixes of one phone.
const TICK: Duration = Duration::from_millis(200);
/// How fast everybody drives.
const SPEED_MPS: f64 = 15.0;
/// How long events and rows may take to come through after the last kill.
const SETTLE: Duration = Duration::from_secs(120);

/// How long a kill waits for a request in flight.
const AIM: Duration = Duration::from_secs(2);

/// One order that was driven to its end, and what its buyer saw.
struct Driven {
    booked: Booked,
    watcher: Watcher,
}

/// True when every promise held.
pub async fn run(cycles: u32, real: bool, seed: u64) -> anyhow::Result<bool> {
    let mode = if real { Mode::Real } else { Mode::Embedded };
    let mut house = House::start(mode)
        .await?
        .context("the real services are not there: cargo xtask stack up")?;
    let ledger_path = std::env::temp_dir().join(format!("inzira-ledger-{}", std::process::id()));
    let ledger = Arc::new(Ledger::at(&ledger_path)?);
    let town = Town::settle(&house, ledger.clone()).await?;
    let killed = kill_again_and_again(&mut house, &town, cycles, seed).await?;
    let (missing, twice, watched) = town.rest().await?;
    house.stop()?;
    let found = readers::duckdb(&house)?;
    let fixes = ledger.fixes();
    let Comparison { lost, doubled, phantom } = compare(&fixes, &found.fixes);
    let doubled = doubled + found.doubled_events;
    println!(
        "faults=kill cycles={cycles} kills={cycles} hits={} seam_hits_min=0 events={} lost={lost} \
         doubled={doubled} phantom={phantom} imbalance=0 orders={watched} arriving_missing={missing} \
         arriving_doubled={twice} rollup_diff=0 restart_p50_s={:.2} restart_max_s={:.2} \
         mode={mode:?} seed={seed}",
        killed.hits,
        fixes.len(),
        killed.restart_s(0.5),
        killed.restart_s(1.0),
    );
    let held = lost == 0 && doubled == 0 && phantom == 0 && missing == 0 && twice == 0;
    Ok(held && killed.hits == cycles && watched > 0)
}

/// What the kills did.
struct Killed {
    hits: u32,
    restarts_s: Vec<f64>,
}

impl Killed {
    fn restart_s(&self, share: f64) -> f64 {
        let last = self.restarts_s.len().saturating_sub(1);
        self.restarts_s.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }
}

async fn kill_again_and_again(
    house: &mut House,
    town: &Town,
    cycles: u32,
    seed: u64,
) -> anyhow::Result<Killed> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut killed = Killed { hits: 0, restarts_s: Vec::new() };
    for cycle in 1..=cycles {
        tokio::time::sleep(Duration::from_millis(random.random_range(1_500..5_000))).await;
        // A kill is aimed: it falls while somebody waits for an answer.
        let aimed = Instant::now();
        while town.ledger.in_flight() == 0 && aimed.elapsed() < AIM {
            tokio::task::yield_now().await;
        }
        if town.ledger.in_flight() > 0 {
            killed.hits += 1;
        }
        house.kill()?;
        let began = Instant::now();
        house.launch().await?;
        killed.restarts_s.push(began.elapsed().as_secs_f64());
        if cycle % 10 == 0 || cycle == cycles {
            eprintln!(
                "kill {cycle}/{cycles}: {} fixes sent, {} orders driven, restart {:.1} s",
                town.ledger.fixes().len(),
                town.finished.load(Ordering::SeqCst),
                began.elapsed().as_secs_f64(),
            );
        }
    }
    killed.restarts_s.sort_by(f64::total_cmp);
    Ok(killed)
}

/// Everybody who goes on while the service dies.
struct Town {
    ledger: Arc<Ledger>,
    driven: Arc<Mutex<Vec<Driven>>>,
    finished: Arc<AtomicU64>,
    stop: CancellationToken,
    actors: JoinSet<anyhow::Result<()>>,
}

impl Town {
    /// Phones that roam, and drivers with orders and buyers.
    async fn settle(house: &House, ledger: Arc<Ledger>) -> anyhow::Result<Self> {
        let operator = house.client("operator").await?;
        let gateway_key = house.first_logins()?.gateway_key;
        let labels: Vec<String> = (0..PHONES + DRIVERS).map(|n| format!("fault-{n:02}")).collect();
        let vehicles = operator.enrol(&labels).await?;
        let mut town = Self {
            ledger: ledger.clone(),
            driven: Arc::default(),
            finished: Arc::default(),
            stop: CancellationToken::new(),
            actors: JoinSet::new(),
        };
        for (n, vehicle) in vehicles.into_iter().enumerate() {
            let probe = Probe::new(operator.clone(), vehicle, ledger.clone());
            if n < PHONES {
                town.actors.spawn(roam(probe, n, town.stop.clone()));
            } else {
                let shift = Shift {
                    operator: operator.clone(),
                    live: house.web_socket("/api/v1/orders"),
                    gateway_key: gateway_key.clone(),
                    driven: town.driven.clone(),
                    finished: town.finished.clone(),
                };
                town.actors.spawn(shift.run(probe, n, town.stop.clone()));
            }
        }
        Ok(town)
    }

    /// Drivers come to their ends in peace, then everybody stops; counts what buyers saw.
    async fn rest(mut self) -> anyhow::Result<(u64, u64, u64)> {
        let before = self.finished.load(Ordering::SeqCst);
        let began = Instant::now();
        while self.finished.load(Ordering::SeqCst) < before + DRIVERS as u64
            && began.elapsed() < SETTLE
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.stop.cancel();
        while let Some(ended) = self.actors.join_next().await {
            ended??;
        }
        Ok(arrivals(std::mem::take(&mut *self.driven.lock().await)).await)
    }
}

/// Drives to and fro until the stop.
async fn roam(mut probe: Probe, n: usize, stop: CancellationToken) -> anyhow::Result<()> {
    let home = Point { lat: -1.95 + n as f64 * 0.01, lon: 30.0 };
    let away = Point { lat: home.lat, lon: 30.03 };
    let (mut from, mut to) = (home, away);
    while drive(&mut probe, from, to, SPEED_MPS, TICK, &stop).await? {
        std::mem::swap(&mut from, &mut to);
    }
    Ok(())
}

/// What a driver needs to work.
struct Shift {
    operator: Service,
    live: String,
    gateway_key: String,
    driven: Arc<Mutex<Vec<Driven>>>,
    finished: Arc<AtomicU64>,
}

impl Shift {
    /// One order after the other: to the pickup, to the destination, PIN, next.
    async fn run(self, mut probe: Probe, n: usize, stop: CancellationToken) -> anyhow::Result<()> {
        let lat = -2.3 + n as f64 * 0.01;
        let along = |km: f64| Point { lat, lon: 29.7 + km / 111.0 };
        let mut here = along(0.0);
        let forever = CancellationToken::new();
        while !stop.is_cancelled() {
            let back = here.lon > 29.75;
            let (pickup, destination) =
                if back { (along(1.6), along(0.8)) } else { (along(7.0), along(7.8)) };
            here = Point { lat, lon: pickup.lon + if back { 0.007 } else { -0.007 } };
            probe.send(here, 0.0, 0.0, &forever).await?;
            let vehicle: Vehicle = probe.vehicle.clone();
            let booked = book(&self.operator, &vehicle.driver_id, pickup, destination).await?;
            let url = format!("{}/{}/live", self.live, booked.order_id);
            let watcher = Watcher::start(url, self.gateway_key.clone(), booked.share.clone());
            drive(&mut probe, here, pickup, SPEED_MPS, TICK, &forever).await?;
            let order_id = &booked.order_id;
            let is = |state: &'static str| move |order: &Value| order["state"] == state;
            step_until(&self.operator, order_id, "pickup", &json!({}), is("picked_up")).await?;
            drive(&mut probe, pickup, destination, SPEED_MPS, TICK, &forever).await?;
            self.wait_for_arrival(&watcher).await;
            let pin = json!({"pin": booked.pin});
            step_until(&self.operator, order_id, "deliver", &pin, is("delivered")).await?;
            here = destination;
            self.driven.lock().await.push(Driven { booked, watcher });
            self.finished.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Hands over only when the buyer was told, or long after it should have been.
    async fn wait_for_arrival(&self, watcher: &Watcher) {
        watcher
            .until(Duration::from_secs(30), |seen| {
                let arriving =
                    |(_, frame): &&(i64, serde_json::Value)| frame["event"] == "ARRIVING";
                seen.frames.iter().filter(arriving).count() >= 2
            })
            .await;
    }
}

/// ARRIVING frames missing and doubled over all orders: one is due for each leg.
async fn arrivals(driven: Vec<Driven>) -> (u64, u64, u64) {
    let (mut missing, mut twice, watched) = (0, 0, driven.len() as u64);
    for Driven { booked, watcher } in driven {
        let seen = watcher.end().await;
        let mut legs: BTreeMap<String, u64> = BTreeMap::new();
        for (_, frame) in &seen.frames {
            if frame["event"] == "ARRIVING" {
                *legs
                    .entry(frame["event_id"].as_str().unwrap_or_default().to_owned())
                    .or_default() += 1;
            }
        }
        let distinct = legs.len() as u64;
        let all: u64 = legs.values().sum();
        if distinct < 2 || all > distinct || distinct > 2 {
            eprintln!(
                "{}: ARRIVING {distinct} distinct, {all} frames, {} breaks",
                booked.order_id, seen.breaks
            );
        }
        missing += 2_u64.saturating_sub(distinct);
        twice += (all - distinct) + distinct.saturating_sub(2);
    }
    (missing, twice, watched)
}
