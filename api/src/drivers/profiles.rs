//! Driver profiles.
//!
//! In:    a registration, the desk's decision, the driver's switch.
//! Out:   one row a driver.
//! Never: a licence number or plate in the clear.

use inzira_schemas::Micros;
use sqlx::Row;

use crate::db::{Db, Tx};
use crate::error::ApiError;
use crate::secrets::Keys;

/// What a driver may say of themselves at registration.
#[derive(Debug, Default, Clone, Copy)]
pub struct Papers<'a> {
    /// Driving licence.
    pub license_number: Option<&'a str>,
    /// Its last day, `YYYY-MM-DD`.
    pub license_expiry_date: Option<&'a str>,
    /// Number plate.
    pub vehicle_plate: Option<&'a str>,
}

/// A new profile.
#[derive(Debug)]
pub struct NewProfile<'a> {
    /// `drv_…`.
    pub driver_id: &'a str,
    /// The log-in it belongs to.
    pub owner_id: &'a str,
    /// The name of a fleet's vehicle, unique.
    pub label: Option<&'a str>,
    /// `pending` until the desk has seen the papers, `active`, `suspended`, `closed`.
    pub status: &'a str,
    /// Takes orders.
    pub available: bool,
}

/// Adds a profile.
pub async fn add(
    tx: &mut Tx,
    keys: &Keys,
    new: NewProfile<'_>,
    papers: Papers<'_>,
    now: Micros,
) -> Result<(), ApiError> {
    let seal = |column, text| keys.seal_some("driver_profiles", column, new.driver_id, text);
    sqlx::query(
        "INSERT INTO driver_profiles (driver_id, owner_id, label, license_number_sealed, \
         license_expiry_date, vehicle_plate_sealed, status, available, idle_since, created_at, \
         updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $9)",
    )
    .bind(new.driver_id)
    .bind(new.owner_id)
    .bind(new.label)
    .bind(seal("license_number", papers.license_number)?)
    .bind(papers.license_expiry_date)
    .bind(seal("vehicle_plate", papers.vehicle_plate)?)
    .bind(new.status)
    .bind(i64::from(new.available))
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Whether a driver is active and takes orders.
pub async fn standing(db: &Db, driver_id: &str) -> Result<Option<(String, bool)>, ApiError> {
    let row = sqlx::query("SELECT status, available FROM driver_profiles WHERE driver_id = $1")
        .bind(driver_id)
        .fetch_optional(db.read())
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((row.try_get(0)?, row.try_get::<i64, _>(1)? != 0)))
}
