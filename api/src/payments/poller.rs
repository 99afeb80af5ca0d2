//! Drives open attempts: asks the rail, looks, gives back.
//!
//! In:    attempts whose next look is due.
//! Out:   definite outcomes, handed to `settle`.
//! Keeps: nothing in memory: what was asked stands in the row before the rail is called.
//! Never: asks twice under two references; two processes never drive one attempt at once.

use std::time::Duration;

use futures::StreamExt as _;
use inzira_schemas::states::PaymentState;
use inzira_schemas::{Micros, Money};
use sqlx::Row;

use crate::app::App;
use crate::error::ApiError;
use crate::payments::attempts::{self, Payment};
use crate::payments::gateway::{Charge, GatewayError, Payout, Standing};
use crate::payments::settle;

/// Attempts driven at once.
const AT_ONCE: usize = 16;
/// A driver that dies with an attempt in hand leaves it to the next after this long.
const CLAIM: Duration = Duration::from_secs(30);
/// How long the late money of an expired attempt is looked for, seconds.
const LATE_S: i64 = 24 * 3600;
/// Between looks when the rail says nothing better.
const LOOK_AFTER_S: [u64; 5] = [2, 4, 8, 16, 30];

/// One turn: everything that is due, up to the batch. Answers how many were driven.
pub async fn turn(app: &App) -> Result<usize, ApiError> {
    let now = app.now();
    let due = sqlx::query(
        "SELECT payment_id, next_look_at, asked_at FROM payments WHERE next_look_at IS NOT NULL \
         AND next_look_at <= $1 ORDER BY next_look_at LIMIT $2",
    )
    .bind(now.0)
    .bind(app.config.payments.batch_max)
    .fetch_all(app.db.read())
    .await?;
    let mut found: Vec<(String, i64, bool)> = Vec::with_capacity(due.len());
    for row in &due {
        let asked_at: Option<i64> = row.try_get(2)?;
        found.push((row.try_get(0)?, row.try_get(1)?, asked_at.is_some()));
    }
    let count = found.len();
    futures::stream::iter(found)
        .for_each_concurrent(AT_ONCE, |(payment_id, seen, asked)| async move {
            if let Err(error) = drive(app, &payment_id, seen, asked).await {
                tracing::warn!(payment_id, error = %error, "a payment attempt waits");
            }
        })
        .await;
    Ok(count)
}

/// How long until the next attempt is due, at most `longest`.
pub async fn next_in(app: &App, longest: Duration) -> Result<Duration, ApiError> {
    let row = sqlx::query("SELECT MIN(next_look_at) FROM payments WHERE next_look_at IS NOT NULL")
        .fetch_one(app.db.read())
        .await?;
    let Some(at) = row.try_get::<Option<i64>, _>(0)? else { return Ok(longest) };
    let wait_us = u64::try_from(at.saturating_sub(app.now().0)).unwrap_or(0);
    Ok(Duration::from_micros(wait_us).clamp(Duration::from_millis(2), longest))
}

async fn drive(app: &App, payment_id: &str, seen: i64, asked: bool) -> Result<(), ApiError> {
    let now = app.now();
    if !claim(app, payment_id, seen, now).await? {
        return Ok(());
    }
    let Some(before) = attempts::read(&app.db, payment_id).await? else { return Ok(()) };
    if before.refund_pending_minor > 0 {
        return give_back(app, &before).await;
    }
    let charge = Charge {
        reference: before.payment_id.clone(),
        payer: before.payer(&app.keys)?,
        amount: before.amount(),
        asked_at: Micros(before.asked_at.unwrap_or(now.0)),
    };
    match before.state {
        // Never asked: ask. Asked without a word of how it ended: look first.
        PaymentState::Pending if !asked => ask(app, &before, &charge).await,
        PaymentState::Pending | PaymentState::Submitted => look(app, &before, &charge).await,
        PaymentState::Expired => look_late(app, &before, &charge).await,
        _ => Ok(()),
    }
}

/// Takes the attempt for `CLAIM` and writes down that the rail is about to be asked.
async fn claim(app: &App, payment_id: &str, seen: i64, now: Micros) -> Result<bool, ApiError> {
    let mut tx = app.db.begin(&crate::db::Actor::system()).await?;
    let claimed = sqlx::query(
        "UPDATE payments SET next_look_at = $3, asked_at = COALESCE(asked_at, $4) \
         WHERE payment_id = $1 AND next_look_at = $2",
    )
    .bind(payment_id)
    .bind(seen)
    .bind(settle::later(now, CLAIM))
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(claimed.rows_affected() == 1)
}

async fn ask(app: &App, payment: &Payment, charge: &Charge) -> Result<(), ApiError> {
    let id = &payment.payment_id;
    match app.rail.request(charge).await {
        Ok(accepted) => {
            let wait = accepted.look_after.unwrap_or_else(|| look_after(0));
            settle::submitted(app, id, Some(accepted.provider_reference), wait).await
        }
        Err(GatewayError::Refused { code }) => {
            settle::failed(app, id, PaymentState::Failed, &code).await
        }
        Err(GatewayError::Unknown(why)) => {
            tracing::warn!(payment_id = id, why, "asking the rail ended in the unknown");
            settle::submitted(app, id, None, look_after(0)).await
        }
    }
}

async fn look(app: &App, payment: &Payment, charge: &Charge) -> Result<(), ApiError> {
    let id = &payment.payment_id;
    match app.rail.look_up(charge).await {
        Ok(Standing::Done { fee }) => settle::captured(app, id, fee).await,
        Ok(Standing::Failed { code }) => settle::failed(app, id, PaymentState::Failed, &code).await,
        // The reference is the rail's idempotency key, so asking again is the same charge.
        Ok(Standing::NotFound) if app.now().0 < payment.expires_at => {
            ask(app, payment, charge).await?;
            again(app, payment).await
        }
        Ok(Standing::Waiting | Standing::NotFound) if app.now().0 >= payment.expires_at => {
            settle::failed(app, id, PaymentState::Expired, "no_answer").await
        }
        Ok(_) => again(app, payment).await,
        Err(error) => {
            tracing::warn!(payment_id = id, error = %error, "the rail does not say");
            again(app, payment).await
        }
    }
}

/// An expired attempt: late money is taken; otherwise it is looked at for a day.
async fn look_late(app: &App, payment: &Payment, charge: &Charge) -> Result<(), ApiError> {
    let standing = app.rail.look_up(charge).await;
    if let Ok(Standing::Done { fee }) = standing {
        return settle::captured(app, &payment.payment_id, fee).await;
    }
    let now = app.now();
    let over = now >= Micros(payment.requested_at).plus_secs(LATE_S)
        || matches!(standing, Ok(Standing::Failed { .. } | Standing::NotFound));
    let next = (!over).then(|| settle::later(now, settle::LOOK_FOR_LATE));
    look_next(app, payment, next).await
}

async fn give_back(app: &App, payment: &Payment) -> Result<(), ApiError> {
    let refund = Payout {
        reference: format!("{}:refund", payment.payment_id),
        charge_reference: Some(payment.payment_id.clone()),
        payee: payment.payer(&app.keys)?,
        amount: Money::new(payment.refund_pending_minor, payment.currency),
    };
    match app.rail.refund(&refund).await {
        Ok(()) => settle::refunded(app, &payment.payment_id).await,
        Err(error) => {
            tracing::warn!(payment_id = payment.payment_id, error = %error, "a refund waits");
            again(app, payment).await
        }
    }
}

/// Looks again later; no event: nothing was learned.
async fn again(app: &App, payment: &Payment) -> Result<(), ApiError> {
    let next = settle::later(app.now(), look_after(payment.looks + 1));
    look_next(app, payment, Some(next)).await
}

async fn look_next(app: &App, payment: &Payment, next: Option<i64>) -> Result<(), ApiError> {
    let mut tx = app.db.begin(&crate::db::Actor::system()).await?;
    sqlx::query(
        "UPDATE payments SET looks = looks + 1, next_look_at = $2 \
         WHERE payment_id = $1 AND next_look_at IS NOT NULL",
    )
    .bind(payment.payment_id.clone())
    .bind(next)
    .execute(tx.conn())
    .await?;
    Ok(tx.commit().await?)
}

/// 2, 4, 8, 16, then every 30 seconds.
fn look_after(looks: i64) -> Duration {
    let last = LOOK_AFTER_S.len() - 1;
    let index = usize::try_from(looks).unwrap_or(last).min(last);
    Duration::from_secs(LOOK_AFTER_S[index])
}

#[cfg(test)]
mod tests {
    use super::look_after;

    #[test]
    fn looks_come_after_2_4_8_16_then_every_30_seconds() {
        let waits: Vec<u64> = (0..7).map(|looks| look_after(looks).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 30, 30, 30]);
    }
}
