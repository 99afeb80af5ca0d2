//! A customer of the made-up fleet: orders, waits for a driver, watches it come, orders again.
//!
//! In:    a service, the vehicles by their driver.
//! Out:   jobs for the vehicle that matching chose; every order that moves is told.
//! Never: chooses the driver: that is the service's to do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use inzira_schemas::Point;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Moving, roads};
use crate::client::{ClientError, Service};

/// Jobs that wait for one vehicle; matching gives it one at a time.
pub const JOBS_MAX: usize = 4;
/// Between two looks at an order.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Phones report first, so that somebody is near; and the pause after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// An order for the vehicle that it was given to.
#[derive(Debug)]
pub struct Job {
    /// The order.
    pub order_id: String,
    /// What the customer tells at the door.
    pub pin: String,
    /// Where it is fetched.
    pub pickup: Point,
    /// Where it goes.
    pub destination: Point,
}

/// The vehicles by their driver's id.
pub type Board = HashMap<String, mpsc::Sender<Job>>;

/// One customer.
pub struct Customer {
    pub service: Service,
    pub board: Arc<Board>,
    pub moving: mpsc::Sender<Moving>,
    pub random: StdRng,
    pub n: usize,
}

impl Customer {
    /// One order after the other until the stop.
    pub async fn live(mut self, stop: CancellationToken) {
        let everything = async {
            loop {
                tokio::time::sleep(PAUSE).await;
                if let Err(error) = self.order_once().await {
                    tracing::warn!(customer = self.n, %error, "an order of the fleet failed");
                }
            }
        };
        tokio::select! {
            () = everything => {}
            () = stop.cancelled() => {}
        }
    }

    async fn order_once(&mut self) -> Result<(), ClientError> {
        let from = self.random.random_range(0..roads::count());
        let to = (from + 3 + self.random.random_range(0..9)) % roads::count();
        let (pickup, destination) = (roads::junction(from), roads::junction(to));
        let order = self.book(pickup, destination).await?;
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let order_id = text(&order, "order_id");
        let path = format!("/api/v1/orders/{order_id}");
        let assigned = self.until(&path, |state| state == "assigned").await?;
        let Some(vehicle) = self.board.get(&text(&assigned, "driver_id")) else {
            // Nobody near, or a driver that is not ours.
            return Ok(());
        };
        let pin = text(&order, "pin");
        let job = Job { order_id: order_id.clone(), pin: pin.clone(), pickup, destination };
        if vehicle.try_send(job).is_err() {
            tracing::warn!(order_id, "the vehicle takes no more jobs");
        }
        let share = text(&self.service.post(&format!("{path}/share"), &json!({})).await?, "token");
        let names: Vec<&str> = roads::names().collect();
        let way = format!("{} to {}", names[from], names[to]);
        if self.moving.try_send(Moving { order_id, share, pin, way }).is_err() {
            tracing::debug!("nobody listens for moving orders");
        }
        self.until(&path, |_| false).await?;
        Ok(())
    }

    async fn book(&self, pickup: Point, destination: Point) -> Result<Value, ClientError> {
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
        self.service.post("/api/v1/orders", &wish).await
    }

    /// The order once its state is as wanted, or once nothing more will come of it.
    async fn until(&self, path: &str, wanted: impl Fn(&str) -> bool) -> Result<Value, ClientError> {
        const ENDS: [&str; 4] = ["delivered", "cancelled", "payment_failed", "confirmed_no_driver"];
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let order = self.service.get(path).await?;
            let state = order["state"].as_str().unwrap_or_default();
            if wanted(state) || ENDS.contains(&state) {
                return Ok(order);
            }
        }
    }
}
