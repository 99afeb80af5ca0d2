//! The heat map of revenue: where captured money, less refunds, came from.
//!
//! In:    a time range, a resolution, an order kind, a box; payment and order events.
//! Out:   per cell and currency: captured, refunded, revenue, payments; how many cells are hidden.
//! Keeps: see `rollup`.
//! Never: sums across currencies; shows an analyst a cell of few people.
//!
//! Revenue is captured minus refunded, by the time of capture, at the pickup cell (or the
//! destination), gross of commission and tax. A refund lowers the day of the capture.
//! Two ways lead to one answer: `rollup` (kept in memory, fresh from the log) and `recompute`
//! (SQL over the tables); a test holds them equal.

mod books;
pub mod recompute;
pub mod render;
pub mod request;
pub mod rollup;
mod sums;

pub use request::{Bbox, By, HeatmapRequest};
pub use rollup::{Revenue, load};

use inzira_schemas::Micros;

use crate::h3;

/// People below whom a cell is hidden from analysts: customers, and drivers.
pub const PEOPLE_MIN: u32 = 10;

/// One cell in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellRevenue {
    /// The cell.
    pub cell: i64,
    /// ISO 4217.
    pub currency: String,
    /// Captured minus refunded, minor units.
    pub revenue_minor: i64,
    /// Captured, minor units.
    pub captured_minor: i64,
    /// Refunded of what was captured, minor units.
    pub refunded_minor: i64,
    /// Payments captured.
    pub payments: u64,
}

/// A heat map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeatmapAnswer {
    /// Everything acknowledged before this moment is in it.
    pub data_as_of: Micros,
    /// By cell, then currency.
    pub cells: Vec<CellRevenue>,
    /// Cells (in one currency each) hidden because too few people stand behind them.
    pub suppressed_cells: u64,
    /// Captured payments whose order's place is not known.
    pub unplaced_payments: u64,
}

/// A cell in one currency before hiding and cutting to the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `None`: the place is not known.
    pub cell: Option<i64>,
    /// ISO 4217.
    pub currency: String,
    /// Minor units.
    pub captured_minor: i64,
    /// Minor units.
    pub refunded_minor: i64,
    /// Payments captured.
    pub payments: u64,
    /// Distinct customers; may stop counting at `PEOPLE_MIN`.
    pub customers: u32,
    /// Distinct drivers; may stop counting at `PEOPLE_MIN`.
    pub drivers: u32,
}

/// Cuts to the box, hides what is thin, sorts.
pub fn finish(request: &HeatmapRequest, groups: Vec<Group>, data_as_of: Micros) -> HeatmapAnswer {
    let mut answer = HeatmapAnswer {
        data_as_of,
        cells: Vec::with_capacity(groups.len()),
        suppressed_cells: 0,
        unplaced_payments: 0,
    };
    for group in groups {
        let Some(cell) = group.cell else {
            answer.unplaced_payments += group.payments;
            continue;
        };
        if !request.bbox.as_ref().is_none_or(|bbox| bbox.holds_centre(cell)) {
            continue;
        }
        let thin = group.customers < PEOPLE_MIN || group.drivers < PEOPLE_MIN;
        if request.hide_thin && thin {
            answer.suppressed_cells += 1;
            continue;
        }
        answer.cells.push(CellRevenue {
            cell,
            currency: group.currency,
            revenue_minor: group.captured_minor.saturating_sub(group.refunded_minor),
            captured_minor: group.captured_minor,
            refunded_minor: group.refunded_minor,
            payments: group.payments,
        });
    }
    if request.hide_thin {
        // A count of payments without a place would tell of few people too.
        answer.unplaced_payments = 0;
    }
    answer.cells.sort_unstable_by(|a, b| (a.cell, &a.currency).cmp(&(b.cell, &b.currency)));
    answer
}

impl CellRevenue {
    /// The cell as text.
    pub fn cell_text(&self) -> String {
        h3::text(self.cell)
    }
}

#[cfg(test)]
mod tests;
