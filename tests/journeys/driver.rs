//! A driver with a phone, and an order for exactly that driver, from booking to hand-over.
//!
//! In:    an operator's log-in, a probe, two places.
//! Out:   the order's id, its share token, its PIN; a drive along a straight line.
//! Keeps: trying, since the service may die at any moment: every write carries one idempotency key.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use inzira_schemas::Point;
use inzira_simulators::client::{ClientError, Service, ulid_like};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::probe::Probe;

/// An order that a test made.
#[derive(Debug, Clone)]
pub struct Booked {
    /// Its id.
    pub order_id: String,
    /// What the customer would tell the driver at the door.
    pub pin: String,
    /// Opens the live channel.
    pub share: String,
}

/// How long a call is tried before the test fails.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long one try of it waits for an answer.
const TRY_MAX: Duration = Duration::from_secs(5);

/// `POST` that is repeated with one idempotency key until it is answered.
pub async fn post_until(service: &Service, path: &str, body: &Value) -> anyhow::Result<Value> {
    let (key, began) = (ulid_like(), Instant::now());
    loop {
        let outcome = tokio::time::timeout(TRY_MAX, service.post_as(&key, path, body)).await;
        match outcome {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if is_final(&error) => return Err(error.into()),
            Ok(Err(error)) if began.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) if began.elapsed() > PATIENCE => bail!("{path}: no answer for {PATIENCE:?}"),
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Whether trying again would bring the same answer.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { status, .. } => {
            status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS
        }
        ClientError::NoAnswer { .. } => false,
        ClientError::Odd { .. } => true,
    }
}

/// Moves an order a step. A step that was taken by a try whose answer was lost is refused the
/// second time: then the order itself tells.
pub async fn step_until(
    service: &Service,
    order_id: &str,
    step: &str,
    body: &Value,
    done: impl Fn(&Value) -> bool,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/orders/{order_id}");
    match post_until(service, &format!("{path}/{step}"), body).await {
        Ok(_) => Ok(()),
        Err(refused) => match service.get(&path).await {
            Ok(order) if done(&order) => Ok(()),
            _ => Err(refused),
        },
    }
}

/// `GET` that is repeated until `wanted` holds of the answer.
pub async fn get_until(
    service: &Service,
    path: &str,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let began = Instant::now();
    let mut last = Value::Null;
    while began.elapsed() < PATIENCE {
        match service.get(path).await {
            Ok(answer) if wanted(&answer) => return Ok(answer),
            Ok(answer) => last = answer,
            Err(ClientError::NoAnswer { .. }) => {}
            Err(error) => last = json!(error.to_string()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("{path} never became as wanted; last: {last}")
}

/// Books a ride and binds it to one driver.
pub async fn book(
    operator: &Service,
    driver_id: &str,
    pickup: Point,
    destination: Point,
) -> anyhow::Result<Booked> {
    let wish = json!({
        "kind": "delivery",
        "pickup": {"lat": pickup.lat, "lon": pickup.lon},
        "destination": {"lat": destination.lat, "lon": destination.lon},
        "phone": "+250788000111",
    });
    let order = post_until(operator, "/api/v1/orders", &wish).await?;
    let text = |name: &str| order[name].as_str().map(str::to_owned);
    let order_id = text("order_id").or_else(|| text("id")).context("an order without an id")?;
    let path = format!("/api/v1/orders/{order_id}");
    let paid = |order: &Value| {
        matches!(order["state"].as_str(), Some("confirmed" | "confirmed_no_driver" | "assigned"))
    };
    let now = get_until(operator, &path, paid).await?;
    if now["driver_id"].as_str() != Some(driver_id) {
        let bound = |order: &Value| order["driver_id"].as_str() == Some(driver_id);
        step_until(operator, &order_id, "assign", &json!({"driver_id": driver_id}), bound).await?;
    }
    let share = post_until(operator, &format!("{path}/share"), &json!({})).await?;
    Ok(Booked {
        order_id,
        pin: text("pin").unwrap_or_default(),
        share: share["token"].as_str().context("a share without a token")?.to_owned(),
    })
}

/// Drives in a straight line, a fix a tick, until `place` is reached or the stop.
pub async fn drive(
    probe: &mut Probe,
    from: Point,
    to: Point,
    speed_mps: f64,
    tick: Duration,
    stop: &CancellationToken,
) -> anyhow::Result<bool> {
    let whole_m = from.distance_m(to);
    let bearing_deg = from.bearing_deg(to);
    let began = Instant::now();
    loop {
        let driven_m = (began.elapsed().as_secs_f64() * speed_mps).min(whole_m);
        let share = if whole_m > 0.0 { driven_m / whole_m } else { 1.0 };
        let place = Point {
            lat: from.lat + (to.lat - from.lat) * share,
            lon: from.lon + (to.lon - from.lon) * share,
        };
        let there = driven_m >= whole_m;
        let speed_now_mps = if there { 0.0 } else { speed_mps };
        if !probe.send(place, speed_now_mps, bearing_deg, stop).await? {
            return Ok(false);
        }
        if there {
            return Ok(true);
        }
        tokio::select! {
            () = tokio::time::sleep(tick) => {}
            () = stop.cancelled() => return Ok(false),
        }
    }
}
