//! What a watcher is sent: JSON text, one object a frame.
//!
//! In:    orders, positions, events.
//! Out:   frames as the interface names them.

use inzira_live_bus::LivePosition;
use inzira_schemas::identity::OrderView;
use inzira_schemas::{Micros, Point, wire};
use serde::Serialize;

/// Where a watcher stands: the next offset of the order's partition of `tracking.events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub u64);

impl Cursor {
    /// Reads `e<offset>`.
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix('e')?.parse().ok().map(Self)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "e{}", self.0)
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A position as a watcher sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PositionBody {
    /// Latitude, degrees.
    pub lat: f64,
    /// Longitude, degrees.
    pub lon: f64,
    /// Metres a second.
    pub speed_mps: f64,
    /// Degrees clockwise from north.
    pub bearing_deg: f64,
    /// 68 % radius, metres.
    pub accuracy_m: f64,
    /// The device's own time, RFC 3339.
    pub measured_at: String,
    /// Seconds since then, at the moment of sending.
    pub age_s: f64,
    /// Seconds to go, where known.
    pub eta_s: Option<f64>,
    /// Metres to go, where known.
    pub distance_m: Option<f64>,
}

impl PositionBody {
    /// The position at `now`.
    pub fn of(position: &LivePosition, now: Micros) -> Self {
        let tenth = |value: f64| (value * 10.0).round() / 10.0;
        let fine = |degrees: f64| (degrees * 1e6).round() / 1e6;
        Self {
            lat: fine(position.lat),
            lon: fine(position.lon),
            speed_mps: tenth(position.speed_mps),
            bearing_deg: tenth(position.bearing_deg),
            accuracy_m: tenth(position.accuracy_m),
            measured_at: position.measured_at.to_rfc3339(),
            age_s: tenth(now.seconds_since(position.measured_at).max(0.0)),
            eta_s: position.eta_s.map(f64::round),
            distance_m: position.distance_m.map(f64::round),
        }
    }
}

/// One frame.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Frame<'a> {
    /// First of all.
    Snapshot {
        /// The order.
        order_id: &'a str,
        /// As `OrderState` spells it.
        state: &'a str,
        /// What is carried.
        kind: &'a str,
        /// Newest known, if any.
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<PositionBody>,
        /// Where it is fetched.
        pickup: Point,
        /// Where it goes.
        destination: Point,
        /// Resume from here.
        cursor: Cursor,
    },
    /// A newer position.
    Position {
        /// The order.
        order_id: &'a str,
        /// Where.
        #[serde(flatten)]
        position: PositionBody,
        /// The newest event's.
        cursor: Cursor,
    },
    /// Something happened.
    Event {
        /// The order.
        order_id: &'a str,
        /// `ARRIVING`, …
        event: &'a str,
        /// The same for ever.
        event_id: &'a str,
        /// `pickup` or `delivery`.
        #[serde(skip_serializing_if = "str::is_empty")]
        leg: &'a str,
        /// When, RFC 3339.
        at: String,
        /// Proven late, for the record.
        late: bool,
        /// Resume from here.
        cursor: Cursor,
    },
    /// Still here.
    Ping,
    /// Positions cannot be had for the moment; what is shown is old.
    Stale,
}

impl Frame<'_> {
    /// As text.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| r#"{"type":"stale"}"#.to_owned())
    }
}

/// The snapshot frame of an order.
pub fn snapshot(order: &OrderView, position: Option<PositionBody>, cursor: Cursor) -> String {
    Frame::Snapshot {
        order_id: order.order_id.as_str(),
        state: &order.state,
        kind: &order.kind,
        position,
        pickup: order.pickup,
        destination: order.destination,
        cursor,
    }
    .text()
}

/// The frame of a committed event at `offset`.
pub fn event(event: &wire::TrackingEvent, offset: u64) -> String {
    let (kind, id) = event
        .envelope
        .as_ref()
        .map_or(("", ""), |envelope| (&envelope.event_type, &envelope.event_id));
    Frame::Event {
        order_id: &event.order_id,
        event: kind,
        event_id: id,
        leg: &event.leg,
        at: Micros(event.at_us).to_rfc3339(),
        late: event.late,
        cursor: Cursor(offset + 1),
    }
    .text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_spelt_as_the_interface_says() {
        assert_eq!(Frame::Ping.text(), r#"{"type":"ping"}"#);
        let happened = wire::TrackingEvent {
            envelope: Some(wire::Envelope {
                event_id: "evt_1".into(),
                event_type: "ARRIVING".into(),
                ..Default::default()
            }),
            order_id: "ord_1".into(),
            at_us: 0,
            ..Default::default()
        };
        assert_eq!(
            event(&happened, 4),
            r#"{"type":"event","order_id":"ord_1","event":"ARRIVING","event_id":"evt_1","at":"1970-01-01T00:00:00.000000Z","late":false,"cursor":"e5"}"#
        );
        assert_eq!(Cursor::parse("e5"), Some(Cursor(5)));
        assert_eq!(Cursor::parse("5"), None);
    }
}
