//! The heat map as SQL over the tables: the measure's definition, word for word.
//!
//! In:    a request.
//! Out:   a statement; its rows as groups.
//! Never: puts text from outside into the statement: every value is a number or one of ours.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use inzira_schemas::Micros;

use super::{By, Group, HeatmapAnswer, HeatmapRequest, finish};
use crate::error::QueryError;
use crate::views::newest_order_event;

/// The statement that computes a heat map before hiding and cutting.
pub fn sql(request: &HeatmapRequest) -> String {
    let cell = match request.by {
        By::Pickup => "pickup_h3_r9",
        By::Destination => "destination_h3_r9",
    };
    let mut wanted = vec!["p.captured_at IS NOT NULL".to_owned()];
    if let Some(from) = request.from {
        wanted.push(format!("CAST(p.captured_at AS BIGINT) >= {}", from.0));
    }
    if let Some(to) = request.to {
        wanted.push(format!("CAST(p.captured_at AS BIGINT) < {}", to.0));
    }
    if let Some(kind) = request.kind {
        wanted.push(format!("o.kind = '{kind}'"));
    }
    let (newest, newest_e) = (newest_order_event(""), newest_order_event("e."));
    format!(
        "WITH p AS (SELECT payment_id, max(order_id) AS order_id, max(currency) AS currency, \
           min(occurred_at) FILTER (WHERE state = 'captured') AS captured_at, \
           max(amount_minor) FILTER (WHERE state = 'captured') AS captured, \
           max(refunded_minor) AS refunded FROM payment_events GROUP BY payment_id), \
         l AS (SELECT order_id, max({newest}) AS newest, \
           max({newest}) FILTER (WHERE driver_id IS NOT NULL) AS driver_newest \
           FROM order_events GROUP BY order_id), \
         d AS (SELECT e.order_id, max(e.driver_id) AS driver_id FROM order_events AS e \
           JOIN l ON e.order_id = l.order_id AND {newest_e} = l.driver_newest \
           WHERE e.driver_id IS NOT NULL GROUP BY e.order_id), \
         o AS (SELECT e.order_id, max(e.kind) AS kind, max(e.customer_id) AS customer_id, \
           max(e.{cell}) AS cell FROM order_events AS e \
           JOIN l ON e.order_id = l.order_id AND {newest_e} = l.newest GROUP BY e.order_id) \
         SELECT CASE WHEN h3_get_resolution(o.cell) = 9 \
             THEN h3_cell_to_parent(o.cell, {resolution}) END AS cell, \
           p.currency AS currency, sum(p.captured) AS captured, sum(p.refunded) AS refunded, \
           count(*) AS payments, count(DISTINCT nullif(o.customer_id, '')) AS customers, \
           count(DISTINCT d.driver_id) AS drivers \
         FROM p LEFT JOIN o ON p.order_id = o.order_id LEFT JOIN d ON p.order_id = d.order_id \
         WHERE {wanted} GROUP BY 1, 2",
        resolution = request.resolution,
        wanted = wanted.join(" AND "),
    )
}

/// The heat map that the statement's rows make.
pub fn answer(
    request: &HeatmapRequest,
    rows: &[RecordBatch],
    data_as_of: Micros,
) -> Result<HeatmapAnswer, QueryError> {
    let mut groups = Vec::new();
    for batch in rows {
        let cells = numbers(batch, "cell")?;
        let (captured, refunded) = (numbers(batch, "captured")?, numbers(batch, "refunded")?);
        let payments = numbers(batch, "payments")?;
        let (customers, drivers) = (numbers(batch, "customers")?, numbers(batch, "drivers")?);
        let currencies = typed(batch, "currency", &DataType::Utf8)?;
        let currencies = currencies.as_string::<i32>();
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        for row in 0..batch.num_rows() {
            groups.push(Group {
                cell: cells.is_valid(row).then(|| cells.value(row)),
                currency: currencies.value(row).to_owned(),
                captured_minor: captured.value(row),
                refunded_minor: refunded.value(row),
                payments: u64::try_from(payments.value(row)).unwrap_or(0),
                customers: count(customers.value(row)),
                drivers: count(drivers.value(row)),
            });
        }
    }
    Ok(finish(request, groups, data_as_of))
}

fn typed(batch: &RecordBatch, name: &str, data_type: &DataType) -> Result<ArrayRef, QueryError> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| QueryError::Internal(format!("the heat map has no column {name}")))?;
    Ok(cast(column, data_type)?)
}

fn numbers(batch: &RecordBatch, name: &str) -> Result<Arc<Int64Array>, QueryError> {
    let column = typed(batch, name, &DataType::Int64)?;
    Ok(Arc::new(column.as_primitive::<Int64Type>().clone()))
}
