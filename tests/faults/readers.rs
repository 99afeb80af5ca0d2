//! Reads what a house that has stopped left behind, with other programs than ours.
//!
//! In:    where the tables and the database are.
//! Out:   DuckDB over the Delta log: rows a device and number, events that repeat, revenue;
//!        SQLite's or Postgres' own program over the books: what does not balance.
//! Never: uses code of the archive, the query room or the accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, bail};
use inzira_tests::House;
use inzira_tests::ledger::FixName;
use inzira_tests::outside::{self, said};

/// What DuckDB found.
#[derive(Debug, Default)]
pub struct Found {
    /// Rows of `fixes`, by device and number.
    pub fixes: BTreeMap<FixName, u64>,
    /// Event ids that stand more than once in `positions_all` or `tracking_events`.
    pub doubled_events: u64,
    /// Revenue, computed anew from every event.
    pub revenue: Revenue,
}

/// Revenue by cell of resolution 9 and currency: captured, refunded, their difference (minor
/// units) and payments.
#[derive(Debug, Default)]
pub struct Revenue {
    cells: BTreeMap<(String, String), [i64; 4]>,
    /// Payments whose order has no place.
    pub unplaced: u64,
}

impl Revenue {
    /// Adds the figures of a cell.
    pub fn add(&mut self, cell: &str, currency: &str, figures: [i64; 4]) {
        let sums = self.cells.entry((cell.to_owned(), currency.to_owned())).or_default();
        sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
    }

    /// Payments captured.
    pub fn payments(&self) -> u64 {
        self.cells.values().map(|figures| figures[3].unsigned_abs()).sum::<u64>() + self.unplaced
    }

    /// How far two are apart: all absolute differences, cell by cell, summed.
    pub fn difference(&self, other: &Self) -> u64 {
        let keys: BTreeSet<_> = self.cells.keys().chain(other.cells.keys()).collect();
        let of = |revenue: &Self, key| revenue.cells.get(key).copied().unwrap_or_default();
        let apart = keys.into_iter().flat_map(|key| {
            of(self, key).into_iter().zip(of(other, key)).map(|(a, b)| a.abs_diff(b))
        });
        apart.sum::<u64>() + self.unplaced.abs_diff(other.unplaced)
    }
}

const SCRIPT: &str = r#"
import os, sys, duckdb
root, wheel = sys.argv[1], sys.argv[2:]
db = duckdb.connect()
for file in wheel:
    db.execute(f"INSTALL '{file}'")
    db.execute(f"LOAD '{file}'")
if root.startswith('s3:'):
    db.execute(f"""CREATE SECRET (TYPE s3, KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}',
        SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}', ENDPOINT '{os.environ["S3_ENDPOINT"]}',
        URL_STYLE 'path', USE_SSL false, REGION 'us-east-1')""")
scan = lambda table: f"delta_scan('{root}/tables/{table}')"
for device, seq, rows in db.execute(
        f"SELECT device_id, seq, count(*) FROM {scan('fixes')} GROUP BY ALL").fetchall():
    print('fix', device, seq, rows)
for table in ('fixes', 'positions_all', 'tracking_events', 'order_events', 'payment_events'):
    doubled, = db.execute(f"SELECT count(*) FROM (SELECT event_id FROM {scan(table)} "
                          "GROUP BY event_id HAVING count(*) > 1)").fetchone()
    print('doubled', table, doubled)
# Captured minus refunded, at the pickup cell of the order, in each currency.
for cell, currency, captured, refunded, payments in db.execute(f"""
        WITH paid AS (
            SELECT payment_id, any_value(order_id) AS order_id, any_value(currency) AS currency,
                max(amount_minor) FILTER (WHERE state = 'captured') AS captured,
                max(refunded_minor) AS refunded
            FROM {scan('payment_events')} GROUP BY payment_id
            HAVING count(*) FILTER (WHERE state = 'captured') > 0),
        placed AS (
            SELECT order_id, arg_max(pickup_h3_r9, recorded_at) AS cell
            FROM {scan('order_events')} GROUP BY order_id)
        SELECT cell, currency, sum(captured), sum(refunded), count(*)
        FROM paid LEFT JOIN placed USING (order_id) GROUP BY ALL""").fetchall():
    print('revenue', f'{cell:x}' if cell else 'unplaced', currency, captured, refunded, payments)
"#;

/// Reads the tables.
pub fn duckdb(house: &House) -> anyhow::Result<Found> {
    let (root, endpoint) = tables(house)?;
    let duckdb = outside::duckdb()?;
    let text = said(
        Command::new(&duckdb.python)
            .args(["-c", SCRIPT, &root])
            .args(&duckdb.extensions)
            .env("S3_ENDPOINT", endpoint),
    )?;
    let mut found = Found::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["fix", device_id, seq, rows] => {
                let name = FixName { device_id: (*device_id).to_owned(), seq: seq.parse()? };
                found.fixes.insert(name, rows.parse()?);
            }
            ["doubled", _, count] => found.doubled_events += count.parse::<u64>()?,
            ["revenue", "unplaced", _, _, _, payments] => {
                found.revenue.unplaced += payments.parse::<u64>()?;
            }
            ["revenue", cell, currency, captured, refunded, payments] => {
                let (captured, refunded): (i64, i64) = (captured.parse()?, refunded.parse()?);
                let figures = [captured, refunded, captured - refunded, payments.parse()?];
                found.revenue.add(cell, currency, figures);
            }
            _ => bail!("duckdb printed {line:?}"),
        }
    }
    Ok(found)
}

/// What the accounts' own ledger says.
#[derive(Debug, Clone, Copy)]
pub struct Books {
    /// What does not sum to zero, in minor units of any currency, and captured payments that
    /// were never posted, or not in full.
    pub imbalance: u64,
    /// Captured payments.
    pub captured: u64,
}

/// Every entry sums to zero in each currency; every captured payment is held in full.
const BOOKS: &str = "SELECT (SELECT coalesce(sum(abs(rest)), 0) FROM (SELECT \
    sum(amount_minor) AS rest FROM ledger_postings GROUP BY entry_id, currency) AS entries) \
    + (SELECT count(*) FROM payments WHERE captured_at IS NOT NULL AND amount_minor <> (SELECT \
    coalesce(-sum(p.amount_minor), 0) FROM ledger_postings AS p JOIN ledger_entries AS e \
    ON e.entry_id = p.entry_id WHERE e.cause = 'capture' AND e.payment_id = payments.payment_id \
    AND p.account_id = 'held:orders' AND p.currency = payments.currency)), \
    (SELECT count(*) FROM payments WHERE captured_at IS NOT NULL)";

/// Reads the books with `sqlite3` of Python or with `psql`.
pub fn books(house: &House) -> anyhow::Result<Books> {
    const SQLITE: &str =
        "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone())";
    let text = match house.variable("INZIRA_DB") {
        Some(server) => said(Command::new("psql").args([server, "-AtF", " ", "-c", BOOKS]))?,
        None => {
            let file = house.data().join("inzira.db");
            said(Command::new("python3").args(["-c", SQLITE]).arg(file).arg(BOOKS))?
        }
    };
    let numbers: Vec<u64> = text.split_whitespace().flat_map(str::parse).collect();
    match numbers.as_slice() {
        [imbalance, captured] => Ok(Books { imbalance: *imbalance, captured: *captured }),
        _ => bail!("the books say {text:?}"),
    }
}

fn tables(house: &House) -> anyhow::Result<(String, String)> {
    match house.variable("INZIRA_STORE") {
        Some(store) => {
            let url = url::Url::parse(store)?;
            let endpoint = url.query_pairs().find(|(name, _)| name == "endpoint");
            let endpoint = endpoint.map(|(_, value)| value.into_owned()).unwrap_or_default();
            let host = endpoint.trim_start_matches("http://").to_owned();
            let bucket = url.host_str().context("no bucket")?;
            Ok((format!("s3://{bucket}{}", url.path().trim_end_matches('/')), host))
        }
        None => Ok((house.data().join("store").display().to_string(), String::new())),
    }
}
