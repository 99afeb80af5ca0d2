//! Carries the outbox to the log.
//!
//! In:    unsent rows, oldest first.
//! Out:   records of `orders` and `payments`; a row is marked after its append is durable.
//! Keeps: a lease, so that one process relays at a time and order per key holds.
//! Never: marks before the log has answered; skips a row that it cannot read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use inzira_event_log::{EventLog, Header, LogError, NewRecord};
use inzira_schemas::{EVENT_SCHEMA, Topic};
use sqlx::Row;
use sqlx::any::AnyRow;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::db::{Actor, DbError, Dialect};
use crate::error::ApiError;
use crate::http::idempotency;
use crate::lease::Lease;

/// Rows a turn; more wait for the next.
const BATCH: i64 = 500;
/// Sent rows are kept so long, seconds.
const KEPT_S: i64 = 24 * 3600;
/// Ended sessions, codes and quotes are kept so long, seconds.
const ENDED_KEPT_S: i64 = 24 * 3600;
/// Between two sweeps of sent rows, seconds.
const SWEEP_S: i64 = 600;
/// First pause after a failure; doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How a turn can fail.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The database; try again.
    #[error(transparent)]
    Db(#[from] ApiError),
    /// The log; what was sent is sent again with the same ids.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<sqlx::Error> for RelayError {
    fn from(error: sqlx::Error) -> Self {
        RelayError::Db(error.into())
    }
}

impl From<DbError> for RelayError {
    fn from(error: DbError) -> Self {
        RelayError::Db(error.into())
    }
}

/// Relays until told to stop; what is in the outbox then is carried first.
pub async fn run(app: Arc<App>, log: Arc<dyn EventLog>, stop: CancellationToken) {
    // Another process may write the same outbox only on Postgres; the bell rings for our own.
    let poll = match app.db.dialect() {
        Dialect::Postgres => Duration::from_millis(20),
        Dialect::Sqlite => Duration::from_millis(500),
    };
    let mut lease = Lease::new("outbox relay");
    let mut pause = PAUSE;
    let mut swept_at = app.now();
    loop {
        match held_turn(&app, log.as_ref(), &mut lease).await {
            Ok(sent) => {
                pause = PAUSE;
                if sent == BATCH as usize {
                    continue;
                }
                if stop.is_cancelled() {
                    lease.give_up(&app).await;
                    return;
                }
            }
            Err(error) => {
                metrics::counter!("inzira_outbox_failures_total").increment(1);
                tracing::warn!(error = %error, "the outbox waits");
                if stop.is_cancelled() {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
        }
        if app.now() > swept_at.plus_secs(SWEEP_S) {
            swept_at = app.now();
            if let Err(error) = sweep(&app).await {
                tracing::warn!(error = %error, "sent rows stay in the outbox");
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.bells.outbox.notified() => {}
            () = tokio::time::sleep(poll) => {}
        }
    }
}

async fn held_turn(app: &App, log: &dyn EventLog, lease: &mut Lease) -> Result<usize, RelayError> {
    if !lease.hold(app).await? {
        return Ok(0);
    }
    turn(app, log).await
}

/// One turn: append what waits, then mark it. Answers how many.
pub async fn turn(app: &App, log: &dyn EventLog) -> Result<usize, RelayError> {
    let rows = sqlx::query(
        "SELECT seq, id, aggregatetype, aggregateid, type, payload, traceparent FROM outbox \
         WHERE sent_at IS NULL ORDER BY seq LIMIT $1",
    )
    .bind(BATCH)
    .fetch_all(app.db.read())
    .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let mut seqs: Vec<i64> = Vec::with_capacity(rows.len());
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        seqs.push(row.try_get(0)?);
        records.push(record(row)?);
    }
    log.append(records).await?;
    fail::fail_point!("outbox.after_append", |_| Err(
        LogError::Unknown("told to fail".into()).into()
    ));
    mark(app, &seqs).await?;
    metrics::counter!("inzira_outbox_sent_total").increment(seqs.len() as u64);
    Ok(seqs.len())
}

fn record(row: &AnyRow) -> Result<NewRecord, ApiError> {
    let aggregatetype: String = row.try_get(2)?;
    let topic = match aggregatetype.as_str() {
        "order" => Topic::Orders,
        "payment" => Topic::Payments,
        other => {
            return Err(DbError::Damaged {
                table: "outbox",
                row: row.try_get(1)?,
                what: format!("aggregatetype {other:?}"),
            }
            .into());
        }
    };
    let header = |name: &str, value: String| Header { name: name.to_owned(), value: value.into() };
    let traceparent: String = row.try_get(6)?;
    let mut headers = vec![
        header("event-id", row.try_get(1)?),
        header("event-type", row.try_get(4)?),
        header("schema", EVENT_SCHEMA.to_string()),
    ];
    if !traceparent.is_empty() {
        headers.push(header("traceparent", traceparent));
    }
    let key: String = row.try_get(3)?;
    let payload: Vec<u8> = row.try_get(5)?;
    Ok(NewRecord { topic, key: Bytes::from(key), value: Bytes::from(payload), headers })
}

/// Rows that became visible late, between the oldest and the newest sent, must not be marked with
/// them: each is named.
async fn mark(app: &App, seqs: &[i64]) -> Result<(), ApiError> {
    let mut tx = app.db.begin(&Actor::system()).await?;
    let names: Vec<String> = seqs.iter().map(i64::to_string).collect();
    let sql = format!("UPDATE outbox SET sent_at = $1 WHERE seq IN ({})", names.join(","));
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(app.now().0)
        .persistent(false)
        .execute(tx.conn())
        .await?;
    Ok(tx.commit().await?)
}

async fn sweep(app: &App) -> Result<(), ApiError> {
    let now = app.now();
    let mut tx = app.db.begin(&Actor::system()).await?;
    sqlx::query("DELETE FROM outbox WHERE sent_at < $1")
        .bind(now.plus_secs(-KEPT_S).0)
        .execute(tx.conn())
        .await?;
    // Beside it whatever else has had its time.
    for (sql, kept_s) in [
        ("DELETE FROM idempotency_keys WHERE created_at < $1", idempotency::KEPT_S),
        ("DELETE FROM sessions WHERE expires_at < $1", ENDED_KEPT_S),
        ("DELETE FROM verification_codes WHERE expires_at < $1", ENDED_KEPT_S),
        ("DELETE FROM quotes WHERE expires_at < $1", ENDED_KEPT_S),
        ("DELETE FROM share_links WHERE expires_at < $1", 30 * ENDED_KEPT_S),
    ] {
        sqlx::query(sql).bind(now.plus_secs(-kept_s).0).execute(tx.conn()).await?;
    }
    Ok(tx.commit().await?)
}
