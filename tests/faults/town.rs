//! Everybody who goes on while the service breaks: phones that roam, drivers with orders, buyers.
//!
//! In:    a running house, a ledger.
//! Out:   traffic until the rest; what every buyer saw; which seams of the service are open now.
//! Keeps: each driver's order, and whether its buyer waits for an ARRIVING.
//! Never: knows when or how the service breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use inzira_schemas::Point;
use inzira_simulators::client::{Service, Vehicle};
use inzira_tests::House;
use inzira_tests::driver::{Booked, book, drive, step_until};
use inzira_tests::ledger::Ledger;
use inzira_tests::probe::Probe;
use inzira_tests::watch::{Seen, Watcher};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Phones that only drive about.
const PHONES: usize = 12;
/// Drivers with orders.
const DRIVERS: usize = 10;
/// Between two fixes of one phone.
const TICK: Duration = Duration::from_millis(200);
/// How fast phones roam.
const SPEED_MPS: f64 = 15.0;
/// How fast drivers with orders go, from the slowest to the fastest: apart from each other, so
/// that there is always one at the end of its leg soon.
const DRIVERS_MPS: std::ops::Range<f64> = 14.0..26.0;
/// How far before the pickup a driver is when its order is booked, in degrees of longitude.
const RUN_UP_DEG: f64 = 0.005;
/// From the pickup to the destination, in degrees of longitude.
const LEG_DEG: f64 = 0.0055;
/// Between two drivers' roads, in degrees of latitude: further than an order looks for a driver,
/// so that each gets its own.
const APART_DEG: f64 = 0.06;
/// A buyer is told when the driver comes within this of the leg's end.
const ARRIVING_M: f64 = 400.0;
/// How long orders under way may take to come to their ends after the last break.
const SETTLE: Duration = Duration::from_secs(180);

/// One order that was driven to its end, and what its buyer saw.
struct Driven {
    booked: Booked,
    watcher: Watcher,
}

/// What buyers saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrivals {
    /// Orders that were driven to their ends.
    pub orders: u64,
    /// Legs whose buyer was not told.
    pub missing: u64,
    /// Frames beyond one a leg.
    pub doubled: u64,
}

/// An ARRIVING that a buyer waits for.
struct Due {
    target: Point,
    told_before: usize,
    place: watch::Receiver<Option<Point>>,
    seen: Arc<Mutex<Seen>>,
}

impl Due {
    /// The service has answered a fix inside the circle, and the buyer has no frame yet.
    fn is_open(&self) -> bool {
        let inside = self.place.borrow().is_some_and(|at| at.distance_m(self.target) < ARRIVING_M);
        inside && locked(&self.seen).count("ARRIVING") <= self.told_before
    }
}

/// What a panic left behind is still worth counting.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Dues = Arc<Mutex<BTreeMap<usize, Due>>>;

/// Everybody who goes on while the service dies.
pub struct Town {
    /// The phones' own record.
    pub ledger: Arc<Ledger>,
    operator: Service,
    dues: Dues,
    driven: Arc<Mutex<Vec<Driven>>>,
    finished: Arc<AtomicU64>,
    stop: CancellationToken,
    actors: JoinSet<anyhow::Result<()>>,
}

impl Town {
    /// Phones that roam, and drivers with orders and buyers.
    pub async fn settle(house: &House, ledger: Arc<Ledger>) -> anyhow::Result<Self> {
        let operator = house.client("operator").await?;
        let gateway_key = house.first_logins()?.gateway_key;
        let labels: Vec<String> = (0..PHONES + DRIVERS).map(|n| format!("fault-{n:02}")).collect();
        let vehicles = operator.enrol(&labels).await?;
        let mut town = Self {
            ledger: ledger.clone(),
            operator: operator.clone(),
            dues: Dues::default(),
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
                let n = n - PHONES;
                let share = n as f64 / DRIVERS as f64;
                let shift = Shift {
                    n,
                    speed_mps: DRIVERS_MPS.start + (DRIVERS_MPS.end - DRIVERS_MPS.start) * share,
                    operator: operator.clone(),
                    live: house.web_socket("/api/v1/orders"),
                    gateway_key: gateway_key.clone(),
                    dues: town.dues.clone(),
                    driven: town.driven.clone(),
                    finished: town.finished.clone(),
                };
                town.actors.spawn(shift.run(probe, town.stop.clone()));
            }
        }
        Ok(town)
    }

    /// Whether a phone waits for an answer.
    pub fn post_under_way(&self) -> bool {
        self.ledger.in_flight() > 0
    }

    /// Whether a booking, an assignment, a pick-up or a delivery waits for its answer.
    pub fn command_under_way(&self) -> bool {
        self.operator.writes_under_way() > 0
    }

    /// Whether a buyer waits for an ARRIVING that is due.
    pub fn arriving_due(&self) -> bool {
        locked(&self.dues).values().any(Due::is_open)
    }

    /// Orders that were driven to their ends.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::SeqCst)
    }

    /// An error when somebody could not go on, which no break excuses.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.actors.try_join_next().map_or(Ok(()), |ended| ended?)
    }

    /// Phones stop, drivers bring their orders to the end, in peace.
    pub async fn rest(mut self) -> anyhow::Result<Arrivals> {
        self.stop.cancel();
        let all_ended = async {
            while let Some(ended) = self.actors.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SETTLE, all_ended)
            .await
            .context("orders do not come to their end")??;
        let driven = std::mem::take(&mut *locked(&self.driven));
        Ok(arrivals(driven).await)
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
    n: usize,
    speed_mps: f64,
    operator: Service,
    live: String,
    gateway_key: String,
    dues: Dues,
    driven: Arc<Mutex<Vec<Driven>>>,
    finished: Arc<AtomicU64>,
}

impl Shift {
    /// One order after the other: to the pickup, to the destination, PIN, next.
    async fn run(self, mut probe: Probe, stop: CancellationToken) -> anyhow::Result<()> {
        let lat = -2.6 + self.n as f64 * APART_DEG;
        let at = |lon: f64| Point { lat, lon };
        let mut forth = true;
        while !stop.is_cancelled() {
            let (lon, sign) = if forth { (29.763, 1.0) } else { (29.714, -1.0) };
            let here = at(lon - sign * RUN_UP_DEG);
            let (pickup, destination) = (at(lon), at(lon + sign * LEG_DEG));
            self.serve(&mut probe, here, pickup, destination).await?;
            forth = !forth;
        }
        Ok(())
    }

    async fn serve(
        &self,
        probe: &mut Probe,
        here: Point,
        pickup: Point,
        destination: Point,
    ) -> anyhow::Result<()> {
        let forever = CancellationToken::new();
        probe.send(here, 0.0, 0.0, &forever).await?;
        let vehicle: Vehicle = probe.vehicle.clone();
        let booked = book(&self.operator, &vehicle.driver_id, pickup, destination).await?;
        let url = format!("{}/{}/live", self.live, booked.order_id);
        let watcher = Watcher::start(url, self.gateway_key.clone(), booked.share.clone());
        let is = |state: &'static str| move |order: &Value| order["state"] == state;
        let order_id = &booked.order_id;
        self.expect(probe, &watcher, pickup, 0);
        drive(probe, here, pickup, self.speed_mps, TICK, &forever).await?;
        step_until(&self.operator, order_id, "pickup", &json!({}), is("picked_up")).await?;
        self.expect(probe, &watcher, destination, 1);
        drive(probe, pickup, destination, self.speed_mps, TICK, &forever).await?;
        // Handed over only when the buyer was told, or long after it should have been.
        watcher.until(Duration::from_secs(30), |seen| seen.count("ARRIVING") >= 2).await;
        let pin = json!({"pin": booked.pin});
        step_until(&self.operator, order_id, "deliver", &pin, is("delivered")).await?;
        locked(&self.driven).push(Driven { booked, watcher });
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// From now on the buyer is to be told once the driver is near `target`.
    fn expect(&self, probe: &Probe, watcher: &Watcher, target: Point, told_before: usize) {
        let due = Due { target, told_before, place: probe.told(), seen: watcher.shared() };
        locked(&self.dues).insert(self.n, due);
    }
}

/// ARRIVING frames missing and doubled over all orders: one is due for each leg.
async fn arrivals(driven: Vec<Driven>) -> Arrivals {
    let mut arrivals = Arrivals { orders: driven.len() as u64, ..Arrivals::default() };
    for Driven { booked, watcher } in driven {
        let seen = watcher.end().await;
        let ids: BTreeSet<&str> = seen
            .frames
            .iter()
            .filter(|(_, frame)| frame["event"] == "ARRIVING")
            .filter_map(|(_, frame)| frame["event_id"].as_str())
            .collect();
        let (distinct, all) = (ids.len() as u64, seen.count("ARRIVING") as u64);
        if distinct != 2 || all != 2 {
            eprintln!(
                "{}: ARRIVING {distinct} distinct, {all} frames, {} breaks",
                booked.order_id, seen.breaks
            );
        }
        arrivals.missing += 2_u64.saturating_sub(distinct);
        arrivals.doubled += all.saturating_sub(distinct) + distinct.saturating_sub(2);
    }
    arrivals
}
