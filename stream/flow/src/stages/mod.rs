//! The rules applied to an epoch's batch, key by key: still no engine.
//!
//! In:    one epoch's records, in any order, and its tick.
//! Out:   records for the log, and what the next stage must know.
//! Keeps: state by key group, ready to be written down group by group.
//! Never: depends on how a batch was carried: it is sorted by origin first. A rule that breaks
//!        costs its own key and is named in `deadletter`; nothing else stops.

pub mod alerts;
pub mod drivers;
pub mod encode;
pub mod groups;
pub mod orders;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use inzira_event_log::Record;
use inzira_schemas::{Micros, Topic};
use serde::{Deserialize, Serialize};

use crate::rules::{Key, Origin, key_of};

/// A record on its way to the worker of its key, still undecoded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Item {
    /// The key of its driver or order.
    pub key: Key,
    /// When the log took it, and where it lies.
    pub origin: Origin,
    /// Protobuf.
    pub value: Bytes,
}

/// The classes of input, in the order in which an epoch applies them.
pub const ORDERS: u8 = 0;
/// `gps.fixes`.
pub const FIXES: u8 = 1;
/// `gps.backlog`.
pub const BACKLOG: u8 = 2;

/// The topics that the flow reads, by class.
pub const INPUTS: [Topic; 3] = [Topic::Orders, Topic::GpsFixes, Topic::GpsBacklog];

impl Item {
    /// The item of a record; `None` for a topic that the flow does not read.
    pub fn of(record: Record) -> Option<Self> {
        let class = class_of(record.topic)?;
        let key = match std::str::from_utf8(&record.key) {
            Ok(text) => key_of(text),
            Err(_) => 0,
        };
        let arrived = Micros(record.appended_at_us);
        let origin = Origin::new(arrived, class, record.partition, record.offset);
        Some(Self { key, origin, value: record.value })
    }

    /// Its class.
    pub const fn class(&self) -> u8 {
        self.origin.class()
    }

    /// `gps.fixes/3@1042`.
    pub fn source(&self) -> String {
        let topic = INPUTS[usize::from(self.class()).min(INPUTS.len() - 1)];
        format!("{topic}/{}@{}", self.origin.partition(), self.origin.offset())
    }
}

/// The class of a topic that the flow reads.
pub fn class_of(topic: Topic) -> Option<u8> {
    INPUTS.iter().position(|input| *input == topic).and_then(|index| u8::try_from(index).ok())
}

/// A record for the log, encoded where it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Index into `Topic::ALL`.
    pub topic: u8,
    /// Key.
    pub key: Bytes,
    /// Protobuf.
    pub value: Bytes,
    /// For the header.
    pub event_id: Bytes,
    /// For the header.
    pub event_type: Bytes,
    /// What caused it: an order's events are told in the order of their causes.
    pub origin: Origin,
    /// After the commit the live bus may forget the order that is the key.
    pub closes: bool,
}

impl Output {
    /// Its topic.
    pub fn topic(&self) -> Topic {
        Topic::ALL[usize::from(self.topic).min(Topic::ALL.len() - 1)]
    }

    /// About how many bytes it takes.
    pub fn size_bytes(&self) -> usize {
        self.key.len() + self.value.len() + 96
    }
}

/// Runs a rule; a panic inside comes back as text.
fn guarded<R>(rule: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(rule)).map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "a panic without words".to_owned())
    })
}
