//! What drivers do: enrol phones, switch themselves on, look at their order; and the desk for them.
//!
//! In:    a driver's or the desk's request.
//! Out:   devices with links and QR codes; the order in hand.
//! Never: another driver's.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use inzira_schemas::{DeviceId, DriverId, Micros, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row;

use crate::app::App;
use crate::audit;
use crate::drivers::{devices, profiles};
use crate::error::ApiError;
use crate::http::body::Body;
use crate::http::guard::Person;
use crate::orders::store::{Order, SELECT};
use crate::orders::view;

/// The body of `POST drivers/me/devices`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceWish {
    label: String,
}

/// The body of `PUT drivers/me/availability`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Availability {
    available: bool,
}

/// The body of `POST admin/drivers/{driver_id}/status`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    status: String,
    #[serde(default)]
    reason: String,
}

/// `POST drivers/me/devices`.
pub async fn enrol(
    State(app): State<Arc<App>>,
    person: Person,
    body: Body<DeviceWish>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let label = body.value.label;
    if label.chars().count() > 80 || label.chars().any(char::is_control) {
        return Err(ApiError::invalid("label", "a label has up to 80 characters"));
    }
    let now = app.now();
    let mut tx = app.db.begin(&person.actor()).await?;
    devices::has_room(&mut tx, &person.actor_id).await?;
    let device = devices::add(&app, &mut tx, &person.actor_id, &label, now).await?;
    audit::note(&mut tx, "device.enrolled", &device.device_id, "", now).await?;
    app.commit(tx).await?;
    let answer = json!({
        "device_id": device.device_id,
        "id": device.token,
        "token": device.token,
        "label": label,
        "driver_id": person.actor_id,
        "links": devices::links(&app.config.public_url, &device.token),
    });
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `GET drivers/me/devices`.
pub async fn list(State(app): State<Arc<App>>, person: Person) -> Result<Json<Value>, ApiError> {
    let rows = sqlx::query(
        "SELECT device_id, label, created_at, revoked_at FROM devices WHERE owner_id = $1 \
         ORDER BY created_at DESC, device_id LIMIT 100",
    )
    .bind(person.actor_id.clone())
    .fetch_all(app.db.read())
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let revoked_at: Option<i64> = row.try_get(3)?;
        found.push(json!({
            "device_id": row.try_get::<String, _>(0)?,
            "label": row.try_get::<String, _>(1)?,
            "created_at": Micros(row.try_get(2)?).to_rfc3339(),
            "revoked_at": revoked_at.map(|at| Micros(at).to_rfc3339()),
        }));
    }
    Ok(Json(json!({ "devices": found })))
}

/// `DELETE drivers/me/devices/{device_id}`.
pub async fn revoke(
    State(app): State<Arc<App>>,
    person: Person,
    Path(device_id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let device_id =
        DeviceId::parse(&device_id).map_err(|_| Problem::not_found("device"))?.to_string();
    let now = app.now();
    let mut tx = app.db.begin(&person.actor()).await?;
    let revoked = sqlx::query(
        "UPDATE devices SET revoked_at = COALESCE(revoked_at, $3) \
         WHERE device_id = $1 AND owner_id = $2",
    )
    .bind(device_id.clone())
    .bind(person.actor_id.clone())
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    if revoked.rows_affected() == 0 {
        return Err(Problem::not_found("device").into());
    }
    audit::note(&mut tx, "device.revoked", &device_id, "", now).await?;
    app.commit(tx).await?;
    app.devices.forget(|device| device.device_id.as_str() == device_id);
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT drivers/me/availability`.
pub async fn availability(
    State(app): State<Arc<App>>,
    person: Person,
    body: Body<Availability>,
) -> Result<Json<Value>, ApiError> {
    let available = body.value.available;
    let standing = profiles::standing(&app.db, &person.actor_id).await?;
    let (status, _) = standing.ok_or_else(|| Problem::not_found("driver"))?;
    if available && status != "active" {
        let detail = format!("a driver who is {status} takes no orders; ask the desk");
        return Err(Problem::conflict("driver_not_active", detail).into());
    }
    let now = app.now();
    let mut tx = app.db.begin(&person.actor()).await?;
    sqlx::query(
        "UPDATE driver_profiles SET available = $2, updated_at = $3, \
         idle_since = CASE WHEN available = $2 THEN idle_since ELSE $3 END WHERE driver_id = $1",
    )
    .bind(person.actor_id.clone())
    .bind(i64::from(available))
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    app.bells.matching.notify_one();
    Ok(Json(json!({ "driver_id": person.actor_id, "status": status, "available": available })))
}

/// `GET drivers/me/order`: the order in hand, or null.
pub async fn order(State(app): State<Arc<App>>, person: Person) -> Result<Json<Value>, ApiError> {
    let sql = format!("{SELECT} WHERE driver_id = $1 AND state IN ('assigned', 'picked_up')");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(person.actor_id.clone())
        .fetch_optional(app.db.read())
        .await?;
    let order = match row {
        Some(row) => Some(view::of(&app.keys, &person, &Order::of(&row)?)?),
        None => None,
    };
    Ok(Json(json!({ "order": order })))
}

/// `POST admin/drivers/{driver_id}/status`: the desk has seen the papers, or suspends.
pub async fn status(
    State(app): State<Arc<App>>,
    person: Person,
    Path(driver_id): Path<String>,
    body: Body<Status>,
) -> Result<Json<Value>, ApiError> {
    let wish = body.value;
    if !["active", "suspended", "closed"].contains(&wish.status.as_str()) {
        return Err(ApiError::invalid("status", "status is active, suspended or closed"));
    }
    let driver_id =
        DriverId::parse(&driver_id).map_err(|_| Problem::not_found("driver"))?.to_string();
    let now = app.now();
    let mut tx = app.db.begin(&person.actor()).await?;
    let changed = sqlx::query(
        "UPDATE driver_profiles SET status = $2, updated_at = $3, \
         available = CASE WHEN $2 = 'active' THEN available ELSE 0 END WHERE driver_id = $1",
    )
    .bind(driver_id.clone())
    .bind(wish.status.clone())
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    if changed.rows_affected() == 0 {
        return Err(Problem::not_found("driver").into());
    }
    let details = format!("{} {}", wish.status, wish.reason);
    audit::note(&mut tx, "driver.status", &driver_id, &details, now).await?;
    app.commit(tx).await?;
    app.devices.forget(|device| device.driver_id.as_str() == driver_id);
    Ok(Json(json!({ "driver_id": driver_id, "status": wish.status })))
}
