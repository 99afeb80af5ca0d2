//! A lease in the database: of several processes, one does a task at a time.
//!
//! In:    a name.
//! Out:   whether this process holds it now.
//! Keeps: `LEASE_S` after the last renewal; a process that dies leaves it to the next by then.
//! Never: the only guard: what the task does must bear a second doer for a moment.

use inzira_schemas::Micros;

use crate::app::App;
use crate::db::Actor;
use crate::error::ApiError;
use crate::secrets::random_token;

/// How long a lease holds after its last renewal, seconds.
const LEASE_S: i64 = 10;
/// It is renewed this long before it ends, seconds.
const RENEW_S: i64 = 6;

/// This process's claim on one task.
#[derive(Debug)]
pub struct Lease {
    name: &'static str,
    holder: String,
    until: Micros,
}

impl Lease {
    /// A claim on `name`, not held yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, holder: random_token("", 16), until: Micros(0) }
    }

    /// True while this process holds it; takes or renews it when need be.
    pub async fn hold(&mut self, app: &App) -> Result<bool, ApiError> {
        let now = app.now();
        if now < self.until.plus_secs(-RENEW_S) {
            return Ok(true);
        }
        let until = now.plus_secs(LEASE_S);
        let mut tx = app.db.begin(&Actor::system()).await?;
        let taken = sqlx::query(
            "INSERT INTO leases (name, holder, until_at) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET holder = $2, until_at = $3 \
             WHERE leases.holder = $2 OR leases.until_at <= $4",
        )
        .bind(self.name)
        .bind(self.holder.clone())
        .bind(until.0)
        .bind(now.0)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        let held = taken.rows_affected() == 1;
        self.until = if held { until } else { Micros(0) };
        Ok(held)
    }

    /// Leaves it to the next at once.
    pub async fn give_up(&mut self, app: &App) {
        self.until = Micros(0);
        let Ok(mut tx) = app.db.begin(&Actor::system()).await else { return };
        let gone = sqlx::query("DELETE FROM leases WHERE name = $1 AND holder = $2")
            .bind(self.name)
            .bind(self.holder.clone())
            .execute(tx.conn())
            .await;
        if gone.is_ok() {
            // Failing here only lets the lease run out by itself.
            let _ = tx.commit().await;
        }
    }
}
