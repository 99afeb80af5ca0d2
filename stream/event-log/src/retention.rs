//! How long each topic is kept, the same in both logs.
//!
//! In:    a topic.
//! Out:   a duration, or none: kept for ever.

use std::time::Duration;

use inzira_schemas::Topic;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long the log keeps a topic's records; `None` is for ever. The archive holds them longer:
/// the log is what happened lately, and the money and the flow's own progress are never dropped.
pub const fn kept_for(topic: Topic) -> Option<Duration> {
    match topic {
        Topic::GpsFixes | Topic::GpsBacklog | Topic::Positions => Some(DAY.saturating_mul(7)),
        Topic::TrackingEvents | Topic::Trips | Topic::DeadLetter => Some(DAY.saturating_mul(30)),
        Topic::Orders | Topic::Payments | Topic::FraudDecisions | Topic::FlowProgress => None,
    }
}
