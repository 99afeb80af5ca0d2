//! Turns what the rules found into records of the log.
//!
//! In:    positions, alerts, echoes, trips, bytes that could not be read.
//! Out:   protobuf with its key and headers; ids come from the cause, so a repeat is known.
//! Keeps: one message to write positions with, so that a position costs no strings.

use bytes::{Bytes, BytesMut};
use inzira_schemas::states::TrackingKind;
use inzira_schemas::{EVENT_SCHEMA, Event, Micros, Topic, cell, event_id, wire};
use prost::Message;

use super::Output;
use crate::rules::orders::Echo;
use crate::rules::smooth::Outcome;
use crate::rules::{Candidate, Origin, PositionOut, TripOut};

/// A dead letter keeps this much of a body, bytes.
const BODY_MAX: usize = 64 * 1024;
/// Positions are written into chunks of this size, bytes.
const CHUNK: usize = 64 * 1024;

/// Writes positions.
#[derive(Debug, Default)]
pub struct PositionWriter {
    message: wire::Position,
    chunk: BytesMut,
}

impl PositionWriter {
    /// The record of a position.
    pub fn write(&mut self, position: &PositionOut<'_>, now: Micros) -> Output {
        let id = event_id(&[b"position", position.fix_event_id.as_bytes(), &0_u32.to_le_bytes()]);
        self.fill(position, &id, now);
        if self.chunk.capacity() < 512 {
            self.chunk.reserve(CHUNK);
        }
        self.chunk.extend_from_slice(position.driver.as_bytes());
        let key = self.chunk.split().freeze();
        // A BytesMut grows as needed: encoding into it cannot fail.
        let _ = self.message.encode(&mut self.chunk);
        let value = self.chunk.split().freeze();
        Output {
            topic: index_of(Topic::Positions),
            key,
            value,
            event_id: id.into(),
            event_type: Bytes::from_static(b"position.updated"),
            origin: Origin::default(),
            closes: false,
        }
    }

    fn fill(&mut self, position: &PositionOut<'_>, id: &str, now: Micros) {
        let message = &mut self.message;
        let envelope = message.envelope.get_or_insert_with(|| wire::Envelope {
            event_type: "position.updated".to_owned(),
            schema: EVENT_SCHEMA,
            actor_role: "system".to_owned(),
            ..Default::default()
        });
        set(&mut envelope.event_id, id);
        envelope.occurred_at_us = position.measured_at.0;
        envelope.recorded_at_us = now.0;
        set(&mut message.driver_id, position.driver);
        set(&mut message.device_id, position.device);
        set(&mut message.order_id, position.order.unwrap_or(""));
        message.measured_at_us = position.measured_at.0;
        message.received_at_us = position.received_at.0;
        let smoothed = &position.smoothed;
        (message.lat, message.lon) =
            (round(smoothed.point.lat, 1e7), round(smoothed.point.lon, 1e7));
        message.accuracy_m = round(smoothed.accuracy_m, 1e2);
        message.speed_mps = round(smoothed.speed_mps, 1e2);
        message.bearing_deg = round(smoothed.bearing_deg, 1e1);
        message.h3_r9 = position.h3_r9;
        message.distance_m = position.distance_m.map(|distance_m| round(distance_m, 1e1));
        message.eta_s = position.eta_s.map(|eta_s| round(eta_s, 1e0));
        set(&mut message.source, if position.late { "late" } else { "live" });
        message.revision = 0;
        message.flags.clear();
        for (set, flag) in [
            (smoothed.outcome == Outcome::Implausible, "implausible_jump"),
            (position.stale, "stale"),
            (position.clock_fast, "clock_fast"),
            (smoothed.outcome == Outcome::Coarse, "coarse"),
        ] {
            if set {
                message.flags.push(flag.to_owned());
            }
        }
    }
}

/// The record of an alert.
pub fn alert(candidate: &Candidate, now: Micros) -> Output {
    let leg = candidate.leg.to_string();
    let at = candidate.at.0.to_le_bytes();
    let mut cause: Vec<&[u8]> =
        vec![candidate.kind.as_str().as_bytes(), candidate.order.as_bytes(), leg.as_bytes()];
    if matches!(candidate.kind, TrackingKind::Offline | TrackingKind::Back) {
        cause.push(&at);
    }
    let point = candidate.point;
    let event = wire::TrackingEvent {
        envelope: Some(wire::Envelope::by_system(
            event_id(&cause),
            candidate.kind.as_str(),
            candidate.at,
            now,
        )),
        order_id: candidate.order.to_string(),
        driver_id: candidate.driver.to_string(),
        leg,
        at_us: candidate.at.0,
        lat: point.map_or(0.0, |point| round(point.lat, 1e7)),
        lon: point.map_or(0.0, |point| round(point.lon, 1e7)),
        h3_r9: candidate.h3_r9,
        late: candidate.late,
        ..Default::default()
    };
    Output { origin: candidate.origin, ..record(&event) }
}

/// The record by which watchers of an order hear of its state.
pub fn echo(echo: &Echo, origin: Origin, now: Micros) -> Output {
    let version = echo.version.to_le_bytes();
    let mut cause: Vec<&[u8]> = vec![echo.kind.as_str().as_bytes(), echo.order.as_bytes(), b""];
    if echo.kind == TrackingKind::Assigned {
        // An order may be assigned again: each time is an event of its own.
        cause.extend([echo.driver.as_bytes(), &version[..]]);
    }
    let mut envelope =
        wire::Envelope::by_system(event_id(&cause), echo.kind.as_str(), echo.at, now);
    if !echo.actor_role.is_empty() {
        envelope.actor_role = echo.actor_role.to_string();
    }
    envelope.actor_id = echo.actor_id.to_string();
    envelope.reason = echo.reason.to_string();
    let closes = matches!(echo.kind, TrackingKind::Delivered | TrackingKind::Cancelled);
    let event = wire::TrackingEvent {
        envelope: Some(envelope),
        order_id: echo.order.to_string(),
        driver_id: echo.driver.to_string(),
        at_us: echo.at.0,
        lat: echo.point.map_or(0.0, |point| point.lat),
        lon: echo.point.map_or(0.0, |point| point.lon),
        h3_r9: echo.point.map_or(0, cell::cell_r9),
        ..Default::default()
    };
    Output { origin, closes, ..record(&event) }
}

/// The record of a drive that ended.
pub fn trip(trip: &TripOut, now: Micros) -> Output {
    let id = event_id(&[b"trip", trip.trip_id.as_bytes(), &trip.revision.to_le_bytes()]);
    record(&wire::Trip {
        envelope: Some(wire::Envelope::by_system(id, "trip.closed", trip.ended_at, now)),
        trip_id: trip.trip_id.clone(),
        order_id: trip.order.to_string(),
        driver_id: trip.driver.to_string(),
        started_at_us: trip.started_at.0,
        ended_at_us: trip.ended_at.0,
        origin_h3_r9: trip.origin_h3_r9,
        destination_h3_r9: trip.destination_h3_r9,
        distance_m: round(trip.distance_m, 1e1),
        moving_s: round(trip.moving_s, 1e1),
        stopped_s: round(trip.stopped_s, 1e1),
        line: trip.line.clone(),
        revision: trip.revision,
    })
}

/// The record of something that could not be read, or that broke a rule.
pub fn dead_letter(source: &str, reason: &str, body: &Bytes, now: Micros) -> Output {
    let id = event_id(&[b"deadletter", source.as_bytes()]);
    record(&wire::DeadLetter {
        envelope: Some(wire::Envelope::by_system(id, "flow.refused", now, now)),
        source: source.to_owned(),
        reason: reason.to_owned(),
        body: body[..body.len().min(BODY_MAX)].to_vec(),
        device_id: String::new(),
    })
}

fn record<E: Event>(event: &E) -> Output {
    let envelope = event.envelope().cloned().unwrap_or_default();
    Output {
        topic: index_of(E::TOPIC),
        key: Bytes::copy_from_slice(event.key().as_bytes()),
        value: event.encode_to_vec().into(),
        event_id: envelope.event_id.into(),
        event_type: envelope.event_type.into(),
        origin: Origin::default(),
        closes: false,
    }
}

fn index_of(topic: Topic) -> u8 {
    Topic::ALL
        .iter()
        .position(|other| *other == topic)
        .and_then(|i| u8::try_from(i).ok())
        .unwrap_or(u8::MAX)
}

fn set(text: &mut String, to: &str) {
    text.clear();
    text.push_str(to);
}

/// Rounds to a fraction, so that the last bits of a filter never reach a table.
fn round(value: f64, per_unit: f64) -> f64 {
    if value.is_finite() { (value * per_unit).round() / per_unit } else { 0.0 }
}
