//! The audit chain: what was done is found, what was touched is named.

use super::harness::{House, each};
use crate::audit;
use crate::db::Dialect;

async fn chained(house: &House) -> i64 {
    for _ in 0..3 {
        house.first("admin").await;
        house.clock.advance_secs(61);
        audit::turn(&house.api.app).await.unwrap();
    }
    let report = audit::verify(&house.api.app.db, &house.api.app.keys).await.unwrap();
    assert_eq!(report.first_bad, None);
    report.entries
}

async fn open_triggers(house: &House) {
    let statements: &[&str] = match house.api.app.db.dialect() {
        Dialect::Sqlite => &["DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete"],
        Dialect::Postgres => &["DROP TRIGGER audit_append_only ON audit"],
    };
    for statement in statements {
        sqlx::query(*statement).execute(house.api.app.db.read()).await.unwrap();
    }
}

async fn first_bad(house: &House) -> i64 {
    let report = audit::verify(&house.api.app.db, &house.api.app.keys).await.unwrap();
    report.first_bad.unwrap().0
}

#[tokio::test]
async fn the_database_refuses_to_change_the_audit_log() {
    each(async |house| {
        chained(&house).await;
        for sql in ["UPDATE audit SET details = 'x'", "DELETE FROM audit WHERE idx = 1"] {
            assert!(sqlx::query(sql).execute(house.api.app.db.read()).await.is_err(), "{sql}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_changed_entry_is_named_by_its_index() {
    each(async |house| {
        assert!(chained(&house).await >= 7);
        open_triggers(&house).await;
        sqlx::query("UPDATE audit SET actor_id = 'somebody else' WHERE idx = 3")
            .execute(house.api.app.db.read())
            .await
            .unwrap();
        assert_eq!(first_bad(&house).await, 3);
    })
    .await;
}

#[tokio::test]
async fn a_missing_entry_and_a_cut_tail_are_named() {
    each(async |house| {
        let entries = chained(&house).await;
        open_triggers(&house).await;
        let db = house.api.app.db.read();
        sqlx::query("DELETE FROM audit WHERE idx = $1").bind(entries).execute(db).await.unwrap();
        assert_eq!(first_bad(&house).await, entries);
        sqlx::query("DELETE FROM audit WHERE idx = 2").execute(db).await.unwrap();
        assert_eq!(first_bad(&house).await, 2);
    })
    .await;
}
