//! The views: newest positions, the latest state of orders and payments.
//!
//! In:    the tables of a cut.
//! Out:   SQL over them.
//! Never: reads a table of another cut: a view is planned anew for each question.

use inzira_archive::Table;
use inzira_schemas::states::{OrderState, PaymentState};

/// A view by its name.
pub struct View {
    /// The name in SQL.
    pub name: &'static str,
    /// The tables it reads.
    pub reads: &'static [Table],
    /// Its text.
    pub sql: fn() -> String,
}

/// Every view.
pub const VIEWS: [View; 3] = [
    View { name: "positions", reads: &[Table::PositionsAll], sql: positions },
    View { name: "orders", reads: &[Table::OrderEvents], sql: orders },
    View { name: "payments", reads: &[Table::PaymentEvents], sql: payments },
];

/// The view of a name.
pub fn view(name: &str) -> Option<&'static View> {
    VIEWS.iter().find(|view| view.name == name)
}

/// A revision is superseded when a higher one of the same driver and instant exists. Few rows
/// are ever revised, so the other side of the anti-join is small.
fn positions() -> String {
    "SELECT p.* FROM positions_all AS p LEFT ANTI JOIN \
     (SELECT driver_id, measured_at, revision FROM positions_all WHERE revision > 0) AS q \
     ON p.driver_id = q.driver_id AND p.measured_at = q.measured_at AND q.revision > p.revision"
        .to_owned()
}

fn orders() -> String {
    let newest = newest_order_event("");
    let newest_e = newest_order_event("e.");
    format!(
        "WITH latest AS (SELECT order_id, max({newest}) AS newest, \
           min(occurred_at) FILTER (WHERE state IN ('confirmed', 'confirmed_no_driver')) AS paid_at, \
           max(occurred_at) FILTER (WHERE state = 'assigned') AS assigned_at, \
           min(occurred_at) FILTER (WHERE state = 'picked_up') AS picked_up_at, \
           min(occurred_at) FILTER (WHERE state = 'delivered') AS delivered_at, \
           min(occurred_at) FILTER (WHERE state = 'cancelled') AS cancelled_at \
         FROM order_events GROUP BY order_id) \
         SELECT e.*, l.paid_at, l.assigned_at, l.picked_up_at, l.delivered_at, l.cancelled_at \
         FROM order_events AS e JOIN latest AS l \
         ON e.order_id = l.order_id AND {newest_e} = l.newest"
    )
}

fn payments() -> String {
    let newest = newest_payment_event("");
    let newest_e = newest_payment_event("e.");
    format!(
        "WITH latest AS (SELECT payment_id, max({newest}) AS newest, \
           min(occurred_at) FILTER (WHERE state = 'captured') AS captured_at, \
           max(occurred_at) FILTER (WHERE state = 'refunded') AS refunded_at \
         FROM payment_events GROUP BY payment_id) \
         SELECT e.*, l.captured_at, l.refunded_at \
         FROM payment_events AS e JOIN latest AS l \
         ON e.payment_id = l.payment_id AND {newest_e} = l.newest"
    )
}

/// Orders the events of one order: later is greater. What counts is when the house took note
/// (`recorded_at`): an agent's own clock may date an order ahead of everything that follows. Two
/// changes in one microsecond go by how far the state is along.
pub fn newest_order_event(prefix: &str) -> String {
    newest(prefix, &OrderState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>())
}

/// Orders the events of one payment likewise.
pub fn newest_payment_event(prefix: &str) -> String {
    newest(prefix, &PaymentState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>())
}

fn newest(prefix: &str, states: &[&str]) -> String {
    let mut cases = String::new();
    for (rank, state) in states.iter().enumerate() {
        cases.push_str(&format!(" WHEN '{state}' THEN {rank}"));
    }
    format!("CAST({prefix}recorded_at AS BIGINT) * 16 + CASE {prefix}state{cases} ELSE 15 END")
}
