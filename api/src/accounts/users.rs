//! The users table: people who can log in.
//!
//! In:    a phone, a role, a password's hash.
//! Out:   rows, found by the phone's blind index.
//! Never: holds a name or phone in the clear.

use inzira_schemas::identity::Role;
use inzira_schemas::{AgentId, CustomerId, DriverId, Micros, UserId, VendorId};
use sqlx::Row;

use crate::accounts::phone::Phone;
use crate::db::{Db, Tx};
use crate::error::ApiError;
use crate::secrets::Keys;

/// What is known of a user when they log in.
#[derive(Debug, Clone)]
pub struct User {
    /// The log-in.
    pub user_id: String,
    /// What they may do.
    pub role: String,
    /// Their id in the log.
    pub actor_id: String,
    /// `en`, `rw`, `fr`.
    pub language: String,
    /// `unverified`, `active`, `closed`.
    pub status: String,
    /// Argon2id.
    pub password_hash: String,
}

/// Who is to be added.
#[derive(Debug)]
pub struct NewUser<'a> {
    /// The number.
    pub phone: &'a Phone,
    /// The role.
    pub role: Role,
    /// Argon2id.
    pub password_hash: &'a str,
    /// Given name.
    pub first_name: Option<&'a str>,
    /// Family name.
    pub last_name: Option<&'a str>,
    /// `en`, `rw`, `fr`.
    pub language: &'a str,
    /// `unverified` or `active`.
    pub status: &'a str,
}

/// The blind index of a phone.
pub fn phone_index(keys: &Keys, phone: &Phone) -> String {
    keys.lookup_hash("phone index", phone.as_str())
}

/// The user with this phone.
pub async fn by_phone(db: &Db, keys: &Keys, phone: &Phone) -> Result<Option<User>, ApiError> {
    let row = sqlx::query(
        "SELECT user_id, role, actor_id, language, status, password_hash FROM users \
         WHERE phone_index = $1",
    )
    .bind(phone_index(keys, phone))
    .fetch_optional(db.read())
    .await?;
    row.map(|row| user(&row)).transpose()
}

/// The user with this id.
pub async fn by_id(db: &Db, user_id: &str) -> Result<Option<User>, ApiError> {
    let row = sqlx::query(
        "SELECT user_id, role, actor_id, language, status, password_hash FROM users \
         WHERE user_id = $1",
    )
    .bind(user_id)
    .fetch_optional(db.read())
    .await?;
    row.map(|row| user(&row)).transpose()
}

/// The phone of a user.
pub async fn phone_of(db: &Db, keys: &Keys, user_id: &str) -> Result<Option<Phone>, ApiError> {
    let row = sqlx::query("SELECT phone_sealed FROM users WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional(db.read())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let sealed: Vec<u8> = row.try_get(0)?;
    Ok(Some(Phone::parse(&keys.unseal("users", "phone", user_id, &sealed)?)?))
}

fn user(row: &sqlx::any::AnyRow) -> Result<User, ApiError> {
    Ok(User {
        user_id: row.try_get(0)?,
        role: row.try_get(1)?,
        actor_id: row.try_get(2)?,
        language: row.try_get(3)?,
        status: row.try_get(4)?,
        password_hash: row.try_get(5)?,
    })
}

/// Adds a user; `None` when the phone has one already.
pub async fn add(
    tx: &mut Tx,
    keys: &Keys,
    new: NewUser<'_>,
    now: Micros,
) -> Result<Option<User>, ApiError> {
    let user_id = UserId::new().to_string();
    let actor_id = match new.role {
        Role::Customer => customer(tx, keys, new.phone, now).await?,
        Role::Driver => DriverId::new().to_string(),
        Role::Agent => AgentId::new().to_string(),
        Role::Vendor => VendorId::new().to_string(),
        _ => user_id.clone(),
    };
    let seal = |column, text| keys.seal_some("users", column, &user_id, text);
    let added = sqlx::query(
        "INSERT INTO users (user_id, role, actor_id, phone_sealed, phone_index, \
         first_name_sealed, last_name_sealed, password_hash, language, status, created_at, \
         updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) \
         ON CONFLICT DO NOTHING",
    )
    .bind(user_id.clone())
    .bind(new.role.as_str())
    .bind(actor_id.clone())
    .bind(keys.seal("users", "phone", &user_id, new.phone.as_str())?)
    .bind(phone_index(keys, new.phone))
    .bind(seal("first_name", new.first_name)?)
    .bind(seal("last_name", new.last_name)?)
    .bind(new.password_hash)
    .bind(new.language)
    .bind(new.status)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    if added.rows_affected() == 0 {
        return Ok(None);
    }
    Ok(Some(User {
        user_id,
        role: new.role.as_str().to_owned(),
        actor_id,
        language: new.language.to_owned(),
        status: new.status.to_owned(),
        password_hash: new.password_hash.to_owned(),
    }))
}

/// The customer with this phone, added when new: whoever receives a parcel is one, with or
/// without a log-in.
pub async fn customer(
    tx: &mut Tx,
    keys: &Keys,
    phone: &Phone,
    now: Micros,
) -> Result<String, ApiError> {
    let fresh = CustomerId::new().to_string();
    let index = phone_index(keys, phone);
    sqlx::query(
        "INSERT INTO customers (customer_id, phone_sealed, phone_index, created_at) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (phone_index) DO NOTHING",
    )
    .bind(fresh.clone())
    .bind(keys.seal("customers", "phone", &fresh, phone.as_str())?)
    .bind(index.clone())
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    let row = sqlx::query("SELECT customer_id FROM customers WHERE phone_index = $1")
        .bind(index)
        .fetch_one(tx.conn())
        .await?;
    Ok(row.try_get(0)?)
}

/// Marks a user as verified.
pub async fn activate(tx: &mut Tx, user_id: &str, now: Micros) -> Result<(), ApiError> {
    sqlx::query("UPDATE users SET status = 'active', updated_at = $2 WHERE user_id = $1")
        .bind(user_id)
        .bind(now.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}
