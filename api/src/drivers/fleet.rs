//! `POST admin/fleet`: drivers and devices for whole fleets, by the vehicle's label.
//!
//! In:    up to a thousand labels.
//! Out:   the driver of each label (made when new) and a fresh device secret.
//! Never: makes a second driver for a label.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use inzira_schemas::{DriverId, Micros, UserId};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row;

use crate::app::App;
use crate::audit;
use crate::db::Tx;
use crate::drivers::devices;
use crate::drivers::profiles::{self, NewProfile, Papers};
use crate::error::ApiError;
use crate::http::body::Body;
use crate::http::guard::Person;

/// Labels in one call.
const VEHICLES_MAX: usize = 1_000;
const LABEL_CHARS_MAX: usize = 80;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    vehicles: Vec<String>,
}

/// Enrols a fleet.
pub async fn enrol(
    State(app): State<Arc<App>>,
    person: Person,
    body: Body<Fleet>,
) -> Result<Json<Value>, ApiError> {
    let labels = body.value.vehicles;
    let distinct: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
    if labels.is_empty() || labels.len() > VEHICLES_MAX || distinct.len() != labels.len() {
        return Err(ApiError::invalid("vehicles", "send 1 to 1,000 distinct labels"));
    }
    let fits = |label: &String| {
        (1..=LABEL_CHARS_MAX).contains(&label.chars().count())
            && !label.chars().any(char::is_control)
    };
    if !labels.iter().all(fits) {
        return Err(ApiError::invalid("vehicles", "a label has 1 to 80 characters"));
    }
    let now = app.now();
    let mut tx = app.db.begin(&person.actor()).await?;
    let mut enrolled = Vec::with_capacity(labels.len());
    for label in &labels {
        let driver_id = driver(&app, &mut tx, label, now).await?;
        retire(&mut tx, &driver_id, label, now).await?;
        let device = devices::add(&app, &mut tx, &driver_id, label, now).await?;
        enrolled.push(json!({
            "label": label,
            "driver_id": driver_id,
            "device_id": device.device_id,
            "id": device.token,
            "token": device.token,
        }));
    }
    audit::note(&mut tx, "fleet.enrolled", "", &labels.len().to_string(), now).await?;
    app.commit(tx).await?;
    Ok(Json(Value::Array(enrolled)))
}

/// Fleet drivers have a log-in row that nobody can log in to, so that they have an owner.
async fn driver(app: &App, tx: &mut Tx, label: &str, now: Micros) -> Result<String, ApiError> {
    let found = sqlx::query("SELECT driver_id FROM driver_profiles WHERE label = $1")
        .bind(label)
        .fetch_optional(tx.conn())
        .await?;
    if let Some(row) = found {
        return Ok(row.try_get(0)?);
    }
    let driver_id = DriverId::new().to_string();
    let user_id = UserId::new().to_string();
    sqlx::query(
        "INSERT INTO users (user_id, role, actor_id, phone_sealed, phone_index, password_hash, \
         language, status, created_at, updated_at) \
         VALUES ($1, 'driver', $2, $3, $4, '!', 'en', 'fleet', $5, $5)",
    )
    .bind(user_id.clone())
    .bind(driver_id.clone())
    .bind(app.keys.seal("users", "phone", &user_id, "")?)
    .bind(app.keys.lookup_hash("fleet", &driver_id))
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    let new = NewProfile {
        driver_id: &driver_id,
        owner_id: &user_id,
        label: Some(label),
        status: "active",
        available: true,
    };
    profiles::add(tx, &app.keys, new, Papers::default(), now).await?;
    Ok(driver_id)
}

/// A label that is enrolled again gets a fresh secret; all but the newest few of the old ones end.
async fn retire(tx: &mut Tx, driver_id: &str, label: &str, now: Micros) -> Result<(), ApiError> {
    sqlx::query(
        "UPDATE devices SET revoked_at = $3 WHERE owner_id = $1 AND label = $2 \
         AND revoked_at IS NULL AND device_id NOT IN (SELECT device_id FROM devices \
         WHERE owner_id = $1 AND label = $2 AND revoked_at IS NULL \
         ORDER BY created_at DESC, device_id DESC LIMIT 4)",
    )
    .bind(driver_id)
    .bind(label)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}
