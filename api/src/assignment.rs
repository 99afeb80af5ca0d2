//! Which driver carries which order.
//!
//! In:    paid orders without a driver; who is near, from the live bus.
//! Out:   the nearest free driver bound to the order, or `confirmed_no_driver` after two minutes.
//! Keeps: round and next round in the order's row.
//! Never: gives one driver two orders: the database refuses the second.
//!
//! A round has three parts, each on its own: `nearby` (who), `rank` (in which order), `bind`
//! (make it so). Asking drivers instead of binding them changes only what comes after `rank`.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt as _;
use inzira_live_bus::{LivePosition, MATCHABLE_S};
use inzira_schemas::states::OrderState;
use inzira_schemas::{Micros, Point, Problem, cell};
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::db::{Actor, Tx};
use crate::error::ApiError;
use crate::messages;
use crate::orders::store::{self, Change, Order};

/// H3 rings at resolution 9 that are asked one after the other; a ring is about 300 m wide.
const RINGS: [u32; 4] = [2, 5, 10, 17];
/// Candidates tried a round; the rest have their chance in the next.
const CANDIDATES_MAX: usize = 20;

/// Rounds under way at once.
const AT_ONCE: usize = 16;

/// A driver who could come.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Who.
    pub driver_id: String,
    /// From the pickup, metres.
    pub distance_m: f64,
    /// Since when without an order, microseconds.
    pub idle_since: i64,
    /// Stars, 0 to 5; 0 without a rating.
    pub rating: f64,
}

/// Nearest first; of two as near (within 50 m), who waits longer; then who is rated better.
pub fn rank(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    let step = |candidate: &Candidate| (candidate.distance_m / 50.0) as i64;
    candidates.sort_by(|a, b| {
        step(a)
            .cmp(&step(b))
            .then(a.idle_since.cmp(&b.idle_since))
            .then(b.rating.total_cmp(&a.rating))
            .then(a.driver_id.cmp(&b.driver_id))
    });
    candidates
}

/// Matches until told to stop.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match turn(&app).await {
            Ok(count) if count as i64 >= app.config.matching.batch_max => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %error, "matching waits"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.bells.matching.notified() => {}
            () = tokio::time::sleep(app.config.matching.idle_pause) => {}
        }
    }
}

/// One turn over the orders whose round is due. Answers how many.
pub async fn turn(app: &App) -> Result<usize, ApiError> {
    let rows = sqlx::query(
        "SELECT order_id FROM orders WHERE state = 'confirmed' AND next_match_at <= $1 \
         ORDER BY next_match_at LIMIT $2",
    )
    .bind(app.now().0)
    .bind(app.config.matching.batch_max)
    .fetch_all(app.db.read())
    .await?;
    let mut due: Vec<String> = Vec::with_capacity(rows.len());
    for row in &rows {
        due.push(row.try_get(0)?);
    }
    let count = due.len();
    // Two rounds that want one driver: the database lets one have it, the other goes on.
    futures::stream::iter(due)
        .for_each_concurrent(AT_ONCE, |order_id| async move {
            if let Err(error) = round(app, &order_id).await {
                tracing::warn!(order_id, error = %error, "a round of matching failed");
            }
        })
        .await;
    Ok(count)
}

/// One round for one order.
async fn round(app: &App, order_id: &str) -> Result<(), ApiError> {
    let Some(order) = store::read(&app.db, order_id).await? else { return Ok(()) };
    let candidates = rank(nearby(app, order.pickup).await);
    for candidate in candidates.iter().take(CANDIDATES_MAX) {
        let mut tx = app.db.begin(&Actor::system()).await?;
        let Some(mut order) = store::lock(&mut tx, order_id).await? else { return Ok(()) };
        if order.state != OrderState::Confirmed {
            return Ok(());
        }
        let now = app.now();
        match bind(app, &mut tx, &mut order, &candidate.driver_id, "nearest", now).await {
            Ok(true) => {
                app.commit(tx).await?;
                metrics::counter!("inzira_orders_assigned_total").increment(1);
                return Ok(());
            }
            Ok(false) => {}
            // Somebody else bound this driver a moment ago: on to the next.
            Err(error) if is_taken(&error) => {}
            Err(error) => return Err(error),
        }
    }
    nobody(app, order_id).await
}

fn is_taken(error: &ApiError) -> bool {
    error.is_unique_violation()
        || matches!(error, ApiError::Told(problem) if problem.code == "driver_busy")
}

/// Free, active drivers within the radius whose position is young, nearest cells first. The bus
/// being away means that nobody is known to be near.
async fn nearby(app: &App, pickup: Point) -> Vec<Candidate> {
    let since = app.now().plus_secs(-MATCHABLE_S);
    for rings in RINGS {
        let cells = cell::disk(cell::cell_r9(pickup), rings);
        let positions = match app.bus.near(&cells, since).await {
            Ok(positions) => positions,
            Err(error) => {
                tracing::warn!(error = %error, "nobody is known to be near");
                return Vec::new();
            }
        };
        match free(app, pickup, positions).await {
            Ok(found) if !found.is_empty() => return found,
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %error, "drivers cannot be looked up"),
        }
    }
    Vec::new()
}

async fn free(
    app: &App,
    pickup: Point,
    positions: Vec<LivePosition>,
) -> Result<Vec<Candidate>, ApiError> {
    let mut near: HashMap<String, f64> = HashMap::new();
    for position in positions {
        let distance_m = pickup.distance_m(position.point());
        if distance_m <= app.config.matching.radius_m {
            near.insert(position.driver_id.to_string(), distance_m);
        }
    }
    if near.is_empty() {
        return Ok(Vec::new());
    }
    let mut names: Vec<&str> = near.keys().map(String::as_str).collect();
    names.sort_by(|a, b| near[*a].total_cmp(&near[*b]));
    names.truncate(500);
    let holes: Vec<String> = (1..=names.len()).map(|number| format!("${number}")).collect();
    let sql = format!(
        "SELECT d.driver_id, d.idle_since, d.rating_sum, d.rating_count FROM driver_profiles d \
         WHERE d.driver_id IN ({}) AND d.status = 'active' AND d.available = 1 \
         AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.driver_id = d.driver_id \
         AND o.state IN ('assigned', 'picked_up'))",
        holes.join(",")
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).persistent(false);
    for name in &names {
        query = query.bind((*name).to_owned());
    }
    let mut found = Vec::new();
    for row in query.fetch_all(app.db.read()).await? {
        let driver_id: String = row.try_get(0)?;
        let (sum, count): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
        found.push(Candidate {
            distance_m: near.get(&driver_id).copied().unwrap_or(f64::MAX),
            driver_id,
            idle_since: row.try_get(1)?,
            rating: if count > 0 { sum as f64 / count as f64 } else { 0.0 },
        });
    }
    Ok(found)
}

/// Binds a driver to a locked order; false when there is no such active driver. A driver who
/// carries another order is refused by `driver_busy` here, and by the database in a race.
pub async fn bind(
    app: &App,
    tx: &mut Tx,
    order: &mut Order,
    driver_id: &str,
    reason: &str,
    now: Micros,
) -> Result<bool, ApiError> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM orders o WHERE o.driver_id = $1 AND o.order_id <> $2 \
         AND o.state IN ('assigned', 'picked_up')) FROM driver_profiles \
         WHERE driver_id = $1 AND status = 'active'",
    )
    .bind(driver_id)
    .bind(order.order_id.clone())
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(false) };
    if row.try_get::<i64, _>(0)? > 0 {
        return Err(busy());
    }
    if order.state == OrderState::Assigned && order.driver_id.as_deref() == Some(driver_id) {
        return Err(Problem::conflict("already_assigned", "this driver has the order").into());
    }
    let change =
        Change { to: OrderState::Assigned, driver_id: Some(driver_id.to_owned()), reason, at: now };
    store::change(tx, order, change).await?;
    messages::to_order(app, tx, order, "order.assigned", &[], now).await?;
    Ok(true)
}

/// The driver carries another order.
pub fn busy() -> ApiError {
    Problem::conflict("driver_busy", "the driver carries another order; pick another").into()
}

/// No driver this round: another round soon, or an operator's gap when two minutes are over.
async fn nobody(app: &App, order_id: &str) -> Result<(), ApiError> {
    let mut tx = app.db.begin(&Actor::system()).await?;
    let Some(mut order) = store::lock(&mut tx, order_id).await? else { return Ok(()) };
    if order.state != OrderState::Confirmed {
        return Ok(());
    }
    let now = app.now();
    let matching = app.config.matching;
    let started_at = Micros(order.match_started_at.unwrap_or(now.0));
    if now >= started_at.plus_secs(matching.give_up_s) {
        let change = Change {
            to: OrderState::ConfirmedNoDriver,
            driver_id: None,
            reason: "no driver near",
            at: now,
        };
        store::change(&mut tx, &mut order, change).await?;
        app.commit(tx).await?;
        metrics::counter!("inzira_orders_without_driver_total").increment(1);
        return Ok(());
    }
    sqlx::query(
        "UPDATE orders SET match_rounds = match_rounds + 1, next_match_at = $2 WHERE order_id = $1",
    )
    .bind(order_id)
    .bind(now.0 + matching.round_ms * 1_000)
    .execute(tx.conn())
    .await?;
    Ok(tx.commit().await?)
}

/// The driver of a closed order waits from now on.
pub async fn now_idle(tx: &mut Tx, order: &Order, now: Micros) -> Result<(), ApiError> {
    sqlx::query("UPDATE driver_profiles SET idle_since = $2 WHERE driver_id = $1")
        .bind(order.driver_id.clone())
        .bind(now.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, distance_m: f64, idle_since: i64, rating: f64) -> Candidate {
        Candidate { driver_id: name.to_owned(), distance_m, idle_since, rating }
    }

    #[test]
    fn the_nearest_comes_first_then_the_longest_idle_then_the_best_rated() {
        let ranked = rank(vec![
            candidate("far", 900.0, 0, 5.0),
            candidate("near-late", 110.0, 50, 5.0),
            candidate("near-early", 140.0, 10, 1.0),
            candidate("near-early-better", 120.0, 10, 4.0),
        ]);
        let names: Vec<&str> = ranked.iter().map(|one| one.driver_id.as_str()).collect();
        assert_eq!(names, ["near-early-better", "near-early", "near-late", "far"]);
    }
}
