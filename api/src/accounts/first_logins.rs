//! The first log-ins of an empty database.
//!
//! In:    a database without users.
//! Out:   an admin, an operator, an analyst and an engineer with fresh passwords, told once.
//! Never: keeps the passwords: the binary prints them and stores them for its owner alone.

use inzira_schemas::Micros;
use inzira_schemas::identity::Role;
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::accounts::password::Passwords;
use crate::accounts::phone::Phone;
use crate::accounts::users::{self, NewUser};
use crate::audit;
use crate::db::{Actor, Db};
use crate::error::ApiError;
use crate::secrets::{Keys, random_token};
use std::sync::Arc;

/// One log-in, with its password in the clear: told once.
#[derive(Clone, Serialize, Deserialize)]
pub struct FirstLogin {
    /// `admin`, `operator`, `analyst`, `engineer`.
    pub role: String,
    /// `+250780000001` and on.
    pub phone: String,
    /// Fresh, 100 random bits.
    pub password: String,
}

/// What a first start made.
#[derive(Clone, Serialize, Deserialize)]
pub struct FirstLogins {
    /// The accounts.
    pub accounts: Vec<FirstLogin>,
    /// The external gateway key (`x-inzira-key`).
    pub gateway_key: String,
    /// The internal gateway key (`x-internal-key`).
    pub internal_key: String,
}

impl std::fmt::Debug for FirstLogins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FirstLogins({} accounts)", self.accounts.len())
    }
}

const ACCOUNTS: [(Role, &str); 4] = [
    (Role::Admin, "+250780000001"),
    (Role::Operator, "+250780000002"),
    (Role::Analyst, "+250780000003"),
    (Role::Engineer, "+250780000004"),
];

/// Makes the accounts when there is no user at all. Two processes that start at once make one set.
pub async fn make(
    db: &Db,
    keys: &Keys,
    passwords: &Arc<Passwords>,
    now: Micros,
) -> Result<Option<FirstLogins>, ApiError> {
    let row = sqlx::query("SELECT COUNT(*) FROM users").fetch_one(db.read()).await?;
    if row.try_get::<i64, _>(0)? > 0 {
        return Ok(None);
    }
    let mut fresh = Vec::new();
    for (role, phone) in ACCOUNTS {
        let password = random_token("", 20);
        let password_hash = passwords.hash(password.clone()).await?;
        fresh.push((role, phone, password, password_hash));
    }
    let mut accounts = Vec::new();
    let mut tx = db.begin(&Actor::system()).await?;
    for (role, phone, password, password_hash) in fresh {
        let new = NewUser {
            phone: &Phone::parse(phone)?,
            role,
            password_hash: &password_hash,
            first_name: None,
            last_name: None,
            language: "en",
            status: "active",
        };
        let Some(user) = users::add(&mut tx, keys, new, now).await? else {
            return Ok(None);
        };
        audit::note(&mut tx, "account.created", &user.user_id, role.as_str(), now).await?;
        accounts.push(FirstLogin {
            role: role.as_str().to_owned(),
            phone: phone.to_owned(),
            password,
        });
    }
    tx.commit().await?;
    Ok(Some(FirstLogins {
        accounts,
        gateway_key: keys.gateway_external.current.clone(),
        internal_key: keys.gateway_internal.current.clone(),
    }))
}
