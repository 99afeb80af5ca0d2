//! `GET orders`, `GET orders/{id}`.
//!
//! In:    whoever is logged in.
//! Out:   their orders, newest first, a page at a time.
//! Never: a stranger's.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use inzira_schemas::OrderId;
use inzira_schemas::identity::Role;
use inzira_schemas::states::OrderState;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::http::guard::Person;
use crate::orders::store::{Order, SELECT};
use crate::orders::view;

const PAGE_MAX: i64 = 200;
const PAGE: i64 = 50;

/// The query of `GET orders`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// How many.
    limit: Option<i64>,
    /// `next` of the page before.
    after: Option<String>,
    /// Only these.
    state: Option<String>,
}

/// `GET orders`: own ones; every one for the desk.
pub async fn list(
    State(app): State<Arc<App>>,
    person: Person,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let (before_at, before_id) = cursor(page.after.as_deref())?;
    let state = match &page.state {
        Some(text) => OrderState::parse(text)
            .ok_or_else(|| ApiError::invalid("state", "no such state"))?
            .as_str(),
        None => "",
    };
    let mine = match person.role {
        Role::Operator | Role::Admin => "$1 <> ''",
        Role::Driver => "driver_id = $1",
        Role::Agent => "agent_id = $1",
        Role::Vendor => "vendor_id = $1",
        _ => "(customer_id = $1 OR owner_id = $1)",
    };
    let sql = format!(
        "{SELECT} WHERE {mine} AND (created_at, order_id) < ($2, $3) \
         AND ($4 = '' OR state = $4) ORDER BY created_at DESC, order_id DESC LIMIT $5"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(person.actor_id.clone())
        .bind(before_at)
        .bind(before_id)
        .bind(state)
        .bind(limit)
        .fetch_all(app.db.read())
        .await?;
    let mut orders = Vec::with_capacity(rows.len());
    let mut next = None;
    for row in &rows {
        let order = Order::of(row)?;
        next = Some(format!("{}.{}", order.created_at, order.order_id));
        orders.push(view::of(&app.keys, &person, &order)?);
    }
    let full = i64::try_from(orders.len()).unwrap_or(0) == limit;
    Ok(Json(json!({ "orders": orders, "next": next.filter(|_| full) })))
}

fn cursor(after: Option<&str>) -> Result<(i64, String), ApiError> {
    let Some(text) = after else { return Ok((i64::MAX, "~".to_owned())) };
    let wrong = || ApiError::invalid("after", "after is the next of the page before");
    let (at, id) = text.split_once('.').ok_or_else(wrong)?;
    let id = OrderId::parse(id).map_err(|_| wrong())?;
    Ok((at.parse().map_err(|_| wrong())?, id.to_string()))
}

/// `GET orders/{id}`.
pub async fn read(
    State(app): State<Arc<App>>,
    person: Person,
    Path(order_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let order = view::mine(&app, &person, &order_id).await?;
    Ok(Json(view::of(&app.keys, &person, &order)?))
}
