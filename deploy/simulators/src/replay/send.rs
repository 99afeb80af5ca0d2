//! Sends planned fixes: one task a vehicle, its fixes in order, a bounded number at once.
//!
//! In:    vehicle plans and the devices they send as.
//! Out:   counts, and every answered request to a ledger if one listens.
//! Keeps: each fix until it is answered, as a phone does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use inzira_schemas::Micros;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::summary::{Answer, Counts, Summary};
use super::{Planned, VehiclePlan};
use crate::client::{ClientError, Service, Vehicle};
use crate::traces::TracePoint;

/// How a phone speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Our own JSON.
    Json,
    /// Traccar Client's form.
    Osmand,
    /// OwnTracks over HTTP.
    Owntracks,
}

/// How a replay can end early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The vehicles could not be enrolled.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A request was refused for good.
    #[error("vehicle {vehicle}: {status}: {body}")]
    Refused {
        /// Which.
        vehicle: String,
        /// Status.
        status: StatusCode,
        /// The service's words.
        body: String,
    },
}

/// A replay that is ready to go.
pub struct Replay {
    /// Where to.
    pub service: Service,
    /// How the phones speak.
    pub protocol: Protocol,
    /// Fixes a request at most; 1 as phones do. Our own JSON only.
    pub batch_fixes: usize,
    /// Vehicles that send at the same moment; the rest wait their turn.
    pub connections: usize,
    /// Grows as answers come.
    pub counts: Arc<Counts>,
    /// Ends the replay early.
    pub stop: CancellationToken,
}

/// The longest wait between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A fix that nobody answers for so long is given up and counted as unsent.
const SILENCE_MAX: Duration = Duration::from_secs(300);

impl Replay {
    /// Enrols the vehicles and plays every plan to its end.
    pub async fn run(&self, plans: Vec<VehiclePlan>) -> Result<Summary, ReplayError> {
        let labels: Vec<String> = plans.iter().map(|plan| plan.vehicle.clone()).collect();
        let devices: HashMap<String, Vehicle> = self
            .service
            .enrol(&labels)
            .await?
            .into_iter()
            .map(|vehicle| (vehicle.label.clone(), vehicle))
            .collect();
        self.run_as(plans, &devices).await
    }

    /// Plays every plan as the given devices, by label.
    pub async fn run_as(
        &self,
        plans: Vec<VehiclePlan>,
        devices: &HashMap<String, Vehicle>,
    ) -> Result<Summary, ReplayError> {
        let started = Instant::now();
        let turns = Arc::new(Semaphore::new(self.connections.max(1)));
        let mut vehicles = JoinSet::new();
        for plan in plans {
            let Some(device) = devices.get(&plan.vehicle) else { continue };
            let phone = Phone {
                service: self.service.clone(),
                device: device.clone(),
                protocol: self.protocol,
                counts: self.counts.clone(),
                stop: self.stop.clone(),
            };
            let batch_fixes =
                if self.protocol == Protocol::Json { self.batch_fixes.max(1) } else { 1 };
            let turns = turns.clone();
            vehicles
                .spawn(async move { phone.play(plan.fixes, batch_fixes, started, turns).await });
        }
        while let Some(ended) = vehicles.join_next().await {
            if let Ok(Err(error)) = ended {
                vehicles.shutdown().await;
                return Err(error);
            }
        }
        Ok(self.counts.summary(started.elapsed()))
    }
}

/// One phone.
struct Phone {
    service: Service,
    device: Vehicle,
    protocol: Protocol,
    counts: Arc<Counts>,
    stop: CancellationToken,
}

impl Phone {
    async fn play(
        &self,
        fixes: Vec<Planned>,
        batch_fixes: usize,
        started: Instant,
        turns: Arc<Semaphore>,
    ) -> Result<(), ReplayError> {
        let mut rest = fixes.as_slice();
        while let Some(first) = rest.first() {
            let due = started + Duration::from_micros(u64::try_from(first.wait_us).unwrap_or(0));
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                () = self.stop.cancelled() => {}
            }
            let now_us = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
            let ready =
                rest.iter().take(batch_fixes).take_while(|fix| fix.wait_us <= now_us).count();
            let (batch, later) = rest.split_at(ready.max(1));
            let points: Vec<TracePoint> = batch.iter().map(|fix| fix.point).collect();
            let turn = turns.acquire().await;
            self.send(&points).await?;
            drop(turn);
            rest = later;
        }
        Ok(())
    }

    /// Sends until it is answered, waiting longer each time.
    async fn send(&self, points: &[TracePoint]) -> Result<(), ReplayError> {
        let fixes = points.len() as u64;
        let began = Instant::now();
        let mut pause = Duration::from_millis(200);
        loop {
            if self.stop.is_cancelled() || began.elapsed() > SILENCE_MAX {
                self.counts.unsent.fetch_add(fixes, Ordering::Relaxed);
                return Ok(());
            }
            let wait = match self.request(points).send().await {
                Ok(response) if response.status().is_success() => {
                    let answer = match self.protocol {
                        Protocol::Json => response.json().await.unwrap_or_default(),
                        _ => Answer::taken(fixes),
                    };
                    self.counts.add(fixes, answer);
                    return Ok(());
                }
                Ok(response)
                    if response.status().is_client_error() && !retryable(response.status()) =>
                {
                    return Err(self.refused(response).await);
                }
                Ok(response) => retry_after(&response).unwrap_or(pause),
                Err(_) => pause,
            };
            self.counts.retries.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn refused(&self, response: reqwest::Response) -> ReplayError {
        let status = response.status();
        let body = response.text().await.unwrap_or_default().chars().take(300).collect();
        ReplayError::Refused { vehicle: self.device.label.clone(), status, body }
    }

    fn request(&self, points: &[TracePoint]) -> RequestBuilder {
        let http = self.service.http();
        match (self.protocol, points.first()) {
            (Protocol::Osmand, Some(point)) => http
                .post(self.service.url("/osmand"))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(osmand(&self.device.token, point)),
            (Protocol::Owntracks, Some(point)) => http
                .post(self.service.url("/owntracks"))
                .basic_auth(&self.device.device_id, Some(&self.device.token))
                .json(&owntracks(point)),
            _ => {
                let fixes: Vec<Value> = points.iter().map(own).collect();
                http.post(self.service.url("/api/v1/tracking/location"))
                    .bearer_auth(&self.device.token)
                    .json(&fixes)
            }
        }
    }
}

fn retryable(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let text = response.headers().get("retry-after")?.to_str().ok()?;
    Some(Duration::from_secs(text.parse().ok()?).min(PAUSE_MAX))
}

/// Our own JSON: what is absent is left out.
fn own(point: &TracePoint) -> Value {
    let mut fix = Map::new();
    fix.insert("measured_at".to_owned(), json!(point.measured_at.to_rfc3339()));
    fix.insert("lat".to_owned(), json!(point.lat));
    fix.insert("lon".to_owned(), json!(point.lon));
    for (name, value) in [
        ("accuracy_m", point.accuracy_m),
        ("altitude_m", point.altitude_m),
        ("speed_mps", point.speed_mps),
        ("bearing_deg", point.bearing_deg),
        ("battery_pct", point.battery_pct),
    ] {
        if let Some(value) = value {
            fix.insert(name.to_owned(), json!(value));
        }
    }
    Value::Object(fix)
}

/// Metres a second in one knot.
const MPS_PER_KNOT: f64 = 0.514_444;

/// Traccar Client 10: a form, speed in knots; milliseconds where seconds would lose something.
fn osmand(secret_id: &str, point: &TracePoint) -> String {
    let Micros(micros) = point.measured_at;
    let timestamp = if micros % 1_000_000 == 0 { micros / 1_000_000 } else { micros / 1_000 };
    let mut form =
        format!("id={secret_id}&lat={}&lon={}&timestamp={timestamp}", point.lat, point.lon);
    for (name, value) in [
        ("accuracy", point.accuracy_m),
        ("altitude", point.altitude_m),
        ("speed", point.speed_mps.map(|speed_mps| speed_mps / MPS_PER_KNOT)),
        ("bearing", point.bearing_deg),
        ("batt", point.battery_pct),
    ] {
        if let Some(value) = value {
            form.push_str(&format!("&{name}={value:.2}"));
        }
    }
    form
}

/// OwnTracks: whole metres and km/h, left out when 0.
fn owntracks(point: &TracePoint) -> Value {
    let mut message = Map::new();
    message.insert("_type".to_owned(), json!("location"));
    message.insert("lat".to_owned(), json!(point.lat));
    message.insert("lon".to_owned(), json!(point.lon));
    message.insert("tst".to_owned(), json!(point.measured_at.0 / 1_000_000));
    for (name, value) in [
        ("acc", point.accuracy_m),
        ("alt", point.altitude_m),
        ("vel", point.speed_mps.map(|speed_mps| speed_mps * 3.6)),
        ("cog", point.bearing_deg),
        ("batt", point.battery_pct),
    ] {
        let whole = value.map(|value| value.round() as i64).filter(|value| *value != 0);
        if let Some(whole) = whole {
            message.insert(name.to_owned(), json!(whole));
        }
    }
    Value::Object(message)
}
