//! Brings a database forward, never back.
//!
//! In:    the files of `migrations/`, in order, one text for both databases.
//! Out:   a schema; each file applied once, in one transaction, with its checksum kept.
//! Never: goes on when a file that was applied has changed since.

use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Row};

use crate::db::{Actor, Db, DbError};

const MIGRATIONS: &[(i64, &str, &str)] =
    &[(1, "first", include_str!("../../migrations/0001_first.sql"))];

pub(super) async fn run(db: &Db) -> Result<(), DbError> {
    let mut tx = db.begin(&Actor::system()).await?;
    if let Some(lock) = db.dialect().lock_migrations() {
        sqlx::query(lock).execute(tx.conn()).await?;
    }
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT PRIMARY KEY, \
         name TEXT NOT NULL, checksum TEXT NOT NULL)",
    )
    .execute(tx.conn())
    .await?;
    for (version, name, text) in MIGRATIONS {
        let checksum = crate::secrets::hex(&Sha256::digest(text.as_bytes()));
        let applied = sqlx::query("SELECT checksum FROM schema_migrations WHERE version = $1")
            .bind(*version)
            .fetch_optional(tx.conn())
            .await?;
        if let Some(row) = applied {
            if row.try_get::<String, _>(0)? != checksum {
                return Err(DbError::Changed { version: *version, name: (*name).to_owned() });
            }
            continue;
        }
        sqlx::raw_sql(AssertSqlSafe(db.dialect().migration(text))).execute(tx.conn()).await?;
        sqlx::query("INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)")
            .bind(*version)
            .bind(*name)
            .bind(checksum)
            .execute(tx.conn())
            .await?;
        tracing::info!(version, name, "migrated the database");
    }
    tx.commit().await
}
