//! The frames: JSON text, one object each.
//!
//! In:    an order, a position, an event, a cursor.
//! Out:   text. A position's text is made once for all who watch its order; the age, which is
//!        counted at sending, and the cursor are added for each.

use std::fmt::Write;

use axum::extract::ws::Utf8Bytes;
use inzira_event_log::Record;
use inzira_live_bus::LivePosition;
use inzira_schemas::identity::OrderView;
use inzira_schemas::states::TrackingKind;
use inzira_schemas::{Micros, Point, wire};
use serde::Serialize;

/// A place in the order's partition of `tracking.events`: the next offset to look at. Spelt
/// `e…`; watchers may not look inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor(pub u64);

impl Cursor {
    /// Reads the spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('e')?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plain { digits.parse().ok().map(Cursor) } else { None }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "e{}", self.0)
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An event, ready to go out.
#[derive(Debug)]
pub(crate) struct EventFrame {
    /// The whole frame.
    pub text: Utf8Bytes,
    /// The order is over with it.
    pub closes: bool,
}

#[derive(Serialize)]
struct EventBody<'a> {
    r#type: &'static str,
    order_id: &'a str,
    event: &'a str,
    event_id: &'a str,
    at: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    leg: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    cursor: Cursor,
}

/// The frame of a record, with its order; `None` for one that belongs to no order or cannot be
/// read.
pub(crate) fn event(record: &Record) -> Option<(String, EventFrame)> {
    let event: wire::TrackingEvent = match record.decode() {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(%error, partition = record.partition, offset = record.offset,
                "a tracking event cannot be read");
            return None;
        }
    };
    if event.order_id.is_empty() {
        return None;
    }
    let envelope = event.envelope.unwrap_or_default();
    let text = json(&EventBody {
        r#type: "event",
        order_id: &event.order_id,
        event: &envelope.event_type,
        event_id: &envelope.event_id,
        at: Micros(event.at_us).to_rfc3339(),
        leg: &event.leg,
        late: event.late,
        cursor: Cursor(record.offset + 1),
    });
    let kind = TrackingKind::parse(&envelope.event_type);
    let closes = matches!(kind, Some(TrackingKind::Delivered | TrackingKind::Cancelled));
    Some((event.order_id, EventFrame { text: text.into(), closes }))
}

#[derive(Serialize)]
struct PositionBody {
    lat: f64,
    lon: f64,
    speed_mps: f64,
    bearing_deg: f64,
    accuracy_m: f64,
    measured_at: String,
    eta_s: Option<f64>,
    distance_m: Option<f64>,
}

impl PositionBody {
    fn of(position: &LivePosition) -> Self {
        let to = |digits: i32, value: f64| {
            let scale = 10_f64.powi(digits);
            (value * scale).round() / scale
        };
        Self {
            lat: to(6, position.lat),
            lon: to(6, position.lon),
            speed_mps: to(2, position.speed_mps),
            bearing_deg: to(1, position.bearing_deg),
            accuracy_m: to(1, position.accuracy_m),
            measured_at: position.measured_at.to_rfc3339(),
            eta_s: position.eta_s.map(|eta_s| eta_s.round()),
            distance_m: position.distance_m.map(|distance_m| to(1, distance_m)),
        }
    }
}

/// A position with its age, as it stands inside a snapshot or an answer.
#[derive(Serialize)]
pub(crate) struct AgedPosition {
    #[serde(flatten)]
    body: PositionBody,
    age_s: f64,
}

impl AgedPosition {
    pub fn of(position: &LivePosition, now: Micros) -> Self {
        Self { body: PositionBody::of(position), age_s: age_s(position, now) }
    }
}

/// Seconds since the device measured, to a tenth; 0 for a clock ahead of ours.
pub(crate) fn age_s(position: &LivePosition, now: Micros) -> f64 {
    (now.seconds_since(position.measured_at).max(0.0) * 10.0).round() / 10.0
}

/// The part of a position's frame that all watchers share: everything but age and cursor, without
/// the closing brace.
pub(crate) fn position_body(order_id: &str, position: &LivePosition) -> String {
    let mut text = json(&PositionBody::of(position));
    text.pop();
    text.insert_str(1, &format!("\"type\":\"position\",\"order_id\":\"{order_id}\","));
    text
}

/// A position's frame.
pub(crate) fn position(body: &str, age_s: f64, cursor: Cursor) -> Utf8Bytes {
    let mut text = String::with_capacity(body.len() + 56);
    text.push_str(body);
    // Writing to a string cannot fail.
    let _ = write!(text, ",\"age_s\":{age_s:.1},\"cursor\":\"{cursor}\"}}");
    text.into()
}

#[derive(Serialize)]
struct SnapshotBody<'a> {
    r#type: &'static str,
    order_id: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<AgedPosition>,
    destination: Point,
    cursor: Cursor,
}

/// The first frame.
pub(crate) fn snapshot(
    order: &OrderView,
    position: Option<&LivePosition>,
    now: Micros,
    cursor: Cursor,
) -> Utf8Bytes {
    json(&SnapshotBody {
        r#type: "snapshot",
        order_id: order.order_id.as_str(),
        state: &order.state,
        position: position.map(|position| AgedPosition::of(position, now)),
        destination: order.destination,
        cursor,
    })
    .into()
}

/// Positions are not coming in at the moment; the last one was so old.
pub(crate) fn stale(age_s: Option<f64>) -> Utf8Bytes {
    match age_s {
        Some(age_s) => format!("{{\"type\":\"stale\",\"age_s\":{age_s:.1}}}").into(),
        None => Utf8Bytes::from_static("{\"type\":\"stale\",\"age_s\":null}"),
    }
}

/// A sign of life.
pub(crate) fn ping() -> Utf8Bytes {
    Utf8Bytes::from_static("{\"type\":\"ping\"}")
}

fn json(value: &impl Serialize) -> String {
    // Strings and finite numbers cannot fail; an infinity would become null.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        assert_eq!(Cursor::parse(&Cursor(42).to_string()), Some(Cursor(42)));
        for text in ["", "e", "42", "e-1", "e+1", "e1x", "e99999999999999999999999"] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}
