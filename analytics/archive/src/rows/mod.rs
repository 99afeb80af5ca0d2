//! Records of a topic as columns of a table, straight from the wire.
//!
//! In:    records whose value is the topic's protobuf message.
//! Out:   Arrow batches in the table's file schema, and for each row the UTC day it belongs to
//!        and the hashes by which a repeat is known.
//! Keeps: one decoded message, reused, so that a row allocates nothing of its own.
//! Never: panics on bytes; a record that is not the message is refused with its reason.

mod kinds;
mod tables;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringBuilder};
use arrow::datatypes::TimestampMicrosecondType;
use inzira_event_log::Record;
use inzira_schemas::{Micros, wire};
use prost::Message;

use crate::layout::Table;
pub use tables::{
    FixRows, FraudDecisionRows, OrderEventRows, PaymentEventRows, PositionRows, TrackingEventRows,
    TripRows,
};

/// Microseconds in a day.
pub const DAY_US: i64 = 86_400_000_000;

/// Records longer than this are refused: no event of ours comes near it.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// One message type's columns under construction.
pub(crate) trait Columns: Send {
    /// Adds the row of one message. On an error nothing was added.
    fn push(&mut self, value: &[u8]) -> Result<(), String>;
    /// The columns so far; the builder is empty afterwards.
    fn finish(&mut self) -> Vec<ArrayRef>;
}

/// Rows of one table under construction.
pub struct Rows {
    table: Table,
    columns: Box<dyn Columns>,
    rows: usize,
    bytes: usize,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("table", &self.table).field("rows", &self.rows).finish()
    }
}

impl Rows {
    /// An empty builder with room for `capacity` rows.
    pub fn of(table: Table, capacity: usize) -> Self {
        let columns: Box<dyn Columns> = match table {
            Table::Fixes => Box::new(FixRows::with_capacity(capacity)),
            Table::PositionsAll => Box::new(PositionRows::with_capacity(capacity)),
            Table::TrackingEvents => Box::new(TrackingEventRows::with_capacity(capacity)),
            Table::Trips => Box::new(TripRows::with_capacity(capacity)),
            Table::OrderEvents => Box::new(OrderEventRows::with_capacity(capacity)),
            Table::PaymentEvents => Box::new(PaymentEventRows::with_capacity(capacity)),
            Table::FraudDecisions => Box::new(FraudDecisionRows::with_capacity(capacity)),
        };
        Self { table, columns, rows: 0, bytes: 0 }
    }

    /// Adds one record. An error is the reason why its bytes are not a row; nothing was added.
    pub fn push(&mut self, record: &Record) -> Result<(), String> {
        if record.value.len() > RECORD_BYTES_MAX {
            return Err(format!("{} bytes, more than {RECORD_BYTES_MAX}", record.value.len()));
        }
        self.columns.push(&record.value)?;
        self.rows += 1;
        self.bytes += record.value.len();
        Ok(())
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Wire bytes behind the rows so far: about what they take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows so far in the table's file schema; empty afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        let columns = self.columns.finish();
        self.rows = 0;
        self.bytes = 0;
        // An empty batch instead of a panic would lose rows in silence.
        RecordBatch::try_new(self.table.file_schema(), columns)
            .expect("builders and schema come from one list")
    }
}

/// The envelope checked: every event of ours has an id and a time that a table can hold.
pub(crate) fn checked(envelope: Option<&wire::Envelope>) -> Result<&wire::Envelope, String> {
    let envelope = envelope.ok_or("no envelope")?;
    if envelope.event_id.is_empty() {
        return Err("no event id".to_owned());
    }
    Ok(envelope)
}

/// An instant that a table can hold: the years 1970 to 9999.
pub(crate) fn instant(name: &str, us: i64) -> Result<(), String> {
    const YEAR_10000_US: i64 = 253_402_300_800_000_000;
    if (0..YEAR_10000_US).contains(&us) {
        Ok(())
    } else {
        Err(format!("{name} is {us} us, outside the years 1970 to 9999"))
    }
}

/// Decodes into a message that keeps its buffers.
pub(crate) fn merge<M: Message>(message: &mut M, value: &[u8]) -> Result<(), String> {
    message.merge(value).map_err(|error| error.to_string())
}

/// The days since 1970 of every row.
pub(crate) fn days(table: Table, batch: &RecordBatch) -> Vec<i32> {
    batch
        .column_by_name(table.date_column())
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .map(|instants| instants.values().iter().map(|us| us.div_euclid(DAY_US) as i32).collect())
        .unwrap_or_default()
}

/// `YYYY-MM-DD` of a day since 1970.
pub(crate) fn date_text(day: i32) -> String {
    Micros(i64::from(day) * DAY_US).utc_date()
}

/// The batch with its partition column, in the table's full schema.
pub(crate) fn with_event_date(table: Table, batch: RecordBatch) -> RecordBatch {
    let days = days(table, &batch);
    let mut dates = StringBuilder::with_capacity(days.len(), days.len() * 10);
    let (mut last_day, mut text) = (i32::MIN, String::new());
    for day in days {
        if day != last_day {
            (last_day, text) = (day, date_text(day));
        }
        dates.append_value(&text);
    }
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(dates.finish()));
    RecordBatch::try_new(table.schema(), columns).expect("one date a row, never null")
}

#[cfg(test)]
mod tests;
