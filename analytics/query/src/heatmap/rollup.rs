//! Revenue kept in memory: every captured payment with its order's places, ordered by hour.
//!
//! In:    payment and order events, in any order, any number of times.
//! Out:   heat maps, in a few milliseconds over hundreds of thousands of payments.
//! Keeps: a few words for each payment and order, at most `rows_max` of them; beyond it the
//!        rollup gives up its memory and heat maps are computed by SQL.
//! Never: depends on the order or the repeats of events: what is kept of them is a minimum, a
//!        maximum, or the one with the greatest key.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::RecordBatch;
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;
use inzira_archive::Table;
use inzira_schemas::Micros;

use super::books::Books;
use super::{HeatmapAnswer, HeatmapRequest, finish};
use crate::error::QueryError;
use crate::follow::Observer;
use crate::session::Engine;
use crate::view::View;

/// Rows taken under one lock, so that a reader never waits long.
const ROWS_A_LOCK: usize = 1_024;
/// The columns needed of payment events.
const PAYMENT_COLUMNS: [&str; 7] = [
    "payment_id",
    "order_id",
    "state",
    "currency",
    "amount_minor",
    "refunded_minor",
    "occurred_at",
];
/// The columns needed of order events.
const ORDER_COLUMNS: [&str; 8] = [
    "order_id",
    "kind",
    "state",
    "customer_id",
    "driver_id",
    "pickup_h3_r9",
    "destination_h3_r9",
    "recorded_at",
];

const LOADING: u8 = 0;
const READY: u8 = 1;
const GIVEN_UP: u8 = 2;

/// The rollup, shared between the follower that feeds it and the requests that read it.
#[derive(Debug)]
pub struct Revenue {
    books: RwLock<Books>,
    state: AtomicU8,
    rows_max: usize,
}

impl Revenue {
    /// An empty rollup of at most `rows_max` payments and orders.
    pub fn new(rows_max: usize) -> Self {
        Self { books: RwLock::default(), state: AtomicU8::new(LOADING), rows_max }
    }

    /// True once everything committed has been taken in.
    pub fn is_ready(&self) -> bool {
        self.state.load(Ordering::Acquire) == READY
    }

    /// Everything committed has been taken in.
    pub fn set_ready(&self) {
        let _ = self.state.compare_exchange(LOADING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Takes rows of `payment_events` or `order_events`; rows of other tables are passed over.
    pub fn take(&self, table: Table, rows: &RecordBatch) {
        if self.state.load(Ordering::Acquire) == GIVEN_UP {
            return;
        }
        let mut from = 0;
        while from < rows.num_rows() {
            let length = ROWS_A_LOCK.min(rows.num_rows() - from);
            let part = rows.slice(from, length);
            let mut books = self.books.write().unwrap_or_else(PoisonError::into_inner);
            match table {
                Table::PaymentEvents => books.take_payments(&part),
                Table::OrderEvents => books.take_orders(&part),
                _ => return,
            };
            if books.len() > self.rows_max {
                *books = Books::default();
                self.state.store(GIVEN_UP, Ordering::Release);
                tracing::warn!(rows_max = self.rows_max, "the revenue rollup is full and given up");
                return;
            }
            from += length;
        }
    }

    /// A heat map.
    pub fn heatmap(&self, request: &HeatmapRequest, data_as_of: Micros) -> HeatmapAnswer {
        let books = self.books.read().unwrap_or_else(PoisonError::into_inner);
        finish(request, books.groups(request), data_as_of)
    }

    /// Payments and orders held.
    pub fn len(&self) -> usize {
        let books = self.books.read().unwrap_or_else(PoisonError::into_inner);
        books.len()
    }

    /// True when it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Observer for Revenue {
    fn rows(&self, table: Table, rows: &RecordBatch) {
        self.take(table, rows);
    }
}

/// Reads the committed and uncommitted rows of a cut into the rollup and marks it ready.
pub async fn load(
    engine: &Arc<Engine>,
    view: Arc<View>,
    revenue: &Revenue,
) -> Result<(), QueryError> {
    for (table, columns) in
        [(Table::OrderEvents, &ORDER_COLUMNS[..]), (Table::PaymentEvents, &PAYMENT_COLUMNS[..])]
    {
        let session = engine.session(Arc::clone(&view));
        let text = format!("SELECT {} FROM {}", columns.join(", "), table.name());
        let plan = session.create_logical_plan(&text).await?;
        let plan = session.create_physical_plan(&plan).await?;
        let mut rows = execute_stream(plan, session.task_ctx())?;
        while let Some(batch) = rows.try_next().await? {
            revenue.take(table, &batch);
        }
    }
    revenue.set_ready();
    Ok(())
}
