//! `POST payments/initiate`, `GET payments/status/{orderId}`.
//!
//! In:    an order of the caller's.
//! Out:   what to do now, and where the money stands.
//! Never: starts a second attempt beside an open one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use inzira_schemas::Problem;
use inzira_schemas::states::OrderState;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::phone::Phone;
use crate::app::App;
use crate::error::ApiError;
use crate::http::body::Body;
use crate::http::guard::Person;
use crate::orders::store::{self, Change};
use crate::orders::view;
use crate::payments::attempts::{self, Payment};

/// The body of `POST payments/initiate`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initiate {
    /// Which order.
    #[serde(alias = "orderId")]
    order_id: String,
    /// Who pays; the order's phone when absent.
    #[serde(default)]
    phone: Option<String>,
}

/// Asks for the money of an order; the open attempt when there is one.
pub async fn initiate(
    State(app): State<Arc<App>>,
    person: Person,
    body: Body<Initiate>,
) -> Result<Json<Value>, ApiError> {
    let wish = body.value;
    let found = view::mine(&app, &person, &wish.order_id).await?;
    let payer = match &wish.phone {
        Some(text) => Phone::parse(text)?,
        None => view::phone(&app.keys, &found)?,
    };
    let now = app.now();
    let mut tx = app.db.begin(&person.actor()).await?;
    let mut order =
        store::lock(&mut tx, &wish.order_id).await?.ok_or_else(|| Problem::not_found("order"))?;
    if order.state == OrderState::PaymentFailed {
        let tried = attempts::of_locked_order(&mut tx, &order.order_id).await?.len();
        if i64::try_from(tried).unwrap_or(i64::MAX) >= app.config.payments.attempts_max {
            let detail = "the order is out of attempts; make a new one";
            return Err(Problem::conflict("not_payable", detail).into());
        }
        let to = OrderState::PendingPayment;
        let change = Change { to, driver_id: None, reason: "another attempt", at: now };
        store::change(&mut tx, &mut order, change).await?;
    }
    let payment = attempts::open(&app, &mut tx, &order, &payer, now).await?;
    app.commit(tx).await?;
    app.bells.payments.notify_one();
    Ok(Json(answer(&payment)))
}

/// What a payer is told.
pub fn answer(payment: &Payment) -> Value {
    json!({
        "type": "ussd",
        "transactionId": payment.payment_id,
        "message": format!("confirm {} on your phone", payment.amount()),
    })
}

/// Where the money of an order stands.
pub async fn status(
    State(app): State<Arc<App>>,
    person: Person,
    Path(order_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let order = view::mine(&app, &person, &order_id).await?;
    let attempts = attempts::of_order(&app.db, &order_id).await?;
    let newest = attempts.first();
    Ok(Json(json!({
        "orderId": order.order_id,
        "order_state": order.state,
        "state": newest.map(|payment| payment.state),
        "transactionId": newest.map(|payment| payment.payment_id.clone()),
        "attempt": newest.map(|payment| payment.attempt),
        "provider": newest.map(|payment| payment.provider.clone()),
        "currency": order.currency,
        "amount_minor": newest.map_or(order.gross_minor, |payment| payment.amount_minor),
        "refunded_minor": newest.map_or(0, |payment| payment.refunded_minor),
        "failure_code": newest.and_then(|payment| payment.failure_code.clone()),
    })))
}
