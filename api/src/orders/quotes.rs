//! Prices that bind for a while.
//!
//! In:    a wish.
//! Out:   a price, kept under an id until it expires.
//! Never: lets a quote price another wish than the one it was given for.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use inzira_schemas::{Currency, Micros, Money, QuoteId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::app::App;
use crate::db::Tx;
use crate::error::ApiError;
use crate::http::body::Body;
use crate::http::guard::Person;
use crate::orders::tariff;
use crate::orders::wish::{Checked, QuoteWish};
use crate::secrets::hex;

/// `POST quotes`.
pub async fn create(
    State(app): State<Arc<App>>,
    person: Person,
    body: Body<QuoteWish>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let checked = body.value.check(&person)?;
    let now = app.now();
    let price = tariff::price(checked.load, now)?;
    let quote_id = QuoteId::new().to_string();
    let expires_at = now.plus_secs(app.config.prices.quote_s);
    let mut tx = app.db.begin(&person.actor()).await?;
    sqlx::query(
        "INSERT INTO quotes (quote_id, owner_id, kind, country, currency, gross_minor, distance_m, \
         tariff, wish_hash, created_at, expires_at) VALUES ($1, $2, $3, 'RW', $4, $5, $6, $7, $8, \
         $9, $10)",
    )
    .bind(quote_id.clone())
    .bind(person.user_id.clone())
    .bind(checked.kind.as_str())
    .bind(price.gross.currency.code())
    .bind(price.gross.minor)
    .bind(price.distance_m)
    .bind(price.tariff)
    .bind(wish_hash(&checked))
    .bind(now.0)
    .bind(expires_at.0)
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    let lines: Vec<Value> = price
        .lines
        .iter()
        .map(|(what, minor)| json!({ "what": what, "amount_minor": minor }))
        .collect();
    Ok((
        StatusCode::CREATED,
        Json(json!({
            "quote_id": quote_id,
            "kind": checked.kind,
            "currency": price.gross.currency,
            "gross_minor": price.gross.minor,
            "distance_m": price.distance_m,
            "weight_g": checked.load.weight_g,
            "tariff": price.tariff,
            "lines": lines,
            "expires_at": expires_at.to_rfc3339(),
        })),
    ))
}

/// The quoted price, if the quote is this owner's, for this wish, and still binds.
pub async fn bound(
    tx: &mut Tx,
    quote_id: &str,
    owner_id: &str,
    checked: &Checked,
    now: Micros,
) -> Result<Money, ApiError> {
    let unknown = || ApiError::invalid("quote", "no such quote; ask for a fresh one");
    let quote_id = QuoteId::parse(quote_id).map_err(|_| unknown())?;
    let row = sqlx::query(
        "SELECT currency, gross_minor, wish_hash, expires_at FROM quotes \
         WHERE quote_id = $1 AND owner_id = $2",
    )
    .bind(quote_id.as_str())
    .bind(owner_id)
    .fetch_optional(tx.conn())
    .await?;
    let row = row.ok_or_else(unknown)?;
    if row.try_get::<i64, _>(3)? <= now.0 {
        return Err(ApiError::invalid("quote", "the quote has expired; ask for a fresh one"));
    }
    if row.try_get::<String, _>(2)? != wish_hash(checked) {
        return Err(ApiError::invalid("quote", "the quote was given for another wish"));
    }
    let currency: Currency = row.try_get::<String, _>(0)?.parse()?;
    Ok(Money::new(row.try_get(1)?, currency))
}

/// What a quote is given for, as one hash.
fn wish_hash(checked: &Checked) -> String {
    let load = checked.load;
    let text = format!(
        "{}|{}|{}|{}|{}|{:?}|{}|{}|{}",
        checked.kind,
        checked.pickup.lat,
        checked.pickup.lon,
        checked.destination.lat,
        checked.destination.lon,
        load.weight_g,
        load.distance_m,
        load.goods_value_minor,
        checked.destination_country,
    );
    hex(&Sha256::digest(text.as_bytes()))
}
