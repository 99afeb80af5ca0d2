//! A phone that numbers its fixes, sends each until it is answered, and tells the ledger.
//!
//! In:    a vehicle, a device token, the ledger.
//! Out:   one fix a tick, in order, however often the service dies in between.
//! Keeps: the fix that was not answered yet, as a real phone does.

use std::sync::Arc;
use std::time::Duration;

use inzira_schemas::{Clock, Point, SystemClock};
use inzira_simulators::client::{Service, Vehicle};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Answer, FixName, Ledger};

/// A phone of our own.
pub struct Probe {
    /// Where to, and the connection pool.
    pub service: Service,
    /// Whose.
    pub vehicle: Vehicle,
    /// The client's own record.
    pub ledger: Arc<Ledger>,
    seq: u64,
    told: watch::Sender<Option<Point>>,
}

/// Between two tries of one fix.
const RETRY: Duration = Duration::from_millis(100);
/// A request that is not answered within this is tried again.
const PATIENCE: Duration = Duration::from_secs(5);

impl Probe {
    /// A phone that begins its numbers at 1.
    pub fn new(service: Service, vehicle: Vehicle, ledger: Arc<Ledger>) -> Self {
        Self { service, vehicle, ledger, seq: 0, told: watch::Sender::default() }
    }

    /// How many fixes it has sent.
    pub fn sent(&self) -> u64 {
        self.seq
    }

    /// The place of the newest fix that was answered.
    pub fn told(&self) -> watch::Receiver<Option<Point>> {
        self.told.subscribe()
    }

    /// Sends one fix until it is answered. False when stopped before that.
    pub async fn send(
        &mut self,
        place: Point,
        speed_mps: f64,
        bearing_deg: f64,
        stop: &CancellationToken,
    ) -> anyhow::Result<bool> {
        self.seq += 1;
        let body = json!({
            "seq": self.seq,
            "measured_at": SystemClock.now().to_rfc3339(),
            "lat": place.lat,
            "lon": place.lon,
            "accuracy_m": 6.0,
            "speed_mps": speed_mps,
            "bearing_deg": bearing_deg,
        });
        let name = FixName { device_id: self.vehicle.device_id.clone(), seq: self.seq };
        loop {
            self.ledger.invoke(&name)?;
            let answer = self.post(&body).await;
            self.ledger.end(&name, answer)?;
            if answer == Answer::Taken {
                self.told.send_replace(Some(place));
                return Ok(true);
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = stop.cancelled() => return Ok(false),
            }
        }
    }

    async fn post(&self, body: &Value) -> Answer {
        let request = self
            .service
            .http()
            .post(self.service.url("/api/v1/tracking/location"))
            .bearer_auth(&self.vehicle.token)
            .timeout(PATIENCE)
            .json(body);
        let Ok(response) = request.send().await else { return Answer::Silence };
        match response.status() {
            status if status.is_success() => Answer::Taken,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
                if response.headers().contains_key("retry-after") =>
            {
                Answer::Later
            }
            status => {
                eprintln!("a phone was answered {status}");
                Answer::Odd
            }
        }
    }
}
