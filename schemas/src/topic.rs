//! The topics of the log, their partition counts, and where a key goes.
//!
//! In:    a key.
//! Out:   its partition: murmur2 as the Java clients have it, so that any Kafka producer agrees.
//! Never: changes: a count is fixed for ever, since an order's events must stay in one partition.

use std::fmt;
use std::str::FromStr;

/// A topic of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Accepted fixes, key driver.
    GpsFixes,
    /// Fixes older than 5 minutes on arrival, key driver.
    GpsBacklog,
    /// Changes of orders, key order.
    Orders,
    /// Changes of payments, key order.
    Payments,
    /// Smoothed positions, key driver.
    Positions,
    /// ARRIVING and its kin, key order (driver where there is none).
    TrackingEvents,
    /// Closed drives, key driver.
    Trips,
    /// Scores, key payment.
    FraudDecisions,
    /// What could not be read, with its reason.
    DeadLetter,
    /// One record a committed epoch of the flow.
    FlowProgress,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Topic; 10] = [
        Topic::GpsFixes,
        Topic::GpsBacklog,
        Topic::Orders,
        Topic::Payments,
        Topic::Positions,
        Topic::TrackingEvents,
        Topic::Trips,
        Topic::FraudDecisions,
        Topic::DeadLetter,
        Topic::FlowProgress,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Topic::GpsFixes => "gps.fixes",
            Topic::GpsBacklog => "gps.backlog",
            Topic::Orders => "orders",
            Topic::Payments => "payments",
            Topic::Positions => "positions",
            Topic::TrackingEvents => "tracking.events",
            Topic::Trips => "trips",
            Topic::FraudDecisions => "fraud.decisions",
            Topic::DeadLetter => "deadletter",
            Topic::FlowProgress => "flow.progress",
        }
    }

    /// How many partitions it has, in both logs.
    pub const fn partitions(self) -> u32 {
        match self {
            Topic::GpsFixes | Topic::GpsBacklog | Topic::Positions => 24,
            Topic::Orders
            | Topic::Payments
            | Topic::TrackingEvents
            | Topic::Trips
            | Topic::FraudDecisions => 12,
            Topic::DeadLetter | Topic::FlowProgress => 1,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no topic of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no topic is named {0:?}; there are gps.fixes, gps.backlog, orders, payments, positions, tracking.events, trips, fraud.decisions, deadletter, flow.progress"
)]
pub struct UnknownTopic(pub String);

impl FromStr for Topic {
    type Err = UnknownTopic;
    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        Topic::ALL
            .into_iter()
            .find(|topic| topic.name() == text)
            .ok_or_else(|| UnknownTopic(text.chars().take(64).collect()))
    }
}

/// The partition of `topic` that holds `key`.
pub fn partition_of(topic: Topic, key: &[u8]) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % topic.partitions()
}

/// MurmurHash2 with the seed of `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut h = 0x9747_b28c ^ length;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * index);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_agrees_with_the_java_client() {
        // The vectors of Kafka's own UtilsTest.testMurmur2.
        for (text, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn every_topic_reads_back_from_its_name() {
        for topic in Topic::ALL {
            assert_eq!(topic.name().parse(), Ok(topic));
        }
    }
}
