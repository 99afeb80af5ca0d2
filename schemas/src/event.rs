//! What every event of the log has in common: its topic, its key, its envelope.
//!
//! In:    a cause.
//! Out:   an id that the same cause always gives, so that every sink can know a repeat.

use prost::Message;
use xxhash_rust::xxh3::Xxh3;

use crate::{Micros, Topic, wire};

/// The version of the field layout in `proto/inzira.proto`.
pub const EVENT_SCHEMA: u32 = 1;

/// A message of the log. `Topic::GpsBacklog` holds `wire::Fix` too.
pub trait Event: Message + Default {
    /// The topic it is written to unless a rule says otherwise.
    const TOPIC: Topic;
    /// What orders it: events of one key stay in sequence.
    fn key(&self) -> &str;
    /// Its envelope, if it has one: every event that we write does.
    fn envelope(&self) -> Option<&wire::Envelope>;
}

macro_rules! events {
    ($($name:ident, $topic:ident, $key:expr;)*) => {$(
        impl Event for wire::$name {
            const TOPIC: Topic = Topic::$topic;
            fn key(&self) -> &str {
                let key: fn(&Self) -> &str = $key;
                key(self)
            }
            fn envelope(&self) -> Option<&wire::Envelope> { self.envelope.as_ref() }
        }
    )*};
}

events! {
    Fix, GpsFixes, |e| &e.driver_id;
    OrderEvent, Orders, |e| &e.order_id;
    PaymentEvent, Payments, |e| &e.order_id;
    Position, Positions, |e| &e.driver_id;
    TrackingEvent, TrackingEvents, |e| if e.order_id.is_empty() { &e.driver_id } else { &e.order_id };
    Trip, Trips, |e| &e.driver_id;
    FraudDecision, FraudDecisions, |e| &e.payment_id;
    DeadLetter, DeadLetter, |e| &e.source;
    FlowProgress, FlowProgress, |_| "";
}

/// The id of the event that `parts` caused: `evt_` and 128 bits, the same for the same parts.
pub fn event_id(parts: &[&[u8]]) -> String {
    let mut hash = Xxh3::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("evt_{}", ulid::Ulid::from(hash.digest128()))
}

/// Bytes for a person to read: UTF-8, with a mark where they are none.
pub(crate) fn as_text<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&String::from_utf8_lossy(bytes))
}

impl wire::Envelope {
    /// An envelope for something the house itself did.
    pub fn by_system(
        event_id: String,
        event_type: &str,
        occurred_at: Micros,
        recorded_at: Micros,
    ) -> Self {
        Self {
            event_id,
            event_type: event_type.to_owned(),
            schema: EVENT_SCHEMA,
            occurred_at_us: occurred_at.0,
            recorded_at_us: recorded_at.0,
            actor_role: "system".to_owned(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cause_gives_the_same_id_and_another_cause_another() {
        assert_eq!(event_id(&[b"ab", b"c"]), event_id(&[b"ab", b"c"]));
        assert_ne!(event_id(&[b"ab", b"c"]), event_id(&[b"a", b"bc"]));
    }
}
