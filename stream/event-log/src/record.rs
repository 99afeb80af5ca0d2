//! A record: key, value, headers; before and after it has a place.
//!
//! In:    an event of `inzira-schemas`.
//! Out:   bytes with the headers that every topic carries.

use bytes::Bytes;
use inzira_schemas::{Event, Topic, partition_of};

use crate::LogError;

/// The largest record that either log takes, in bytes of `NewRecord::size_bytes`. A larger one is
/// `LogError::Broken` that says so, and nothing is written.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

/// The most that one `append` or `transact` takes, in bytes. More is `LogError::Broken`.
pub const CALL_BYTES_MAX: usize = 32 << 20;

/// The most headers that a record carries.
pub const HEADERS_MAX: usize = 64;

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

/// The size of all of them in bytes, or why they cannot be written.
pub(crate) fn size_checked(records: &[NewRecord]) -> Result<usize, LogError> {
    let mut total_bytes = 0usize;
    for record in records {
        let bytes = record.size_bytes();
        if bytes > RECORD_BYTES_MAX {
            return Err(LogError::Broken(format!(
                "a record for {} has {bytes} bytes, the log takes at most {RECORD_BYTES_MAX}",
                record.topic
            )));
        }
        if record.headers.len() > HEADERS_MAX {
            return Err(LogError::Broken(format!(
                "a record for {} has {} headers, the log takes at most {HEADERS_MAX}",
                record.topic,
                record.headers.len()
            )));
        }
        if record.headers.iter().any(|header| header.name.len() > 255) {
            return Err(LogError::Broken("a header name is longer than 255 bytes".to_owned()));
        }
        total_bytes += bytes;
    }
    if total_bytes > CALL_BYTES_MAX {
        return Err(LogError::Broken(format!(
            "{} records have {total_bytes} bytes, the log takes at most {CALL_BYTES_MAX} at once",
            records.len()
        )));
    }
    Ok(total_bytes)
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
