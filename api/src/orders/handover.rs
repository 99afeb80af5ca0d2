//! What happens to an order after it is paid: assigned by hand, picked up, delivered, cancelled.
//!
//! In:    its driver, its owner, the desk.
//! Out:   one step of the machine each, in one transaction with its money.
//! Never: delivers without the PIN; takes a sixth try.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use inzira_schemas::states::OrderState;
use inzira_schemas::{DriverId, OrderId, Problem};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::assignment;
use crate::audit;
use crate::db::Tx;
use crate::error::ApiError;
use crate::http::body::Body;
use crate::http::guard::Person;
use crate::messages;
use crate::orders::store::{self, Change, Order};
use crate::orders::{pin, view};
use crate::payments::settle;
use crate::secrets::hex;

/// Longest reason.
const REASON_CHARS_MAX: usize = 200;

/// A body that may give a reason.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reason {
    reason: String,
}

impl Reason {
    fn text(&self) -> String {
        self.reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
    }
}

/// The body of `POST orders/{id}/deliver`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    pin: String,
    #[serde(default)]
    signature_png: Option<String>,
}

/// The body of `POST orders/{id}/assign`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    driver_id: String,
    #[serde(default)]
    reason: String,
}

/// Locks an order that the person may see.
async fn locked(app: &App, person: &Person, order_id: &str) -> Result<(Tx, Order), ApiError> {
    let known = OrderId::parse(order_id).map_err(|_| Problem::not_found("order"))?;
    let mut tx = app.db.begin(&person.actor()).await?;
    let order = store::lock(&mut tx, known.as_str()).await?;
    let order = order
        .filter(|order| view::may_see(person, order))
        .ok_or_else(|| Problem::not_found("order"))?;
    Ok((tx, order))
}

fn carries(person: &Person, order: &Order) -> bool {
    order.driver_id.as_ref() == Some(&person.actor_id)
}

/// `POST orders/{id}/cancel`: its owner or the desk; captured money goes back.
pub async fn cancel(
    State(app): State<Arc<App>>,
    person: Person,
    Path(order_id): Path<String>,
    body: Body<Reason>,
) -> Result<Json<Value>, ApiError> {
    let (mut tx, mut order) = locked(&app, &person, &order_id).await?;
    if !view::may_steer(&person, &order) {
        return Err(Problem::forbidden().into());
    }
    let now = app.now();
    let driver_id = order.driver_id.clone();
    let reason = body.value.text();
    let change = Change { to: OrderState::Cancelled, driver_id, reason: &reason, at: now };
    store::change(&mut tx, &mut order, change).await?;
    settle::let_go(&mut tx, &order, now).await?;
    audit::note(&mut tx, "order.cancelled", &order_id, &reason, now).await?;
    app.commit(tx).await?;
    app.bells.payments.notify_one();
    close_live(&app, &order).await;
    Ok(Json(view::of(&app.keys, &person, &order)?))
}

/// `POST orders/{id}/pickup`: its driver, or the desk for them.
pub async fn pickup(
    State(app): State<Arc<App>>,
    person: Person,
    Path(order_id): Path<String>,
    body: Body<Reason>,
) -> Result<Json<Value>, ApiError> {
    let (mut tx, mut order) = locked(&app, &person, &order_id).await?;
    if !carries(&person, &order) && !person.is_desk() {
        return Err(Problem::forbidden().into());
    }
    let now = app.now();
    let driver_id = order.driver_id.clone();
    let reason = body.value.text();
    let change = Change { to: OrderState::PickedUp, driver_id, reason: &reason, at: now };
    store::change(&mut tx, &mut order, change).await?;
    messages::to_order(&app, &mut tx, &order, "order.picked_up", &[], now).await?;
    app.commit(tx).await?;
    Ok(Json(view::of(&app.keys, &person, &order)?))
}

/// `POST orders/{id}/deliver`: its driver, with the receiver's PIN.
pub async fn deliver(
    State(app): State<Arc<App>>,
    person: Person,
    Path(order_id): Path<String>,
    body: Body<Delivery>,
) -> Result<Json<Value>, ApiError> {
    let signature = signature(body.value.signature_png.as_deref())?;
    let (mut tx, mut order) = locked(&app, &person, &order_id).await?;
    if !carries(&person, &order) && !person.is_desk() {
        return Err(Problem::forbidden().into());
    }
    if order.state != OrderState::PickedUp {
        let detail = format!("an order that is {} cannot become delivered", order.state);
        return Err(Problem::conflict("order_state", detail).into());
    }
    if order.pin_locked != 0 {
        return Err(locked_out());
    }
    if !pin::fits(&app.keys, &order_id, &body.value.pin, &order.pin_hash) {
        return wrong_pin(&app, tx, &mut order).await;
    }
    let now = app.now();
    order.signature_sha256 = signature;
    let driver_id = order.driver_id.clone();
    let change = Change { to: OrderState::Delivered, driver_id, reason: "pin", at: now };
    store::change(&mut tx, &mut order, change).await?;
    settle::release(&mut tx, &order, now).await?;
    assignment::now_idle(&mut tx, &order, now).await?;
    messages::to_order(&app, &mut tx, &order, "order.delivered", &[], now).await?;
    app.commit(tx).await?;
    close_live(&app, &order).await;
    Ok(Json(view::of(&app.keys, &person, &order)?))
}

/// Counts the try, in a transaction of its own that commits although the delivery does not.
async fn wrong_pin(app: &App, mut tx: Tx, order: &mut Order) -> Result<Json<Value>, ApiError> {
    let tries = order.pin_tries + 1;
    let locked = tries >= pin::TRIES_MAX;
    sqlx::query("UPDATE orders SET pin_tries = $2, pin_locked = $3 WHERE order_id = $1")
        .bind(order.order_id.clone())
        .bind(tries)
        .bind(i64::from(locked))
        .execute(tx.conn())
        .await?;
    let now = app.now();
    audit::note(&mut tx, "order.wrong_pin", &order.order_id, &tries.to_string(), now).await?;
    app.commit(tx).await?;
    if locked {
        return Err(locked_out());
    }
    let detail = format!("the PIN does not fit; {} tries left", pin::TRIES_MAX - tries);
    Err(Problem::new(StatusCode::FORBIDDEN, "wrong_pin", detail).into())
}

fn locked_out() -> ApiError {
    let detail = "too many wrong PINs: an operator must unlock the order";
    Problem::new(StatusCode::LOCKED, "pin_locked", detail).into()
}

/// The SHA-256 of a PNG in base 64; the picture itself is not kept here.
fn signature(encoded: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(encoded) = encoded else { return Ok(None) };
    let wrong = || ApiError::invalid("signature_png", "signature_png is a PNG in base 64");
    let body = encoded.strip_prefix("data:image/png;base64,").unwrap_or(encoded);
    let bytes = STANDARD.decode(body).map_err(|_| wrong())?;
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Err(wrong());
    }
    Ok(Some(hex(&Sha256::digest(&bytes))))
}

/// `POST orders/{id}/unlock`: the desk gives the receiver a fresh PIN and five tries.
pub async fn unlock(
    State(app): State<Arc<App>>,
    person: Person,
    Path(order_id): Path<String>,
    body: Body<Reason>,
) -> Result<Json<Value>, ApiError> {
    let (mut tx, mut order) = locked(&app, &person, &order_id).await?;
    let now = app.now();
    let (fresh, pin_hash) = pin::fresh(&app.keys, &order_id);
    sqlx::query(
        "UPDATE orders SET pin_hash = $2, pin_tries = 0, pin_locked = 0 WHERE order_id = $1",
    )
    .bind(order_id.clone())
    .bind(pin_hash.clone())
    .execute(tx.conn())
    .await?;
    (order.pin_tries, order.pin_locked, order.pin_hash) = (0, 0, pin_hash);
    messages::to_order(&app, &mut tx, &order, "order.pin", &[&fresh], now).await?;
    audit::note(&mut tx, "order.pin_unlocked", &order_id, &body.value.text(), now).await?;
    app.commit(tx).await?;
    Ok(Json(view::of(&app.keys, &person, &order)?))
}

/// `POST orders/{id}/assign`: the desk picks the driver, also instead of another.
pub async fn assign(
    State(app): State<Arc<App>>,
    person: Person,
    Path(order_id): Path<String>,
    body: Body<Assignment>,
) -> Result<Json<Value>, ApiError> {
    let wish = body.value;
    let driver_id = DriverId::parse(&wish.driver_id)
        .map_err(|error| ApiError::invalid("driver_id", error.to_string()))?;
    let (mut tx, mut order) = locked(&app, &person, &order_id).await?;
    let now = app.now();
    let reason = Reason { reason: wish.reason }.text();
    let bound = assignment::bind(&app, &mut tx, &mut order, driver_id.as_str(), &reason, now).await;
    match bound {
        Ok(true) => {}
        Ok(false) => {
            return Err(ApiError::invalid("driver_id", "no such driver, or not an active one"));
        }
        Err(error) if error.is_unique_violation() => return Err(assignment::busy()),
        Err(error) => return Err(error),
    }
    audit::note(&mut tx, "order.assigned_by_hand", &order_id, driver_id.as_str(), now).await?;
    app.commit(tx).await?;
    Ok(Json(view::of(&app.keys, &person, &order)?))
}

/// A closed order's last position is of no more use; failing to drop it harms nobody.
async fn close_live(app: &App, order: &Order) {
    if let Ok(order_id) = order.order_id.parse()
        && let Err(error) = app.bus.close(&order_id).await
    {
        tracing::debug!(error = %error, "a closed order stays on the live bus");
    }
}
