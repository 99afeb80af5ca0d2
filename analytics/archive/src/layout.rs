//! The tables of the archive: names, columns, sorting, and where each is fed from.
//!
//! In:    the words of `inzira-schemas`.
//! Out:   Arrow schemas, the paths of the tables, records of a topic as rows of a table.
//! Keeps: nothing.
//! Never: reads or writes a file; changes the meaning of a column that has been written.
//!
//! Instants are microseconds UTC, money is integer minor units beside its currency, cells are
//! H3 at resolution 9 as signed 64-bit. Columns that may be absent are null, never 0 or "".

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use inzira_event_log::Record;
use inzira_schemas::Topic;

use crate::rows::{self, Rows};

/// The partition column: the UTC date `YYYY-MM-DD` of the row's deciding instant.
pub const EVENT_DATE: &str = "event_date";

/// Folder of the tables below the root of the store.
pub const TABLES_FOLDER: &str = "tables";

/// A table of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One accepted, distinct fix as sent.
    Fixes,
    /// Every revision of the best known position for a fix.
    PositionsAll,
    /// ARRIVING and its kin.
    TrackingEvents,
    /// Closed legs and drives, every revision.
    Trips,
    /// One change of one order.
    OrderEvents,
    /// One change of one payment attempt.
    PaymentEvents,
    /// One score.
    FraudDecisions,
}

/// How a column is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Microseconds UTC.
    Instant,
    /// Signed 64-bit: money in minor units, cells, sequence numbers.
    Int,
    /// Signed 32-bit: small counts.
    Small,
    /// IEEE double.
    Float,
    /// True or false.
    Flag,
    /// A list of texts, none of them null.
    Texts,
}

impl Kind {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Int => DataType::Int64,
            Kind::Small => DataType::Int32,
            Kind::Float => DataType::Float64,
            Kind::Flag => DataType::Boolean,
            Kind::Texts => DataType::List(texts_item()),
        }
    }
}

/// The item of a list of texts, named as Delta names it.
pub(crate) fn texts_item() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8, false))
}

/// A column of a table, save the partition column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name; the unit comes last.
    pub name: &'static str,
    /// How it is held.
    pub kind: Kind,
    /// True when it may be absent.
    pub nullable: bool,
    /// Few distinct values: worth a dictionary in Parquet.
    pub few: bool,
    /// What it means, in one line; shown by `DESCRIBE` and by readers of the Delta schema.
    pub comment: &'static str,
}

/// A record whose bytes are not the message of its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Topic.
    pub topic: Topic,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 7] = [
        Table::Fixes,
        Table::PositionsAll,
        Table::TrackingEvents,
        Table::Trips,
        Table::OrderEvents,
        Table::PaymentEvents,
        Table::FraudDecisions,
    ];

    /// The name, in SQL and as the folder's name.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Fixes => "fixes",
            Table::PositionsAll => "positions_all",
            Table::TrackingEvents => "tracking_events",
            Table::Trips => "trips",
            Table::OrderEvents => "order_events",
            Table::PaymentEvents => "payment_events",
            Table::FraudDecisions => "fraud_decisions",
        }
    }

    /// What a row is.
    pub const fn comment(self) -> &'static str {
        match self {
            Table::Fixes => "one accepted, distinct fix as sent",
            Table::PositionsAll => "every revision of the best known position for a fix",
            Table::TrackingEvents => "ARRIVING, ARRIVED, ENTER, EXIT, DWELL, OFFLINE, BACK and kin",
            Table::Trips => "one closed order leg or drive, every revision",
            Table::OrderEvents => "one change of one order",
            Table::PaymentEvents => "one change of one payment attempt",
            Table::FraudDecisions => "one fraud score of a payment",
        }
    }

    /// The topics it is fed from.
    pub const fn topics(self) -> &'static [Topic] {
        match self {
            Table::Fixes => &[Topic::GpsFixes, Topic::GpsBacklog],
            Table::PositionsAll => &[Topic::Positions],
            Table::TrackingEvents => &[Topic::TrackingEvents],
            Table::Trips => &[Topic::Trips],
            Table::OrderEvents => &[Topic::Orders],
            Table::PaymentEvents => &[Topic::Payments],
            Table::FraudDecisions => &[Topic::FraudDecisions],
        }
    }

    /// The table that a topic feeds; `None` for `deadletter` and `flow.progress`.
    pub fn of_topic(topic: Topic) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.topics().contains(&topic))
    }

    /// The columns in order, without the partition column.
    pub fn columns(self) -> Vec<Column> {
        match self {
            Table::Fixes => rows::FixRows::columns(),
            Table::PositionsAll => rows::PositionRows::columns(),
            Table::TrackingEvents => rows::TrackingEventRows::columns(),
            Table::Trips => rows::TripRows::columns(),
            Table::OrderEvents => rows::OrderEventRows::columns(),
            Table::PaymentEvents => rows::PaymentEventRows::columns(),
            Table::FraudDecisions => rows::FraudDecisionRows::columns(),
        }
    }

    /// What the data files hold: every column but the partition column.
    pub fn file_schema(self) -> SchemaRef {
        Arc::new(Schema::new(self.fields()))
    }

    /// What the table shows: the columns of the files, then `event_date` (Utf8, never null).
    pub fn schema(self) -> SchemaRef {
        let mut fields = self.fields();
        fields.push(Field::new(EVENT_DATE, DataType::Utf8, false));
        Arc::new(Schema::new(fields))
    }

    /// The columns that every data file is sorted by, ascending.
    pub const fn sort_columns(self) -> &'static [&'static str] {
        match self {
            Table::Fixes | Table::PositionsAll => &["h3_r9", "measured_at"],
            Table::TrackingEvents => &["at"],
            Table::Trips => &["origin_h3_r9", "started_at"],
            Table::OrderEvents | Table::PaymentEvents | Table::FraudDecisions => &["occurred_at"],
        }
    }

    /// The instant whose UTC date is the row's `event_date`.
    pub const fn date_column(self) -> &'static str {
        match self {
            Table::Fixes | Table::PositionsAll => "measured_at",
            Table::TrackingEvents => "at",
            _ => "occurred_at",
        }
    }

    /// The sets of columns by which a repeat is known: two rows that agree on every column of
    /// one set, none of them null, are the same row. Fixes: the same event (device, time and
    /// place), or the same device and sequence.
    pub const fn key_columns(self) -> &'static [&'static [&'static str]] {
        match self {
            Table::Fixes => &[&["event_id"], &["device_id", "seq"]],
            _ => &[&["event_id"]],
        }
    }

    /// The table's folder below the root of the store, without a slash at either end.
    pub fn folder(self) -> String {
        format!("{TABLES_FOLDER}/{}", self.name())
    }

    /// Records of this table's topics as rows (with `event_date`), in the order given, repeats
    /// included; what cannot be read is told apart. Records of other topics are ignored.
    pub fn decode(self, records: &[Record]) -> (RecordBatch, Vec<Undecodable>) {
        let mut rows = Rows::of(self, records.len());
        let mut undecodable = Vec::new();
        for record in records.iter().filter(|record| self.topics().contains(&record.topic)) {
            if let Err(reason) = rows.push(record) {
                undecodable.push(Undecodable {
                    topic: record.topic,
                    partition: record.partition,
                    offset: record.offset,
                    reason,
                });
            }
        }
        let batch = rows.finish();
        (rows::with_event_date(self, batch), undecodable)
    }

    fn fields(self) -> Vec<Field> {
        self.columns()
            .into_iter()
            .map(|column| {
                let comment = [("comment".to_owned(), column.comment.to_owned())];
                Field::new(column.name, column.kind.data_type(), column.nullable)
                    .with_metadata(comment.into())
            })
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no table of the archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no table of the archive is named {0:?}")]
pub struct UnknownTable(pub String);

impl FromStr for Table {
    type Err = UnknownTable;
    fn from_str(text: &str) -> Result<Self, UnknownTable> {
        Table::ALL
            .into_iter()
            .find(|table| table.name() == text)
            .ok_or_else(|| UnknownTable(text.chars().take(64).collect()))
    }
}
