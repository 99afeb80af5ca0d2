//! The outbox: what the log is to be told commits with the change it tells of.
//!
//! In:    events of orders and payments, in the transaction that changes them.
//! Out:   the same in the log, in order per key; `relay` carries them.
//! Keeps: rows until a day after they were sent.
//! Never: loses one; a crash between append and mark repeats it with the same event id.

pub mod relay;

use inzira_schemas::Event;
use sqlx::Row;

use crate::db::{Db, Tx};
use crate::error::ApiError;

/// Puts an event into the outbox. `aggregatetype` is `order` or `payment`.
pub async fn put<E: Event>(
    tx: &mut Tx,
    aggregatetype: &'static str,
    event: &E,
) -> Result<(), ApiError> {
    let envelope =
        event.envelope().ok_or_else(|| ApiError::Bug("an event has no envelope".to_owned()))?;
    sqlx::query(
        "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, traceparent, \
         created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(envelope.event_id.clone())
    .bind(aggregatetype)
    .bind(event.key())
    .bind(envelope.event_type.clone())
    .bind(event.encode_to_vec())
    .bind(envelope.traceparent.clone())
    .bind(envelope.recorded_at_us)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// How many rows wait. For health and metrics.
pub async fn waiting(db: &Db) -> Result<i64, ApiError> {
    let row = sqlx::query("SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL")
        .fetch_one(db.read())
        .await?;
    Ok(row.try_get(0)?)
}
