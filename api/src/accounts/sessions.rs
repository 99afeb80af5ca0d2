//! Sessions: one per log-in, ended by time, by leaving, or by a refresh token shown twice.
//!
//! In:    a user who proved themselves; a refresh token; a cookie.
//! Out:   access and refresh tokens; for browsers a cookie and a CSRF token.
//! Keeps: keyed hashes of the secrets, never the secrets.
//! Never: takes a refresh token twice: the second showing ends the session, since one of the two
//!        who hold it stole it.

use inzira_schemas::{Micros, SessionId};
use sqlx::Row;

use crate::accounts::users::User;
use crate::db::{Db, Tx};
use crate::error::ApiError;
use crate::secrets::{Keys, random_token};

/// What a fresh or refreshed session hands out.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session_id: String,
    /// For the next refresh.
    pub refresh_token: String,
    /// For browsers.
    pub cookie: Option<String>,
}

/// A live session, as guards see it.
#[derive(Debug, Clone)]
pub struct Live {
    /// The session.
    pub session_id: String,
    /// The user.
    pub user_id: String,
    /// Their role now, not at log-in: a changed role counts at once.
    pub role: String,
    /// Their id in the log.
    pub actor_id: String,
}

/// What a refresh came to.
#[derive(Debug)]
pub enum Refreshed {
    /// A new pair.
    Yes(Box<Live>, Opened),
    /// Unknown, ended or spent: log in again.
    No,
    /// A spent token was shown: the session has been ended.
    Stolen {
        /// Which session.
        session_id: String,
    },
}

const LIVE: &str = "SELECT s.session_id, u.user_id, u.role, u.actor_id FROM sessions s \
    JOIN users u ON u.user_id = s.owner_id \
    WHERE s.revoked_at IS NULL AND u.status = 'active'";

/// Opens a session.
pub async fn open(
    tx: &mut Tx,
    keys: &Keys,
    user: &User,
    browser: bool,
    life_s: i64,
    now: Micros,
) -> Result<Opened, ApiError> {
    let session_id = SessionId::new().to_string();
    let refresh_token = random_token("inr_", 40);
    let cookie = browser.then(|| {
        let body = random_token("", 40);
        let tag = keys.tag("session cookie", &body);
        format!("{body}.{tag}")
    });
    sqlx::query(
        "INSERT INTO sessions (session_id, owner_id, cookie_hash, refresh_hash, created_at, \
         expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(session_id.clone())
    .bind(user.user_id.clone())
    .bind(cookie.as_deref().map(|cookie| keys.lookup_hash("session", cookie)))
    .bind(keys.lookup_hash("refresh", &refresh_token))
    .bind(now.0)
    .bind(now.plus_secs(life_s).0)
    .execute(tx.conn())
    .await?;
    Ok(Opened { session_id, refresh_token, cookie })
}

/// True when the cookie was made by this house; says nothing about whether it still lives.
pub fn cookie_is_ours(keys: &Keys, cookie: &str) -> bool {
    cookie.split_once('.').is_some_and(|(body, tag)| keys.tag_fits("session cookie", body, tag))
}

/// The CSRF token that belongs to a cookie.
pub fn csrf_of(keys: &Keys, cookie: &str) -> String {
    keys.tag("csrf", cookie)
}

/// The live session behind a cookie.
pub async fn by_cookie(
    db: &Db,
    keys: &Keys,
    cookie: &str,
    now: Micros,
) -> Result<Option<Live>, ApiError> {
    if !cookie_is_ours(keys, cookie) {
        return Ok(None);
    }
    let sql = sqlx::AssertSqlSafe(format!("{LIVE} AND s.cookie_hash = $1 AND s.expires_at > $2"));
    let row = sqlx::query(sql)
        .bind(keys.lookup_hash("session", cookie))
        .bind(now.0)
        .fetch_optional(db.read())
        .await?;
    row.map(|row| live(&row)).transpose()
}

/// The live session with this id.
pub async fn by_id(db: &Db, session_id: &str, now: Micros) -> Result<Option<Live>, ApiError> {
    let sql = sqlx::AssertSqlSafe(format!("{LIVE} AND s.session_id = $1 AND s.expires_at > $2"));
    let row = sqlx::query(sql).bind(session_id).bind(now.0).fetch_optional(db.read()).await?;
    row.map(|row| live(&row)).transpose()
}

fn live(row: &sqlx::any::AnyRow) -> Result<Live, ApiError> {
    Ok(Live {
        session_id: row.try_get(0)?,
        user_id: row.try_get(1)?,
        role: row.try_get(2)?,
        actor_id: row.try_get(3)?,
    })
}

/// Turns a refresh token into the next pair.
pub async fn refresh(
    tx: &mut Tx,
    keys: &Keys,
    refresh_token: &str,
    now: Micros,
) -> Result<Refreshed, ApiError> {
    let shown = keys.lookup_hash("refresh", refresh_token);
    let next = random_token("inr_", 40);
    let turned = sqlx::query(
        "UPDATE sessions SET refresh_hash = $1, spent_refresh_hash = $2 \
         WHERE refresh_hash = $2 AND revoked_at IS NULL AND expires_at > $3 RETURNING session_id",
    )
    .bind(keys.lookup_hash("refresh", &next))
    .bind(shown.clone())
    .bind(now.0)
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = turned else { return spent(tx, &shown, now).await };
    let session_id: String = row.try_get(0)?;
    let sql = sqlx::AssertSqlSafe(format!("{LIVE} AND s.session_id = $1"));
    let Some(row) = sqlx::query(sql).bind(session_id.clone()).fetch_optional(tx.conn()).await?
    else {
        return Ok(Refreshed::No);
    };
    let opened = Opened { session_id, refresh_token: next, cookie: None };
    Ok(Refreshed::Yes(Box::new(live(&row)?), opened))
}

async fn spent(tx: &mut Tx, shown: &str, now: Micros) -> Result<Refreshed, ApiError> {
    let stolen = sqlx::query(
        "UPDATE sessions SET revoked_at = $2 WHERE spent_refresh_hash = $1 \
         AND revoked_at IS NULL RETURNING session_id",
    )
    .bind(shown)
    .bind(now.0)
    .fetch_optional(tx.conn())
    .await?;
    Ok(match stolen {
        Some(row) => Refreshed::Stolen { session_id: row.try_get(0)? },
        None => Refreshed::No,
    })
}

/// Ends a session.
pub async fn end(tx: &mut Tx, session_id: &str, now: Micros) -> Result<(), ApiError> {
    sqlx::query("UPDATE sessions SET revoked_at = $2 WHERE session_id = $1 AND revoked_at IS NULL")
        .bind(session_id)
        .bind(now.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}
