//! What a fault cost: after it, others than the service are asked.
//!
//! In:    the house, the town and its ledger, when the last break is over.
//! Out:   figures, and whether every promise held.
//! Never: believes the service: the ledger, DuckDB over the Delta tables, and SQL by another
//!        program than ours say.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use inzira_schemas::{Clock, Micros, SystemClock};
use inzira_tests::House;
use inzira_tests::ledger::{Comparison, compare};
use serde_json::Value;

use crate::Scene;
use crate::readers::{self, Books, Revenue};
use crate::town::Arrivals;

/// How long the service may take to say of its answers that they hold all that was done.
const SETTLE: Duration = Duration::from_secs(60);

/// The figures.
pub struct Account {
    events: usize,
    fixes: Comparison,
    arrivals: Arrivals,
    books: Books,
    rollup_diff: u64,
    payments: u64,
}

impl Account {
    /// Lets everybody come to rest, stops the service, and asks the others.
    pub async fn of(scene: Scene) -> anyhow::Result<Self> {
        let Scene { mut house, town, .. } = scene;
        let ledger = town.ledger.clone();
        let arrivals = town.rest().await?;
        let shown = heatmap(&house).await?;
        house.stop()?;
        let found = readers::duckdb(&house)?;
        let sent = ledger.fixes();
        let mut fixes = compare(&sent, &found.fixes);
        fixes.doubled += found.doubled_events;
        Ok(Self {
            events: sent.len(),
            fixes,
            arrivals,
            books: readers::books(&house)?,
            rollup_diff: found.revenue.difference(&shown),
            payments: found.revenue.payments(),
        })
    }

    /// Whether every promise held, and there was something to hold it for.
    pub fn holds(&self) -> bool {
        let Comparison { lost, doubled, phantom } = self.fixes;
        let Arrivals { orders, missing, doubled: twice } = self.arrivals;
        let nothing_wrong = [lost, doubled, phantom, missing, twice, self.rollup_diff]
            .iter()
            .all(|count| *count == 0);
        let something_done = orders > 0 && self.payments >= orders && self.books.captured >= orders;
        nothing_wrong && something_done && self.books.imbalance == 0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "events={} lost={} doubled={} imbalance={} arriving_missing={} arriving_doubled={} \
             rollup_diff={} phantom={} orders={} captured={} payments={}",
            self.events,
            self.fixes.lost,
            self.fixes.doubled,
            self.books.imbalance,
            self.arrivals.missing,
            self.arrivals.doubled,
            self.rollup_diff,
            self.fixes.phantom,
            self.arrivals.orders,
            self.books.captured,
            self.payments,
        )
    }
}

/// The heat map that the service shows once it holds everything that was done until now.
async fn heatmap(house: &House) -> anyhow::Result<Revenue> {
    let operator = house.client("operator").await?;
    let done_at = SystemClock.now();
    let began = Instant::now();
    while began.elapsed() < SETTLE {
        let answer = operator.get("/api/v1/analytics/revenue/heatmap?resolution=9").await?;
        let as_of = answer["data_as_of"].as_str().and_then(Micros::parse_rfc3339);
        if as_of.context("a heat map without data_as_of")? > done_at.plus_secs(1) {
            return revenue(&answer).context("a heat map that cannot be read");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bail!("the heat map is older than its question after {SETTLE:?}")
}

fn revenue(answer: &Value) -> Option<Revenue> {
    let mut revenue = Revenue::default();
    for cell in answer["cells"].as_array()? {
        let number = |name: &str| cell[name].as_i64();
        let figures = [
            number("captured_minor")?,
            number("refunded_minor")?,
            number("revenue_minor")?,
            number("payments")?,
        ];
        revenue.add(cell["cell"].as_str()?, cell["currency"].as_str()?, figures);
    }
    revenue.unplaced = answer["unplaced_payments"].as_u64()?;
    Some(revenue)
}
