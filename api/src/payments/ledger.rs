//! The ledger: double entry, append-only, every entry summing to zero in every currency.
//!
//! In:    what moved, as lines; positive is debit, negative credit.
//! Out:   an entry once, whatever is repeated: its id follows from its cause.
//! Keeps: every posting; the database refuses changes.
//! Never: writes an entry that does not sum to zero.
//!
//! | moment | debit | credit |
//! |---|---|---|
//! | captured | `rail:MOCK` (less the fee), `fees:MOCK` | `held:orders` |
//! | delivered | `held:orders` | `income:commission`, `tax:payable`, `payable:{driver or vendor}` |
//! | refunded | `held:orders` | `rail:MOCK` |

use std::collections::BTreeMap;

use inzira_schemas::{Currency, Micros, Money};
use sqlx::Row;

use crate::db::{Db, Tx};
use crate::error::ApiError;
use crate::orders::store::Order;

/// Money of orders that are paid and not yet delivered.
pub const HELD: &str = "held:orders";
/// Ours.
pub const COMMISSION: &str = "income:commission";
/// The revenue authority's.
pub const TAX: &str = "tax:payable";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which account.
    pub account: String,
    /// Positive is debit.
    pub amount: Money,
}

/// One entry, before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Follows from the cause: `capture:pay_…`.
    pub entry_id: String,
    /// `capture`, `release`, `refund`.
    pub cause: &'static str,
    /// For which order.
    pub order_id: Option<String>,
    /// For which attempt.
    pub payment_id: Option<String>,
    /// Its lines.
    pub lines: Vec<Line>,
}

fn line(account: impl Into<String>, minor: i64, currency: Currency) -> Line {
    Line { account: account.into(), amount: Money::new(minor, currency) }
}

/// The entry of captured money.
pub fn capture(
    payment_id: &str,
    order_id: &str,
    rail: &str,
    amount: Money,
    fee: Money,
) -> Result<Entry, ApiError> {
    let arrived = amount.checked_sub(fee)?;
    let currency = amount.currency;
    Ok(Entry {
        entry_id: format!("capture:{payment_id}"),
        cause: "capture",
        order_id: Some(order_id.to_owned()),
        payment_id: Some(payment_id.to_owned()),
        lines: without_zeros(vec![
            line(format!("rail:{rail}"), arrived.minor, currency),
            line(format!("fees:{rail}"), fee.minor, currency),
            line(HELD, -amount.minor, currency),
        ]),
    })
}

/// The entry of money given back.
pub fn refund(payment_id: &str, order_id: &str, rail: &str, amount: Money) -> Entry {
    Entry {
        entry_id: format!("refund:{payment_id}"),
        cause: "refund",
        order_id: Some(order_id.to_owned()),
        payment_id: Some(payment_id.to_owned()),
        lines: vec![
            line(HELD, amount.minor, amount.currency),
            line(format!("rail:{rail}"), -amount.minor, amount.currency),
        ],
    }
}

/// The entry of an order that was handed over: commission and tax to us and the state, the rest
/// to driver and vendor in the proportion of the way and the goods.
pub fn release(order: &Order, currency: Currency) -> Entry {
    let paid = order.gross_minor - order.discount_minor;
    let rest = paid - order.commission_minor - order.tax_minor;
    let vendors = match &order.vendor_id {
        Some(_) => proportion(rest, order.goods_value_minor, order.gross_minor),
        None => 0,
    };
    let driver = order.driver_id.as_deref().unwrap_or("nobody");
    let vendor = order.vendor_id.as_deref().unwrap_or("nobody");
    Entry {
        entry_id: format!("release:{}", order.order_id),
        cause: "release",
        order_id: Some(order.order_id.clone()),
        payment_id: None,
        lines: without_zeros(vec![
            line(HELD, paid, currency),
            line(COMMISSION, -order.commission_minor, currency),
            line(TAX, -order.tax_minor, currency),
            line(format!("payable:{vendor}"), -vendors, currency),
            line(format!("payable:{driver}"), vendors - rest, currency),
        ]),
    }
}

/// `whole * part / of`, rounded down; 0 of nothing.
fn proportion(whole: i64, part: i64, of: i64) -> i64 {
    if of <= 0 {
        return 0;
    }
    i64::try_from(i128::from(whole) * i128::from(part) / i128::from(of)).unwrap_or(whole)
}

fn without_zeros(lines: Vec<Line>) -> Vec<Line> {
    lines.into_iter().filter(|line| line.amount.minor != 0).collect()
}

/// True when the lines sum to zero in every currency.
pub fn balances(lines: &[Line]) -> bool {
    let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
    for line in lines {
        *sums.entry(line.amount.currency).or_default() += i128::from(line.amount.minor);
    }
    !lines.is_empty() && sums.values().all(|sum| *sum == 0)
}

/// Writes an entry; false when it was written before.
pub async fn post(tx: &mut Tx, entry: &Entry, now: Micros) -> Result<bool, ApiError> {
    if !balances(&entry.lines) {
        return Err(ApiError::Bug(format!("entry {} does not sum to zero", entry.entry_id)));
    }
    let actor = tx.actor().clone();
    let added = sqlx::query(
        "INSERT INTO ledger_entries (entry_id, cause, order_id, payment_id, actor_role, actor_id, \
         occurred_at, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT DO NOTHING",
    )
    .bind(entry.entry_id.clone())
    .bind(entry.cause)
    .bind(entry.order_id.clone())
    .bind(entry.payment_id.clone())
    .bind(actor.role)
    .bind(actor.id)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    if added.rows_affected() == 0 {
        return Ok(false);
    }
    for (number, line) in (0_i64..).zip(&entry.lines) {
        open_account(tx, &line.account, now).await?;
        sqlx::query(
            "INSERT INTO ledger_postings (entry_id, line, account_id, currency, amount_minor) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(entry.entry_id.clone())
        .bind(number)
        .bind(line.account.clone())
        .bind(line.amount.currency.code())
        .bind(line.amount.minor)
        .execute(tx.conn())
        .await?;
    }
    Ok(true)
}

async fn open_account(tx: &mut Tx, account: &str, now: Micros) -> Result<(), ApiError> {
    let (kind, owner) = account.split_once(':').unwrap_or((account, ""));
    sqlx::query(
        "INSERT INTO ledger_accounts (account_id, kind, owner_id, created_at) \
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(account)
    .bind(kind)
    .bind(owner)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What `ledger verify` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerReport {
    /// Entries looked at.
    pub entries: i64,
    /// The sum over everything, by currency: zero in each.
    pub imbalance_minor: BTreeMap<String, i64>,
    /// The first thing that is wrong, named.
    pub first_bad: Option<String>,
}

/// Checks every entry, and captured payments against their entries.
pub async fn verify(db: &Db) -> Result<LedgerReport, ApiError> {
    let row = sqlx::query("SELECT COUNT(*) FROM ledger_entries").fetch_one(db.read()).await?;
    let entries: i64 = row.try_get(0)?;
    let sums = sqlx::query(
        "SELECT currency, CAST(SUM(amount_minor) AS BIGINT) FROM ledger_postings GROUP BY currency",
    )
    .fetch_all(db.read())
    .await?;
    let mut imbalance_minor = BTreeMap::new();
    for row in sums {
        imbalance_minor.insert(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(LedgerReport { entries, imbalance_minor, first_bad: first_bad(db).await? })
}

async fn first_bad(db: &Db) -> Result<Option<String>, ApiError> {
    const CHECKS: [(&str, &str); 4] = [
        (
            "does not sum to zero",
            "SELECT entry_id FROM ledger_postings GROUP BY entry_id, currency \
             HAVING SUM(amount_minor) <> 0 ORDER BY entry_id LIMIT 1",
        ),
        (
            "has no postings",
            "SELECT entry_id FROM ledger_entries e WHERE NOT EXISTS \
             (SELECT 1 FROM ledger_postings p WHERE p.entry_id = e.entry_id) \
             ORDER BY entry_id LIMIT 1",
        ),
        (
            "was captured and is not in the ledger with its amount",
            "SELECT p.payment_id FROM payments p WHERE p.state IN ('captured', 'refunded') \
             AND NOT EXISTS (SELECT 1 FROM ledger_postings l WHERE \
             l.entry_id = 'capture:' || p.payment_id AND l.account_id = 'held:orders' \
             AND l.currency = p.currency AND l.amount_minor = -p.amount_minor) \
             ORDER BY p.payment_id LIMIT 1",
        ),
        (
            "is in the ledger and was never captured",
            "SELECT e.entry_id FROM ledger_entries e WHERE e.cause = 'capture' AND NOT EXISTS \
             (SELECT 1 FROM payments p WHERE p.payment_id = e.payment_id \
             AND p.state IN ('captured', 'refunded')) ORDER BY e.entry_id LIMIT 1",
        ),
    ];
    for (what, sql) in CHECKS {
        if let Some(row) = sqlx::query(sql).fetch_optional(db.read()).await? {
            return Ok(Some(format!("{} {what}", row.try_get::<String, _>(0)?)));
        }
    }
    Ok(None)
}

/// For tests: the balance of an account, minor units of one currency.
#[cfg(test)]
pub async fn balance(db: &Db, account: &str, currency: Currency) -> Result<i64, ApiError> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) FROM ledger_postings \
         WHERE account_id = $1 AND currency = $2",
    )
    .bind(account)
    .bind(currency.code())
    .fetch_one(db.read())
    .await?;
    Ok(row.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rwf(minor: i64) -> Money {
        Money::new(minor, Currency::Rwf)
    }

    #[test]
    fn two_currencies_must_each_sum_to_zero() {
        let mixed = [line("a", 5, Currency::Rwf), line("b", -5, Currency::Usd)];
        assert!(!balances(&mixed));
        assert!(!balances(&[]));
    }

    proptest! {
        #[test]
        fn captures_and_refunds_sum_to_zero(amount in 1_i64..1_000_000_000, fee_bp in 0_u32..2_000) {
            let fee = rwf(amount).share(fee_bp).unwrap();
            let captured = capture("pay_1", "ord_1", "MOCK", rwf(amount), fee).unwrap();
            prop_assert!(balances(&captured.lines));
            prop_assert!(balances(&refund("pay_1", "ord_1", "MOCK", rwf(amount)).lines));
        }
    }
}
