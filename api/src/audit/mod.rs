//! The audit log: append-only, each entry chained to the one before by SHA-256.
//!
//! In:    notes, in the transaction of what they tell.
//! Out:   a chain; `verify` names the first entry that does not fit; signed checkpoints show a
//!        cut tail or a chain that was made anew.
//! Keeps: everything for ten years; notes wait in an inbox until the one task that chains them
//!        comes by, so that bookings do not queue for the chain's end.
//! Never: holds a name, phone, password or token.

use std::sync::Arc;
use std::time::Duration;

use inzira_schemas::Micros;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::db::{Actor, Db, Tx};
use crate::error::ApiError;
use crate::lease::Lease;
use crate::secrets::{Keys, hex};

/// Notes chained in one transaction.
const BATCH: i64 = 200;
/// A checkpoint comes after so many entries, or after so long.
const CHECKPOINT_ENTRIES: i64 = 1_000;
const CHECKPOINT_S: i64 = 60;
/// Between two looks when no bell rings.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest detail kept.
const DETAIL_CHARS_MAX: usize = 500;
/// What the first entry is chained to.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Notes what is being done in this transaction.
pub async fn note(
    tx: &mut Tx,
    action: &str,
    subject: &str,
    details: &str,
    now: Micros,
) -> Result<(), ApiError> {
    let actor = tx.actor().clone();
    let details: String =
        details.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect();
    sqlx::query(
        "INSERT INTO audit_inbox (actor_role, actor_id, action, subject, details, occurred_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(actor.role)
    .bind(actor.id)
    .bind(action)
    .bind(subject)
    .bind(details)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// One entry of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    idx: i64,
    actor_role: String,
    actor_id: String,
    action: String,
    subject: String,
    details: String,
    occurred_at: i64,
    recorded_at: i64,
}

impl Entry {
    /// `SHA-256(previous || canonical entry)`; the entry as a JSON array, which has one spelling.
    fn hash(&self, previous: &str) -> String {
        let canonical = json!([
            self.idx,
            self.actor_role,
            self.actor_id,
            self.action,
            self.subject,
            self.details,
            self.occurred_at,
            self.recorded_at
        ]);
        let mut hash = Sha256::new();
        hash.update(previous.as_bytes());
        hash.update(canonical.to_string().as_bytes());
        hex(&hash.finalize())
    }
}

/// Chains the notes of the inbox. Answers how many.
pub async fn turn(app: &App) -> Result<usize, ApiError> {
    let mut tx = app.db.begin(&Actor::system()).await?;
    let notes = sqlx::query(
        "SELECT seq, actor_role, actor_id, action, subject, details, occurred_at \
         FROM audit_inbox ORDER BY seq LIMIT $1",
    )
    .bind(BATCH)
    .fetch_all(tx.conn())
    .await?;
    if notes.is_empty() {
        return Ok(0);
    }
    let (mut idx, mut previous) = end_of_chain(&mut tx).await?;
    let recorded_at = app.now().0;
    for note in &notes {
        idx += 1;
        let entry = Entry {
            idx,
            actor_role: note.try_get(1)?,
            actor_id: note.try_get(2)?,
            action: note.try_get(3)?,
            subject: note.try_get(4)?,
            details: note.try_get(5)?,
            occurred_at: note.try_get(6)?,
            recorded_at,
        };
        let hash = entry.hash(&previous);
        append(&mut tx, &entry, &previous, &hash).await?;
        sqlx::query("DELETE FROM audit_inbox WHERE seq = $1")
            .bind(note.try_get::<i64, _>(0)?)
            .execute(tx.conn())
            .await?;
        previous = hash;
    }
    checkpoint(app, &mut tx, idx, &previous).await?;
    tx.commit().await?;
    Ok(notes.len())
}

async fn end_of_chain(tx: &mut Tx) -> Result<(i64, String), ApiError> {
    let row = sqlx::query("SELECT idx, hash FROM audit ORDER BY idx DESC LIMIT 1")
        .fetch_optional(tx.conn())
        .await?;
    match row {
        Some(row) => Ok((row.try_get(0)?, row.try_get(1)?)),
        None => Ok((0, GENESIS.to_owned())),
    }
}

/// Two processes that both believe they hold the lease meet here: the index is the primary key,
/// so one of them fails and begins anew.
async fn append(tx: &mut Tx, entry: &Entry, previous: &str, hash: &str) -> Result<(), ApiError> {
    sqlx::query(
        "INSERT INTO audit (idx, actor_role, actor_id, action, subject, details, occurred_at, \
         recorded_at, previous_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(entry.idx)
    .bind(entry.actor_role.clone())
    .bind(entry.actor_id.clone())
    .bind(entry.action.clone())
    .bind(entry.subject.clone())
    .bind(entry.details.clone())
    .bind(entry.occurred_at)
    .bind(entry.recorded_at)
    .bind(previous)
    .bind(hash)
    .execute(tx.conn())
    .await?;
    Ok(())
}

async fn checkpoint(app: &App, tx: &mut Tx, idx: i64, hash: &str) -> Result<(), ApiError> {
    let row = sqlx::query("SELECT idx, made_at FROM audit_checkpoints ORDER BY idx DESC LIMIT 1")
        .fetch_optional(tx.conn())
        .await?;
    let now = app.now();
    if let Some(row) = row {
        let (last_idx, made_at): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if idx - last_idx < CHECKPOINT_ENTRIES && now < Micros(made_at).plus_secs(CHECKPOINT_S) {
            return Ok(());
        }
    }
    sqlx::query(
        "INSERT INTO audit_checkpoints (idx, hash, made_at, signature) VALUES ($1, $2, $3, $4)",
    )
    .bind(idx)
    .bind(hash)
    .bind(now.0)
    .bind(app.keys.sign(signed_text(idx, hash, now.0).as_bytes()))
    .execute(tx.conn())
    .await?;
    Ok(())
}

fn signed_text(idx: i64, hash: &str, made_at: i64) -> String {
    format!("inzira audit {idx} {hash} {made_at}")
}

/// Chains until told to stop.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut lease = Lease::new("audit chain");
    loop {
        let turned = match lease.hold(&app).await {
            Ok(true) => turn(&app).await,
            Ok(false) => Ok(0),
            Err(error) => Err(error),
        };
        match turned {
            Ok(count) if count == BATCH as usize => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %error, "the audit chain waits"),
        }
        if stop.is_cancelled() {
            lease.give_up(&app).await;
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.bells.audit.notified() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// What `audit verify` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// Entries that fit.
    pub entries: i64,
    /// The first index that does not, and why.
    pub first_bad: Option<(i64, String)>,
}

/// Walks the chain from its start.
pub async fn verify(db: &Db, keys: &Keys) -> Result<AuditReport, ApiError> {
    let mut previous = GENESIS.to_owned();
    let mut entries = 0;
    loop {
        let rows = sqlx::query(
            "SELECT idx, actor_role, actor_id, action, subject, details, occurred_at, \
             recorded_at, previous_hash, hash FROM audit WHERE idx > $1 ORDER BY idx LIMIT 1000",
        )
        .bind(entries)
        .fetch_all(db.read())
        .await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let bad = |why: &str| {
                let first_bad = Some((entries + 1, why.to_owned()));
                Ok(AuditReport { entries, first_bad })
            };
            let entry = Entry {
                idx: row.try_get(0)?,
                actor_role: row.try_get(1)?,
                actor_id: row.try_get(2)?,
                action: row.try_get(3)?,
                subject: row.try_get(4)?,
                details: row.try_get(5)?,
                occurred_at: row.try_get(6)?,
                recorded_at: row.try_get(7)?,
            };
            if entry.idx != entries + 1 {
                return bad("is missing");
            }
            if row.try_get::<String, _>(8)? != previous {
                return bad("is not chained to the one before");
            }
            let hash = entry.hash(&previous);
            if row.try_get::<String, _>(9)? != hash {
                return bad("was changed");
            }
            previous = hash;
            entries += 1;
        }
    }
    let first_bad = bad_checkpoint(db, keys, entries).await?;
    Ok(AuditReport { entries, first_bad })
}

/// A checkpoint beyond the end means that the tail was cut; one that does not match, that the
/// chain was made anew.
async fn bad_checkpoint(
    db: &Db,
    keys: &Keys,
    entries: i64,
) -> Result<Option<(i64, String)>, ApiError> {
    let rows = sqlx::query(
        "SELECT c.idx, c.hash, c.made_at, c.signature, a.hash FROM audit_checkpoints c \
         LEFT JOIN audit a ON a.idx = c.idx ORDER BY c.idx",
    )
    .fetch_all(db.read())
    .await?;
    for row in rows {
        let (idx, hash, made_at): (i64, String, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let signature: String = row.try_get(3)?;
        if idx > entries {
            return Ok(Some((entries + 1, "is missing: the tail was cut".to_owned())));
        }
        if !keys.signed(signed_text(idx, &hash, made_at).as_bytes(), &signature) {
            return Ok(Some((idx, "has a checkpoint with a wrong signature".to_owned())));
        }
        if row.try_get::<Option<String>, _>(4)?.as_deref() != Some(hash.as_str()) {
            return Ok(Some((idx, "differs from its signed checkpoint".to_owned())));
        }
    }
    Ok(None)
}
