//! A record: key, value, headers; before and after it has a place.
//!
//! In:    an event of `inzira-schemas`.
//! Out:   bytes with the headers that every topic carries.

use bytes::Bytes;
use inzira_schemas::{Event, Topic, partition_of};

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `event-id`, `event-type`, `schema`, `traceparent`.
    pub name: String,
    /// Its bytes, UTF-8 for ours.
    pub value: Bytes,
}

/// A record that has no place yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Where to.
    pub topic: Topic,
    /// What orders it; decides the partition.
    pub key: Bytes,
    /// Protobuf.
    pub value: Bytes,
    /// Headers, in order.
    pub headers: Vec<Header>,
}

impl NewRecord {
    /// The record of an event, on its own topic, with the usual headers.
    pub fn of<E: Event>(event: &E) -> Self {
        Self::on(E::TOPIC, event)
    }

    /// The record of an event on another topic than its own (`gps.backlog`).
    pub fn on<E: Event>(topic: Topic, event: &E) -> Self {
        let headers = event.envelope().map_or_else(Vec::new, |envelope| {
            let mut headers = vec![
                header("event-id", envelope.event_id.clone()),
                header("event-type", envelope.event_type.clone()),
                header("schema", envelope.schema.to_string()),
            ];
            if !envelope.traceparent.is_empty() {
                headers.push(header("traceparent", envelope.traceparent.clone()));
            }
            headers
        });
        Self {
            topic,
            key: Bytes::copy_from_slice(event.key().as_bytes()),
            value: event.encode_to_vec().into(),
            headers,
        }
    }

    /// The partition that its key goes to.
    pub fn partition(&self) -> u32 {
        partition_of(self.topic, &self.key)
    }

    /// About how many bytes it takes.
    pub fn size_bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|header| header.name.len() + header.value.len() + 4).sum();
        self.key.len() + self.value.len() + headers + 16
    }
}

/// A record with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Topic.
    pub topic: Topic,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
    /// When the log took it, microseconds UTC.
    pub appended_at_us: i64,
    /// Key.
    pub key: Bytes,
    /// Protobuf.
    pub value: Bytes,
    /// Headers.
    pub headers: Vec<Header>,
}

impl Record {
    /// The event inside. An error means bytes that are not that message.
    pub fn decode<E: Event>(&self) -> Result<E, prost::DecodeError> {
        E::decode(self.value.clone())
    }
}

fn header(name: &str, value: String) -> Header {
    Header { name: name.to_owned(), value: value.into() }
}
