//! The payments table: one row an attempt.
//!
//! In:    an order that wants paying; a new state of an attempt.
//! Out:   the row and its event, in one transaction.
//! Never: has two open attempts for one order (the database refuses the second).

use inzira_schemas::states::{OrderState, PaymentState};
use inzira_schemas::wire::{Envelope, PaymentEvent};
use inzira_schemas::{Currency, EVENT_SCHEMA, Micros, Money, PaymentId, Problem, event_id};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::accounts::phone::Phone;
use crate::accounts::users::phone_index;
use crate::app::App;
use crate::db::{Actor, Db, DbError, Tx};
use crate::error::ApiError;
use crate::orders::store::Order;
use crate::outbox;
use crate::secrets::Keys;

/// One attempt, as the database has it.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // the columns of the table, one to one
pub struct Payment {
    pub payment_id: String,
    pub order_id: String,
    pub version: i64,
    pub attempt: i64,
    pub provider: String,
    pub state: PaymentState,
    pub currency: Currency,
    pub amount_minor: i64,
    pub provider_fee_minor: i64,
    pub refunded_minor: i64,
    pub refund_pending_minor: i64,
    pub failure_code: Option<String>,
    pub provider_reference: Option<String>,
    pub payer_phone_sealed: Vec<u8>,
    pub requested_at: i64,
    pub asked_at: Option<i64>,
    pub looks: i64,
    pub next_look_at: Option<i64>,
    pub expires_at: i64,
    pub captured_at: Option<i64>,
    pub refunded_at: Option<i64>,
    pub updated_at: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT payment_id, order_id, version, attempt, provider, state, currency, \
             amount_minor, provider_fee_minor, refunded_minor, refund_pending_minor, \
             failure_code, provider_reference, payer_phone_sealed, requested_at, asked_at, looks, \
             next_look_at, expires_at, captured_at, refunded_at, updated_at FROM payments ",
            $rest
        )
    };
}

impl Payment {
    fn of(row: &AnyRow) -> Result<Payment, ApiError> {
        let payment_id: String = row.try_get("payment_id")?;
        let damaged = |what: &str| DbError::Damaged {
            table: "payments",
            row: payment_id.clone(),
            what: what.to_owned(),
        };
        let state: String = row.try_get("state")?;
        let currency: String = row.try_get("currency")?;
        Ok(Payment {
            state: PaymentState::parse(&state).ok_or_else(|| damaged("an unknown state"))?,
            currency: currency.parse().map_err(|_| damaged("an unknown currency"))?,
            order_id: row.try_get("order_id")?,
            version: row.try_get("version")?,
            attempt: row.try_get("attempt")?,
            provider: row.try_get("provider")?,
            amount_minor: row.try_get("amount_minor")?,
            provider_fee_minor: row.try_get("provider_fee_minor")?,
            refunded_minor: row.try_get("refunded_minor")?,
            refund_pending_minor: row.try_get("refund_pending_minor")?,
            failure_code: row.try_get("failure_code")?,
            provider_reference: row.try_get("provider_reference")?,
            payer_phone_sealed: row.try_get("payer_phone_sealed")?,
            requested_at: row.try_get("requested_at")?,
            asked_at: row.try_get("asked_at")?,
            looks: row.try_get("looks")?,
            next_look_at: row.try_get("next_look_at")?,
            expires_at: row.try_get("expires_at")?,
            captured_at: row.try_get("captured_at")?,
            refunded_at: row.try_get("refunded_at")?,
            updated_at: row.try_get("updated_at")?,
            payment_id,
        })
    }

    /// How much.
    pub fn amount(&self) -> Money {
        Money::new(self.amount_minor, self.currency)
    }

    /// Money may still come.
    pub fn is_open(&self) -> bool {
        matches!(self.state, PaymentState::Pending | PaymentState::Held | PaymentState::Submitted)
    }

    /// Whose wallet.
    pub fn payer(&self, keys: &Keys) -> Result<Phone, ApiError> {
        let sealed = &self.payer_phone_sealed;
        Phone::parse(&keys.unseal("payments", "payer_phone", &self.payment_id, sealed)?)
    }
}

/// The attempts of an order, newest first.
pub async fn of_order(db: &Db, order_id: &str) -> Result<Vec<Payment>, ApiError> {
    let rows = sqlx::query(select!("WHERE order_id = $1 ORDER BY attempt DESC"))
        .bind(order_id)
        .fetch_all(db.read())
        .await?;
    rows.iter().map(Payment::of).collect()
}

/// The attempts of an order, newest first, within a transaction that has locked the order.
pub async fn of_locked_order(tx: &mut Tx, order_id: &str) -> Result<Vec<Payment>, ApiError> {
    let select = tx.locking(select!("WHERE order_id = $1 ORDER BY attempt DESC"));
    let rows = sqlx::query(select).bind(order_id).fetch_all(tx.conn()).await?;
    rows.iter().map(Payment::of).collect()
}

/// One attempt.
pub async fn read(db: &Db, payment_id: &str) -> Result<Option<Payment>, ApiError> {
    let row = sqlx::query(select!("WHERE payment_id = $1"))
        .bind(payment_id)
        .fetch_optional(db.read())
        .await?;
    row.map(|row| Payment::of(&row)).transpose()
}

/// One attempt, locked. Lock its order first.
pub async fn lock(tx: &mut Tx, payment_id: &str) -> Result<Option<Payment>, ApiError> {
    let select = tx.locking(select!("WHERE payment_id = $1"));
    let row = sqlx::query(select).bind(payment_id).fetch_optional(tx.conn()).await?;
    row.map(|row| Payment::of(&row)).transpose()
}

/// Opens the next attempt of a locked order; the open one when there is one.
pub async fn open(
    app: &App,
    tx: &mut Tx,
    order: &Order,
    payer: &Phone,
    now: Micros,
) -> Result<Payment, ApiError> {
    let earlier = of_locked_order(tx, &order.order_id).await?;
    if let Some(open) = earlier.iter().find(|payment| payment.is_open()) {
        return Ok(open.clone());
    }
    let attempt = earlier.first().map_or(1, |newest| newest.attempt + 1);
    if order.state != OrderState::PendingPayment || attempt > app.config.payments.attempts_max {
        let detail = "the order cannot be paid: it is past payment, or out of attempts";
        return Err(Problem::conflict("not_payable", detail).into());
    }
    let payment_id = PaymentId::new().to_string();
    let payment = Payment {
        order_id: order.order_id.clone(),
        version: 1,
        attempt,
        provider: app.rail.name().to_owned(),
        state: PaymentState::Pending,
        currency: order.currency.parse()?,
        amount_minor: order.gross_minor - order.discount_minor,
        provider_fee_minor: 0,
        refunded_minor: 0,
        refund_pending_minor: 0,
        failure_code: None,
        provider_reference: None,
        payer_phone_sealed: app.keys.seal(
            "payments",
            "payer_phone",
            &payment_id,
            payer.as_str(),
        )?,
        requested_at: now.0,
        asked_at: None,
        looks: 0,
        next_look_at: Some(now.0),
        expires_at: now.plus_secs(app.config.payments.expires_s).0,
        captured_at: None,
        refunded_at: None,
        updated_at: now.0,
        payment_id,
    };
    insert(tx, &payment, &order.owner_id, &phone_index(&app.keys, payer)).await?;
    outbox::put(tx, "payment", &event(&payment, tx.actor())).await?;
    Ok(payment)
}

async fn insert(
    tx: &mut Tx,
    payment: &Payment,
    owner_id: &str,
    payer_index: &str,
) -> Result<(), ApiError> {
    let p = payment.clone();
    sqlx::query(
        "INSERT INTO payments (payment_id, order_id, owner_id, version, attempt, provider, state, \
         currency, amount_minor, payer_phone_sealed, payer_phone_index, requested_at, \
         next_look_at, expires_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(p.payment_id)
    .bind(p.order_id)
    .bind(owner_id)
    .bind(p.version)
    .bind(p.attempt)
    .bind(p.provider)
    .bind(p.state.as_str())
    .bind(p.currency.code())
    .bind(p.amount_minor)
    .bind(p.payer_phone_sealed)
    .bind(payer_index)
    .bind(p.requested_at)
    .bind(p.next_look_at)
    .bind(p.expires_at)
    .bind(p.updated_at)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes a changed attempt with its event. The caller has it locked.
pub async fn write(tx: &mut Tx, payment: &mut Payment, now: Micros) -> Result<(), ApiError> {
    payment.version += 1;
    payment.updated_at = now.0;
    let p = payment.clone();
    let written = sqlx::query(
        "UPDATE payments SET version = $2, state = $3, provider_fee_minor = $4, \
         refunded_minor = $5, refund_pending_minor = $6, failure_code = $7, \
         provider_reference = $8, looks = $9, next_look_at = $10, captured_at = $11, \
         refunded_at = $12, updated_at = $13 WHERE payment_id = $1 AND version = $2 - 1",
    )
    .bind(p.payment_id)
    .bind(p.version)
    .bind(p.state.as_str())
    .bind(p.provider_fee_minor)
    .bind(p.refunded_minor)
    .bind(p.refund_pending_minor)
    .bind(p.failure_code)
    .bind(p.provider_reference)
    .bind(p.looks)
    .bind(p.next_look_at)
    .bind(p.captured_at)
    .bind(p.refunded_at)
    .bind(p.updated_at)
    .execute(tx.conn())
    .await?;
    if written.rows_affected() != 1 {
        return Err(ApiError::Bug(format!("{} changed under its lock", payment.payment_id)));
    }
    outbox::put(tx, "payment", &event(payment, tx.actor())).await
}

/// The event of an attempt as it stands.
fn event(payment: &Payment, actor: &Actor) -> PaymentEvent {
    PaymentEvent {
        envelope: Some(Envelope {
            event_id: event_id(&[
                b"payment",
                payment.payment_id.as_bytes(),
                payment.version.to_string().as_bytes(),
            ]),
            event_type: format!("payment.{}", payment.state),
            schema: EVENT_SCHEMA,
            occurred_at_us: payment.updated_at,
            recorded_at_us: payment.updated_at,
            actor_role: actor.role.clone(),
            actor_id: actor.id.clone(),
            reason: payment.failure_code.clone().unwrap_or_default(),
            traceparent: String::new(),
        }),
        payment_id: payment.payment_id.clone(),
        order_id: payment.order_id.clone(),
        attempt: u32::try_from(payment.attempt).unwrap_or(u32::MAX),
        provider: payment.provider.clone(),
        state: payment.state.to_string(),
        currency: payment.currency.code().to_owned(),
        amount_minor: payment.amount_minor,
        provider_fee_minor: payment.provider_fee_minor,
        refunded_minor: payment.refunded_minor,
        failure_code: payment.failure_code.clone().unwrap_or_default(),
        requested_at_us: payment.requested_at,
    }
}
