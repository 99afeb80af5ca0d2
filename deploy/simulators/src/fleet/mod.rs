//! A made-up fleet in Kigali: phones that drive, customers that order, drivers that deliver.
//!
//! In:    a running service, an operator's log-in, how many phones, how fast.
//! Out:   fixes as phones send them, some of them late; orders from booking to PIN, over and over.
//! Keeps: going when the service is away: phones hold their fixes, customers try again.
//! Never: claims to be real traces.

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
    /// Of them, so many get orders one after the other.
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
    for (n, vehicle) in vehicles.into_iter().enumerate() {
        let actor = Actor {
            service: service.clone(),
            vehicle,
            plan,
            n,
            tally: tally.clone(),
            moving: moving.clone(),
            random: StdRng::seed_from_u64(plan.seed.wrapping_mul(1_000).wrapping_add(n as u64)),
            held: Vec::new(),
            out_until: None,
        };
        actors.spawn(actor.live(stop.clone()));
    }
    while actors.join_next().await.is_some() {}
    Ok(())
}

/// One driver with a phone.
struct Actor {
    service: Service,
    vehicle: Vehicle,
    plan: FleetPlan,
    n: usize,
    tally: Arc<Tally>,
    moving: mpsc::Sender<Moving>,
    random: StdRng,
    held: Vec<Value>,
    out_until: Option<Micros>,
}

impl Actor {
    async fn live(mut self, stop: CancellationToken) {
        let home = roads::junction(self.n * 7 + 3);
        let mut drive = Drive::standing(home, self.plan.seed + self.n as u64);
        while !stop.is_cancelled() {
            let outcome = if self.n < self.plan.with_orders {
                self.serve_one(&mut drive, &stop).await
            } else {
                let to = roads::junction(self.random.random_range(0..roads::count()));
                self.go(&mut drive, to, &stop).await;
                Ok(())
            };
            if let Err(error) = outcome {
                tracing::warn!(vehicle = %self.vehicle.label, %error, "an order of the fleet failed");
                self.wait(10.0, &mut drive, &stop).await;
            }
        }
    }

    /// One order from booking to PIN.
    async fn serve_one(
        &mut self,
        drive: &mut Drive,
        stop: &CancellationToken,
    ) -> Result<(), ClientError> {
        self.report(drive).await;
        let here = roads::nearest(drive.place());
        let from = (here + 1 + self.random.random_range(0..3)) % roads::count();
        let to = (from + 3 + self.random.random_range(0..9)) % roads::count();
        let (pickup, destination) = (roads::junction(from), roads::junction(to));
        let booked = self.book(pickup, destination).await?;
        let names: Vec<&str> = roads::names().collect();
        let way = format!("{} to {}", names[from], names[to]);
        let told = Moving { way, ..booked.clone() };
        if self.moving.try_send(told).is_err() {
            tracing::debug!("nobody listens for moving orders");
        }
        let path = format!("/api/v1/orders/{}", booked.order_id);
        self.go(drive, pickup, stop).await;
        self.wait(15.0, drive, stop).await;
        if stop.is_cancelled() {
            return Ok(());
        }
        self.service.post(&format!("{path}/pickup"), &json!({})).await?;
        self.go(drive, destination, stop).await;
        self.wait(30.0, drive, stop).await;
        if stop.is_cancelled() {
            return Ok(());
        }
        self.service.post(&format!("{path}/deliver"), &json!({"pin": booked.pin})).await?;
        self.tally.delivered.fetch_add(1, Ordering::Relaxed);
        self.wait(20.0, drive, stop).await;
        Ok(())
    }

    /// Books for exactly this driver, as an operator at the desk would.
    async fn book(&self, pickup: Point, destination: Point) -> Result<Moving, ClientError> {
        let place = |point: Point| json!({"lat": point.lat, "lon": point.lon});
        let kinds = ["delivery", "ride", "shipment_domestic"];
        let mut wish = json!({
            "kind": kinds[self.n % kinds.len()],
            "pickup": place(pickup),
            "destination": place(destination),
            "phone": format!("+25078800{:04}", self.n % 10_000),
        });
        if self.n % kinds.len() == 2 {
            wish["weight_g"] = json!(12_500);
        }
        let order = self.service.post("/api/v1/orders", &wish).await?;
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let order_id = text(&order, "order_id");
        let path = format!("/api/v1/orders/{order_id}");
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.service.get(&path).await?;
            match now["state"].as_str() {
                Some("assigned") if now["driver_id"] == self.vehicle.driver_id.as_str() => break,
                Some("confirmed" | "confirmed_no_driver" | "assigned") => {
                    let body = json!({"driver_id": self.vehicle.driver_id});
                    let bound = self.service.post(&format!("{path}/assign"), &body).await;
                    if let Err(refused) = bound {
                        // Another vehicle was nearer and this one has another's order: let go, so
                        // that both are free for the next try.
                        let reason = json!({"reason": "another vehicle was nearer"});
                        self.service.post(&format!("{path}/cancel"), &reason).await?;
                        return Err(refused);
                    }
                    break;
                }
                _ => {}
            }
        }
        let share = self.service.post(&format!("{path}/share"), &json!({})).await?;
        Ok(Moving {
            order_id,
            share: text(&share, "token"),
            pin: text(&order, "pin"),
            way: String::new(),
        })
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
