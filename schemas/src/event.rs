//! What every event of the log has in common: its topic, its key, its envelope.
//!
//! In:    a cause.
//! Out:   an id that the same cause always gives, so that every sink can know a repeat.

use prost::Message;
use xxhash_rust::xxh3::xxh3_128;

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

const EVENT_ID_PREFIX: &str = "evt_";
/// Parts up to this many bytes, with their lengths, are hashed without an allocation.
const EVENT_ID_BYTES: usize = 256;

/// The id of the event that `parts` caused: `evt_` and 128 bits, the same for the same parts.
pub fn event_id(parts: &[&[u8]]) -> String {
    let total = parts.iter().map(|part| part.len() + 8).sum();
    // One pass over bytes that lie together is several times faster than feeding a hasher.
    let (mut short, mut long) = ([0_u8; EVENT_ID_BYTES], Vec::new());
    let joined = if total <= EVENT_ID_BYTES {
        &mut short[..total]
    } else {
        long.resize(total, 0);
        long.as_mut_slice()
    };
    let mut at = 0;
    for part in parts {
        joined[at..at + 8].copy_from_slice(&(part.len() as u64).to_le_bytes());
        joined[at + 8..at + 8 + part.len()].copy_from_slice(part);
        at += 8 + part.len();
    }
    let mut digits = [0_u8; ulid::ULID_LEN];
    let text = ulid::Ulid::from(xxh3_128(joined)).array_to_str(&mut digits);
    let mut id = String::with_capacity(EVENT_ID_PREFIX.len() + text.len());
    id.push_str(EVENT_ID_PREFIX);
    id.push_str(text);
    id
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
        let long = [7_u8; 1_000];
        assert_ne!(event_id(&[&long, b"a"]), event_id(&[&long, b"b"]));
    }

    #[test]
    fn ids_once_given_stay() {
        let fed = |parts: &[&[u8]]| {
            let mut hash = xxhash_rust::xxh3::Xxh3::new();
            for part in parts {
                hash.update(&(part.len() as u64).to_le_bytes());
                hash.update(part);
            }
            format!("evt_{}", ulid::Ulid::from(hash.digest128()))
        };
        for len in [0, 1, 8, 200, 239, 240, 241, 248, 249, 2_000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            assert_eq!(event_id(&[b"fix", &bytes]), fed(&[b"fix", &bytes]), "{len}");
        }
    }
}
