//! A repeated key returns the first answer.
//!
//! In:    an owner, a route, a key, the hash of the request.
//! Out:   "go on", or the answer given before; 422 for the same key with another request.
//! Keeps: answers for seven days, sealed: they may show a PIN.
//! Never: answers from one owner's key to another; lets two requests with one key both do it.

use http::HeaderMap;
use inzira_schemas::{Micros, Problem};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::db::Tx;
use crate::error::ApiError;
use crate::secrets::{Keys, hex};

/// The header.
pub const HEADER: &str = "idempotency-key";
/// How long an answer is kept, seconds: agents queue for hours.
pub const KEPT_S: i64 = 7 * 24 * 3600;
const KEY_BYTES_MAX: usize = 128;

/// One request under a key.
#[derive(Debug, Clone)]
pub struct Attempt {
    owner_id: String,
    route: &'static str,
    key: String,
    request_hash: String,
}

/// What was answered the first time.
#[derive(Debug)]
pub struct Before {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Value,
}

impl Attempt {
    /// Reads the key from the headers; 400 without one, since a write could not be retried.
    pub fn of(
        headers: &HeaderMap,
        owner_id: &str,
        route: &'static str,
        body: &[u8],
    ) -> Result<Attempt, ApiError> {
        let key = headers.get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.chars().all(|c| c.is_ascii_graphic())
        {
            return Err(Problem::bad_request(
                "idempotency_key",
                "send an Idempotency-Key of 1 to 128 printable characters, fresh for each new order",
            )
            .into());
        }
        Ok(Attempt {
            owner_id: owner_id.to_owned(),
            route,
            key: key.to_owned(),
            request_hash: hex(&Sha256::digest(body)),
        })
    }

    fn row(&self) -> String {
        format!("{}/{}/{}", self.owner_id, self.route, self.key)
    }

    /// Takes the key in this transaction. A second request with it waits here for the first one's
    /// commit, and then finds its answer.
    pub async fn begin(
        &self,
        tx: &mut Tx,
        keys: &Keys,
        now: Micros,
    ) -> Result<Option<Before>, ApiError> {
        let taken = sqlx::query(
            "INSERT INTO idempotency_keys (owner_id, route, idempotency_key, request_hash, \
             created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(self.owner_id.clone())
        .bind(self.route)
        .bind(self.key.clone())
        .bind(self.request_hash.clone())
        .bind(now.0)
        .execute(tx.conn())
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(None);
        }
        let row = sqlx::query(
            "SELECT request_hash, status, answer_sealed FROM idempotency_keys \
             WHERE owner_id = $1 AND route = $2 AND idempotency_key = $3",
        )
        .bind(self.owner_id.clone())
        .bind(self.route)
        .bind(self.key.clone())
        .fetch_one(tx.conn())
        .await?;
        if row.try_get::<String, _>(0)? != self.request_hash {
            return Err(ApiError::invalid(
                "idempotency_key_reused",
                "this Idempotency-Key was used with another request; take a fresh one",
            ));
        }
        let (Some(status), Some(sealed)) =
            (row.try_get::<Option<i64>, _>(1)?, row.try_get::<Option<Vec<u8>>, _>(2)?)
        else {
            return Err(Problem::conflict("in_progress", "the first request is under way").into());
        };
        let text = keys.unseal("idempotency_keys", "answer", &self.row(), &sealed)?;
        Ok(Some(Before {
            status: u16::try_from(status).unwrap_or(200),
            body: serde_json::from_str(&text)?,
        }))
    }

    /// Keeps the answer, in the transaction that did the work.
    pub async fn finish(
        &self,
        tx: &mut Tx,
        keys: &Keys,
        status: u16,
        body: &Value,
    ) -> Result<(), ApiError> {
        let sealed = keys.seal("idempotency_keys", "answer", &self.row(), &body.to_string())?;
        sqlx::query(
            "UPDATE idempotency_keys SET status = $4, answer_sealed = $5 \
             WHERE owner_id = $1 AND route = $2 AND idempotency_key = $3",
        )
        .bind(self.owner_id.clone())
        .bind(self.route)
        .bind(self.key.clone())
        .bind(i64::from(status))
        .bind(sealed)
        .execute(tx.conn())
        .await?;
        Ok(())
    }
}
