//! What an outcome does: attempt, ledger, order and events in one transaction.
//!
//! In:    a definite outcome of an attempt.
//! Out:   money posted, the order stepped, or nothing when it was done before.
//! Never: acts on an unknown outcome.

use std::time::Duration;

use inzira_schemas::states::{OrderState, PaymentState};
use inzira_schemas::{Currency, Micros, Money};

use crate::app::App;
use crate::db::{Actor, Tx};
use crate::error::ApiError;
use crate::messages;
use crate::orders::store::{self, Change, Order};
use crate::payments::attempts::{self, Payment};
use crate::payments::ledger;

/// Between looks for the late money of an expired attempt.
pub const LOOK_FOR_LATE: Duration = Duration::from_secs(30 * 60);

/// Money came.
pub async fn captured(app: &App, payment_id: &str, fee: Money) -> Result<(), ApiError> {
    let Some((mut tx, mut order, mut payment)) = both(app, payment_id).await? else {
        return Ok(());
    };
    // Late money of an expired attempt is money too; a second one for one order goes back.
    if !payment.is_open() && payment.state != PaymentState::Expired {
        return Ok(());
    }
    let now = app.now();
    payment.state = PaymentState::Captured;
    payment.provider_fee_minor = fee.minor;
    payment.failure_code = None;
    payment.captured_at = Some(now.0);
    payment.next_look_at = None;
    if order.state == OrderState::PaymentFailed {
        step(&mut tx, &mut order, OrderState::PendingPayment, "late money", now).await?;
    }
    if order.state == OrderState::PendingPayment {
        step(&mut tx, &mut order, OrderState::Confirmed, "paid", now).await?;
        messages::to_order(app, &mut tx, &order, "order.confirmed", &[], now).await?;
    } else {
        // The order fell away while the payer was asked: the money goes back.
        payment.refund_pending_minor = payment.amount_minor;
        payment.next_look_at = Some(now.0);
    }
    let amount = payment.amount();
    let entry =
        ledger::capture(&payment.payment_id, &order.order_id, &payment.provider, amount, fee)?;
    ledger::post(&mut tx, &entry, now).await?;
    attempts::write(&mut tx, &mut payment, now).await?;
    app.commit(tx).await?;
    app.bells.matching.notify_one();
    Ok(())
}

/// Money did not come and will not, or nobody answered in time.
pub async fn failed(
    app: &App,
    payment_id: &str,
    state: PaymentState,
    code: &str,
) -> Result<(), ApiError> {
    let Some((mut tx, mut order, mut payment)) = both(app, payment_id).await? else {
        return Ok(());
    };
    if !payment.is_open() {
        return Ok(());
    }
    let now = app.now();
    payment.state = state;
    payment.failure_code = Some(code.to_owned());
    // Nobody answered in time, and money may still come: the rail is asked for a day yet.
    let late = state == PaymentState::Expired;
    payment.next_look_at = late.then(|| later(now, LOOK_FOR_LATE));
    attempts::write(&mut tx, &mut payment, now).await?;
    if order.state == OrderState::PendingPayment {
        step(&mut tx, &mut order, OrderState::PaymentFailed, code, now).await?;
        messages::to_owner(app, &mut tx, &order, "order.payment_failed", now).await?;
    }
    app.commit(tx).await?;
    Ok(())
}

/// The rail has it, or may have it: look again in a while.
pub async fn submitted(
    app: &App,
    payment_id: &str,
    provider_reference: Option<String>,
    look_after: Duration,
) -> Result<(), ApiError> {
    let Some((mut tx, _, mut payment)) = both(app, payment_id).await? else { return Ok(()) };
    if payment.state != PaymentState::Pending {
        return Ok(());
    }
    let now = app.now();
    payment.state = PaymentState::Submitted;
    payment.provider_reference = provider_reference;
    payment.next_look_at = Some(later(now, look_after));
    attempts::write(&mut tx, &mut payment, now).await?;
    app.commit(tx).await?;
    Ok(())
}

/// The rail gave the money back.
pub async fn refunded(app: &App, payment_id: &str) -> Result<(), ApiError> {
    let Some((mut tx, order, mut payment)) = both(app, payment_id).await? else { return Ok(()) };
    if payment.refund_pending_minor == 0 {
        return Ok(());
    }
    let now = app.now();
    let amount = Money::new(payment.refund_pending_minor, payment.currency);
    payment.refunded_minor += payment.refund_pending_minor;
    payment.refund_pending_minor = 0;
    payment.state = PaymentState::Refunded;
    payment.refunded_at = Some(now.0);
    payment.next_look_at = None;
    let entry = ledger::refund(&payment.payment_id, &order.order_id, &payment.provider, amount);
    ledger::post(&mut tx, &entry, now).await?;
    attempts::write(&mut tx, &mut payment, now).await?;
    messages::to_order(app, &mut tx, &order, "payment.refunded", &[], now).await?;
    app.commit(tx).await?;
    Ok(())
}

/// The money of a cancelled order, within the transaction that cancels it: captured money is
/// marked to go back, an attempt that was never sent ends here, one that was sent is looked at
/// until it is known.
pub async fn let_go(tx: &mut Tx, order: &Order, now: Micros) -> Result<(), ApiError> {
    for mut payment in attempts::of_locked_order(tx, &order.order_id).await? {
        let sent = payment.asked_at.is_some();
        match payment.state {
            PaymentState::Captured if payment.refund_pending_minor == 0 => {
                payment.refund_pending_minor = payment.amount_minor - payment.refunded_minor;
                payment.next_look_at = Some(now.0);
            }
            PaymentState::Pending | PaymentState::Held if !sent => {
                payment.state = PaymentState::Failed;
                payment.failure_code = Some("order_cancelled".to_owned());
                payment.next_look_at = None;
            }
            _ => continue,
        }
        attempts::write(tx, &mut payment, now).await?;
    }
    Ok(())
}

/// The money of a delivered order goes to whom it belongs, within the transaction that delivers.
pub async fn release(tx: &mut Tx, order: &Order, now: Micros) -> Result<(), ApiError> {
    let currency: Currency = order.currency.parse()?;
    ledger::post(tx, &ledger::release(order, currency), now).await?;
    Ok(())
}

async fn both(app: &App, payment_id: &str) -> Result<Option<(Tx, Order, Payment)>, ApiError> {
    let Some(found) = attempts::read(&app.db, payment_id).await? else { return Ok(None) };
    let mut tx = app.db.begin(&Actor::system()).await?;
    let Some(order) = store::lock(&mut tx, &found.order_id).await? else { return Ok(None) };
    let Some(payment) = attempts::lock(&mut tx, payment_id).await? else { return Ok(None) };
    Ok(Some((tx, order, payment)))
}

async fn step(
    tx: &mut Tx,
    order: &mut Order,
    to: OrderState,
    reason: &str,
    at: Micros,
) -> Result<(), ApiError> {
    let driver_id = order.driver_id.clone();
    store::change(tx, order, Change { to, driver_id, reason, at }).await
}

/// `wait` after `now`, in microseconds.
pub fn later(now: Micros, wait: Duration) -> i64 {
    now.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX))
}
