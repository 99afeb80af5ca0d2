//! Lets "inside this cell" skip files: a parent's children are one range of numbers.
//!
//! In:    a filter right above a table that says `h3_cell_to_parent(h3_r9, r) = P`, or `IN (…)`.
//! Out:   the same filter and the range that its answer lies in, by which files and row groups
//!        are skipped.
//! Never: takes the first condition away: what the range lets through is still checked.
//!
//! Cells of one resolution sort as a hierarchy (base cell, then three bits a digit), and the
//! columns named `…h3_r9` hold cells of resolution 9 alone.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Operator, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::h3;

const RESOLUTION: u8 = 9;

/// The rule.
#[derive(Debug, Default)]
pub struct RangesOfCells;

impl OptimizerRule for RangesOfCells {
    fn name(&self) -> &str {
        "ranges_of_cells"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
        // Only here is a column surely the table's own and not a name given to something else.
        if !matches!(filter.input.as_ref(), LogicalPlan::TableScan(_)) {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let parts = split_conjunction(&filter.predicate);
        let mut all: Vec<Expr> = parts.iter().map(|part| (*part).clone()).collect();
        for range in parts.iter().filter_map(|part| range_of(part)).flatten() {
            if !all.contains(&range) {
                all.push(range);
            }
        }
        if all.len() == parts.len() {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let Some(predicate) = conjunction(all) else {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        };
        Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
    }
}

/// `column >= first` and `column <= last`, if the condition is about the parent of a column.
fn range_of(condition: &Expr) -> Option<[Expr; 2]> {
    let (parent, cells) = match condition {
        Expr::BinaryExpr(binary) if binary.op == Operator::Eq => {
            let (left, right) = (binary.left.as_ref(), binary.right.as_ref());
            match (number(left), number(right)) {
                (None, Some(cell)) => (left, vec![cell]),
                (Some(cell), None) => (right, vec![cell]),
                _ => return None,
            }
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            (expr.as_ref(), list.iter().map(number).collect::<Option<Vec<i64>>>()?)
        }
        _ => return None,
    };
    let (column, resolution) = parent_of_column(parent)?;
    let ranges =
        cells.iter().map(|cell| children(*cell, resolution)).collect::<Option<Vec<_>>>()?;
    let first = ranges.iter().map(|(first, _)| *first).min()?;
    let last = ranges.iter().map(|(_, last)| *last).max()?;
    Some([column.clone().gt_eq(lit(first)), column.lt_eq(lit(last))])
}

fn parent_of_column(expr: &Expr) -> Option<(Expr, u8)> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    let [Expr::Column(column), resolution] = args.as_slice() else { return None };
    if func.name() != "h3_cell_to_parent" || !column.name.ends_with("h3_r9") {
        return None;
    }
    let resolution = u8::try_from(number(resolution)?).ok()?;
    (resolution <= RESOLUTION).then(|| (Expr::Column(column.clone()), resolution))
}

fn number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(number), _) => *number,
        _ => None,
    }
}

/// The first and last number that a descendant at resolution 9 can have; `None` when `cell` is
/// no cell of that resolution.
fn children(cell: i64, resolution: u8) -> Option<(i64, i64)> {
    if u8::from(h3::cell(cell)?.resolution()) != resolution {
        return None;
    }
    let digits = |from: u8, digit: i64| {
        (from + 1..=RESOLUTION).fold(0_i64, |bits, level| bits | digit << (3 * (15 - level)))
    };
    let at_nine = h3::parent_unchecked(cell, RESOLUTION) & !digits(resolution, 7);
    Some((at_nine, at_nine | digits(resolution, 6)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use h3o::{LatLng, Resolution};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_cell_lies_in_the_range_of_its_parent(
            lat in -85.0_f64..85.0, lon in -180.0_f64..180.0, coarse in 0_u8..=9,
        ) {
            let cell = LatLng::new(lat, lon).unwrap().to_cell(Resolution::Nine);
            let parent = h3::parent(h3::number(cell), coarse).unwrap();
            let (first, last) = children(parent, coarse).unwrap();
            prop_assert!((first..=last).contains(&h3::number(cell)));
            prop_assert_eq!(h3::parent(first, coarse), Some(parent));
        }
    }

    #[test]
    fn a_cell_of_another_resolution_has_no_range() {
        let cell = LatLng::new(-1.95, 30.06).unwrap().to_cell(Resolution::Seven);
        assert!(children(h3::number(cell), 6).is_none());
        assert!(children(0, 6).is_none());
    }
}
