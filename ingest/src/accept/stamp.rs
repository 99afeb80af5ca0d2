//! Makes the records of the log.
//!
//! In:    a checked fix, or the bytes of one that was set aside.
//! Out:   a record with its envelope, its deterministic id, its cell and its topic.

use inzira_event_log::NewRecord;
use inzira_schemas::cell::NearCell;
use inzira_schemas::identity::Device;
use inzira_schemas::{EVENT_SCHEMA, Micros, Point, Topic, event_id, wire};

use super::{BACKLOG_AFTER_US, Checked};
use crate::decode::{Protocol, Reason};

/// What all records of one request share.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Who sent it.
    pub device: &'a Device,
    /// How.
    pub protocol: Protocol,
    /// When it arrived.
    pub received_at: Micros,
    /// The trace that it belongs to; empty when none.
    pub traceparent: &'a str,
}

/// Degrees times 10^7, rounded: what an id is made of.
pub fn rounded(point: Point) -> (i64, i64) {
    // Within ±1.8e9 for any place on the earth.
    ((point.lat * 1e7).round() as i64, (point.lon * 1e7).round() as i64)
}

/// The record of a fix: `gps.fixes`, or `gps.backlog` when it is old on arrival.
///
/// The id is made of the device's own time, before any correction, so that the same fix sent
/// twice by a phone whose clock runs fast has one id.
pub fn fix_record(fix: &Checked, arrival: Arrival<'_>, near: &mut NearCell) -> NewRecord {
    let Device { device_id, driver_id } = arrival.device;
    let (lat, lon) = rounded(fix.point);
    let own_time = fix.own_time.unwrap_or(fix.measured_at);
    let id = event_id(&[
        b"fix",
        device_id.as_str().as_bytes(),
        &own_time.0.to_le_bytes(),
        &lat.to_le_bytes(),
        &lon.to_le_bytes(),
    ]);
    let event = wire::Fix {
        envelope: Some(wire::Envelope {
            event_id: id,
            event_type: "fix.accepted".to_owned(),
            schema: EVENT_SCHEMA,
            occurred_at_us: fix.measured_at.0,
            recorded_at_us: arrival.received_at.0,
            actor_role: "driver".to_owned(),
            actor_id: driver_id.to_string(),
            reason: String::new(),
            traceparent: arrival.traceparent.to_owned(),
        }),
        driver_id: driver_id.to_string(),
        device_id: device_id.to_string(),
        seq: fix.seq,
        measured_at_us: fix.measured_at.0,
        received_at_us: arrival.received_at.0,
        time_source: fix.time_source.as_str().to_owned(),
        protocol: arrival.protocol.as_str().to_owned(),
        lat: fix.point.lat,
        lon: fix.point.lon,
        accuracy_m: fix.accuracy_m,
        altitude_m: fix.altitude_m,
        speed_mps: fix.speed_mps,
        bearing_deg: fix.bearing_deg,
        battery_pct: fix.battery_pct,
        h3_r9: near.cell_r9(fix.point),
    };
    let age_us = arrival.received_at.0.saturating_sub(fix.measured_at.0);
    let topic = if age_us > BACKLOG_AFTER_US { Topic::GpsBacklog } else { Topic::GpsFixes };
    NewRecord::on(topic, &event)
}

/// The record of something that was set aside: its bytes, cut at `bytes_max`, and its reason.
/// The same bytes sent again have the same id.
pub fn set_aside_record(
    body: &[u8],
    reason: Reason,
    arrival: Arrival<'_>,
    bytes_max: usize,
) -> NewRecord {
    let device_id = arrival.device.device_id.as_str();
    let id = event_id(&[b"deadletter", device_id.as_bytes(), reason.as_str().as_bytes(), body]);
    let kept = &body[..body.len().min(bytes_max)];
    let mut envelope =
        wire::Envelope::by_system(id, "fix.set_aside", arrival.received_at, arrival.received_at);
    envelope.traceparent = arrival.traceparent.to_owned();
    NewRecord::of(&wire::DeadLetter {
        envelope: Some(envelope),
        source: arrival.protocol.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        body: kept.to_vec(),
        device_id: device_id.to_owned(),
    })
}
