//! Share links: whoever holds one may watch one order for a while.
//!
//! In:    an order of the caller's.
//! Out:   `/t/{token}`; the token is told once and kept as a keyed hash.
//! Never: tells whoever does not hold a token whether it exists.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use inzira_schemas::{Micros, OrderId, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row;

use crate::app::App;
use crate::audit;
use crate::db::Db;
use crate::error::ApiError;
use crate::http::body::Body;
use crate::http::guard::Person;
use crate::orders::view;
use crate::secrets::{Keys, random_token};

const PREFIX: &str = "shr_";
/// Random characters of five bits each.
const BODY_CHARS: usize = 26;
/// Base 64 of the twelve-byte tag.
const TAG_CHARS: usize = 16;
/// Links alive at once an order; more are refused.
const LINKS_MAX: i64 = 50;

/// The body of `POST orders/{id}/share`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShareWish {
    /// How long it is to hold, seconds.
    expires_in_s: Option<i64>,
}

/// A link that holds.
#[derive(Debug, Clone)]
pub struct Link {
    /// What may be watched.
    pub order_id: OrderId,
    /// Until when.
    pub expires_at: Micros,
}

/// True when the token was made by this house; says nothing about whether it still holds.
pub fn is_ours(keys: &Keys, token: &str) -> bool {
    let Some(rest) = token.strip_prefix(PREFIX) else { return false };
    if rest.len() != BODY_CHARS + TAG_CHARS || !rest.is_ascii() {
        return false;
    }
    let (body, tag) = rest.split_at(BODY_CHARS);
    keys.tag_fits("share token", body, tag)
}

/// The link behind a token, if it holds now.
pub async fn live(
    db: &Db,
    keys: &Keys,
    token: &str,
    now: Micros,
) -> Result<Option<Link>, ApiError> {
    if !is_ours(keys, token) {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT order_id, expires_at FROM share_links \
         WHERE token_hash = $1 AND expires_at > $2 AND revoked_at IS NULL",
    )
    .bind(keys.lookup_hash("share", token))
    .bind(now.0)
    .fetch_optional(db.read())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let order_id: String = row.try_get(0)?;
    Ok(OrderId::parse(&order_id)
        .ok()
        .map(|order_id| Link { order_id, expires_at: Micros(row.try_get(1).unwrap_or(0)) }))
}

/// True when the token was once given out, whether or not it still holds.
pub async fn was(db: &Db, keys: &Keys, token: &str) -> Result<bool, ApiError> {
    if !is_ours(keys, token) {
        return Ok(false);
    }
    let row = sqlx::query("SELECT 1 FROM share_links WHERE token_hash = $1")
        .bind(keys.lookup_hash("share", token))
        .fetch_optional(db.read())
        .await?;
    Ok(row.is_some())
}

/// `POST orders/{id}/share`.
pub async fn create(
    State(app): State<Arc<App>>,
    person: Person,
    Path(order_id): Path<String>,
    body: Body<ShareWish>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let order = view::mine(&app, &person, &order_id).await?;
    if !view::may_steer(&person, &order) {
        return Err(Problem::forbidden().into());
    }
    let limits = app.config.logins;
    let life_s = body.value.expires_in_s.unwrap_or(limits.share_s);
    if !(1..=limits.share_max_s).contains(&life_s) {
        let detail = format!("a link holds 1 to {} seconds", limits.share_max_s);
        return Err(ApiError::invalid("expires_in_s", detail));
    }
    let now = app.now();
    let expires_at = now.plus_secs(life_s);
    let random = random_token("", BODY_CHARS);
    let token = format!("{PREFIX}{random}{}", app.keys.tag("share token", &random));
    let mut tx = app.db.begin(&person.actor()).await?;
    let row = sqlx::query(
        "SELECT COUNT(*) FROM share_links WHERE order_id = $1 AND expires_at > $2 \
         AND revoked_at IS NULL",
    )
    .bind(order_id.clone())
    .bind(now.0)
    .fetch_one(tx.conn())
    .await?;
    if row.try_get::<i64, _>(0)? >= LINKS_MAX {
        return Err(Problem::conflict("too_many_links", "the order has 50 links already").into());
    }
    sqlx::query(
        "INSERT INTO share_links (token_hash, order_id, owner_id, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(app.keys.lookup_hash("share", &token))
    .bind(order_id.clone())
    .bind(person.user_id.clone())
    .bind(now.0)
    .bind(expires_at.0)
    .execute(tx.conn())
    .await?;
    audit::note(&mut tx, "order.shared", &order_id, "", now).await?;
    app.commit(tx).await?;
    let url = format!("{}/t/{token}", app.config.public_url.trim_end_matches('/'));
    let answer = json!({
        "order_id": order_id,
        "token": token,
        "url": url,
        "expires_at": expires_at.to_rfc3339(),
    });
    Ok((StatusCode::CREATED, Json(answer)))
}
