//! A made-up fleet in Kigali: phones that drive, customers that order, drivers that deliver.
//!
//! In:    a running service, an operator's log-in, how many phones, how fast.
//! Out:   fixes as phones send them, some of them late; orders from booking to PIN, over and over.
//! Keeps: going when the service is away: phones hold their fixes, customers try again.
//! Never: claims to be real traces.

mod customer;
mod drive;
mod roads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use inzira_schemas::{Clock, Micros, Point, SystemClock};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{ClientError, Service, Vehicle};
use customer::{Board, Customer, JOBS_MAX, Job};
use drive::Drive;

/// Phones report so often (mission: every 5 s), less the pace.
const REPORT_S: f64 = 5.0;
/// One phone in so many loses its network now and then.
const FLAKY_ONE_IN: usize = 8;
/// Fixes that a phone holds while it has no network.
const HELD_MAX: usize = 720;

/// How a fleet plays.
#[derive(Debug, Clone, Copy)]
pub struct FleetPlan {
    /// Phones on the road.
    pub drivers: usize,
    /// Customers who order one thing after the other.
    pub with_orders: usize,
    /// Times as fast as life, 1 to 5: beyond that no filter would believe the speeds.
    pub speed: f64,
    /// Seed of every choice.
    pub seed: u64,
}

/// An order that moves, as soon as its page can be opened.
#[derive(Debug, Clone)]
pub struct Moving {
    /// The order.
    pub order_id: String,
    /// Opens `/t/{token}`.
    pub share: String,
    /// What the customer tells at the door.
    pub pin: String,
    /// From where to where, in words.
    pub way: String,
}

/// What the fleet has done so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// Fixes that were answered.
    pub fixes: AtomicU64,
    /// Orders that were delivered.
    pub delivered: AtomicU64,
}

/// Plays until the stop. Every order that moves is told to `moving`.
pub async fn play(
    service: Service,
    plan: FleetPlan,
    tally: Arc<Tally>,
    moving: mpsc::Sender<Moving>,
    stop: CancellationToken,
) -> Result<(), ClientError> {
    let labels: Vec<String> = (1..=plan.drivers).map(|n| format!("moto {n:03}")).collect();
    let vehicles = service.enrol(&labels).await?;
    let mut actors = JoinSet::new();
    let mut board = Board::new();
    for (n, vehicle) in vehicles.into_iter().enumerate() {
        let (jobs_in, jobs) = mpsc::channel(JOBS_MAX);
        board.insert(vehicle.driver_id.clone(), jobs_in);
        let actor = Actor {
            service: service.clone(),
            vehicle,
            plan,
            n,
            tally: tally.clone(),
            jobs,
            job: None,
            random: seeded(plan, n),
            held: Vec::new(),
            out_until: None,
        };
        actors.spawn(actor.live(stop.clone()));
    }
    let board = Arc::new(board);
    for n in 0..plan.with_orders {
        let customer = Customer {
            service: service.clone(),
            board: board.clone(),
            moving: moving.clone(),
            random: seeded(plan, plan.drivers + n),
            n,
        };
        actors.spawn(customer.live(stop.clone()));
    }
    while actors.join_next().await.is_some() {}
    Ok(())
}

fn seeded(plan: FleetPlan, n: usize) -> StdRng {
    StdRng::seed_from_u64(plan.seed.wrapping_mul(1_000).wrapping_add(n as u64))
}

/// One driver with a phone.
struct Actor {
    service: Service,
    vehicle: Vehicle,
    plan: FleetPlan,
    n: usize,
    tally: Arc<Tally>,
    jobs: mpsc::Receiver<Job>,
    /// A job that came while it roamed.
    job: Option<Job>,
    random: StdRng,
    held: Vec<Value>,
    out_until: Option<Micros>,
}

impl Actor {
    async fn live(mut self, stop: CancellationToken) {
        let home = roads::junction(self.n * 7 + 3);
        let mut drive = Drive::standing(home, self.plan.seed + self.n as u64);
        while !stop.is_cancelled() {
            if let Some(job) = self.next_job() {
                if let Err(error) = self.serve(&job, &mut drive, &stop).await {
                    tracing::warn!(vehicle = %self.vehicle.label, %error, "an order was not served");
                    self.wait(10.0, &mut drive, &stop).await;
                }
            } else {
                self.roam(&mut drive, &stop).await;
            }
        }
    }

    fn next_job(&mut self) -> Option<Job> {
        self.job.take().or_else(|| self.jobs.try_recv().ok())
    }

    /// Drives about until there is something to do.
    async fn roam(&mut self, drive: &mut Drive, stop: &CancellationToken) {
        let to = roads::junction(self.random.random_range(0..roads::count()));
        drive.go(roads::way(drive.place(), to));
        loop {
            self.tick(drive, stop).await;
            self.job = self.next_job();
            if self.job.is_some() || drive.there() || stop.is_cancelled() {
                return;
            }
        }
    }

    /// One order from where the vehicle is to the PIN.
    async fn serve(
        &mut self,
        job: &Job,
        drive: &mut Drive,
        stop: &CancellationToken,
    ) -> Result<(), ClientError> {
        let path = format!("/api/v1/orders/{}", job.order_id);
        self.go(drive, job.pickup, stop).await;
        self.wait(15.0, drive, stop).await;
        if stop.is_cancelled() {
            return Ok(());
        }
        self.service.post(&format!("{path}/pickup"), &json!({})).await?;
        self.go(drive, job.destination, stop).await;
        self.wait(30.0, drive, stop).await;
        if stop.is_cancelled() {
            return Ok(());
        }
        self.service.post(&format!("{path}/deliver"), &json!({"pin": job.pin})).await?;
        self.tally.delivered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Drives to a place, reporting on the way.
    async fn go(&mut self, drive: &mut Drive, to: Point, stop: &CancellationToken) {
        drive.go(roads::way(drive.place(), to));
        while !drive.there() && !stop.is_cancelled() {
            self.tick(drive, stop).await;
        }
    }

    /// Stands for a while, reporting.
    async fn wait(&mut self, seconds: f64, drive: &mut Drive, stop: &CancellationToken) {
        let ticks = (seconds / REPORT_S).ceil() as u32;
        for _ in 0..ticks {
            if stop.is_cancelled() {
                return;
            }
            self.tick(drive, stop).await;
        }
    }

    async fn tick(&mut self, drive: &mut Drive, stop: &CancellationToken) {
        let pause = Duration::from_secs_f64(REPORT_S / self.plan.speed);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        drive.pass(REPORT_S);
        self.report(drive).await;
    }

    /// Sends what is held and the newest fix, or holds it while the network is away.
    async fn report(&mut self, drive: &mut Drive) {
        let now = SystemClock.now();
        let fix = drive.fix(now);
        self.held.push(json!({
            "measured_at": fix.measured_at.to_rfc3339(),
            "lat": fix.lat,
            "lon": fix.lon,
            "accuracy_m": fix.accuracy_m,
            "speed_mps": fix.speed_mps.map(|speed_mps| speed_mps * self.plan.speed),
            "bearing_deg": fix.bearing_deg,
        }));
        if self.held.len() > HELD_MAX {
            self.held.remove(0);
        }
        if self.network_is_away(now) {
            return;
        }
        let request = self
            .service
            .http()
            .post(self.service.url("/api/v1/tracking/location"))
            .bearer_auth(&self.vehicle.token)
            .json(&self.held);
        if let Ok(response) = request.send().await
            && response.status().is_success()
        {
            self.tally.fixes.fetch_add(self.held.len() as u64, Ordering::Relaxed);
            self.held.clear();
        }
    }

    fn network_is_away(&mut self, now: Micros) -> bool {
        if self.n % FLAKY_ONE_IN != FLAKY_ONE_IN - 1 {
            return false;
        }
        if self.out_until.is_none_or(|until| until < now) && self.random.random_bool(0.01) {
            self.out_until = Some(now.plus_secs(self.random.random_range(60..420)));
        }
        self.out_until.is_some_and(|until| now < until)
    }
}
