//! Judges each fix and stamps it for the log.
//!
//! In:    what a decoder read, the device that sent it, the moment of arrival.
//! Out:   a checked fix, or the reason why it is set aside. The rules are those that the README
//!        lists for devices.
//! Keeps: nothing here; what is remembered of devices is in `memory`.
//! Never: refuses a fix for its age; invents a value; writes NaN or an infinity.

pub mod clock_ahead;
pub mod memory;
pub mod stamp;

use inzira_schemas::{Micros, Point};

use crate::decode::{DeviceTime, RawFix, Reason};

/// A coarser fix than this says nothing about a street.
pub const ACCURACY_MAX_M: f64 = 1_000.0;
/// Faster than any vehicle on a road: the number is wrong, the place may be right.
pub const SPEED_MAX_MPS: f64 = 100.0;
/// A clock that runs further ahead than this is not corrected.
pub const FUTURE_MAX_US: i64 = 24 * 3_600 * 1_000_000;
/// Clocks that agree this well with ours are left alone.
pub const CLOCK_TOLERANCE_US: i64 = 1_000_000;
/// Older than this on arrival goes to the backlog topic.
pub const BACKLOG_AFTER_US: i64 = 5 * 60 * 1_000_000;

/// Where a fix's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// The device's own.
    Device,
    /// The device said nothing: our time of arrival.
    Arrival,
    /// The device's clock runs fast: moved back to arrival.
    Clamped,
}

impl TimeSource {
    /// As the log spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            TimeSource::Device => "device",
            TimeSource::Arrival => "arrival",
            TimeSource::Clamped => "clamped",
        }
    }
}

/// A fix that passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The device's own count.
    pub seq: Option<u64>,
    /// The time by the device's own clock, uncorrected: what makes a repeat known as one.
    pub own_time: Option<Micros>,
    /// The time of the fix, corrected.
    pub measured_at: Micros,
    /// Where that comes from.
    pub time_source: TimeSource,
    /// The place.
    pub point: Point,
    /// Above 0, metres.
    pub accuracy_m: Option<f64>,
    /// Metres.
    pub altitude_m: Option<f64>,
    /// 0 to `SPEED_MAX_MPS`.
    pub speed_mps: Option<f64>,
    /// 0 to below 360.
    pub bearing_deg: Option<f64>,
    /// 0 to 100.
    pub battery_pct: Option<f64>,
}

/// How times are read for one request.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// When the request arrived.
    pub received_at: Micros,
    /// Whether a fix without a time takes its arrival.
    pub stamps_arrival: bool,
    /// How far the device's clock runs ahead of ours, microseconds; 0 when it does not.
    pub ahead_us: i64,
}

/// Judges one fix.
pub fn judge(raw: &RawFix, timing: Timing) -> Result<Checked, Reason> {
    if raw.mock {
        return Err(Reason::Mock);
    }
    if raw.declared_invalid {
        return Err(Reason::Invalid);
    }
    let point = Point::new(raw.lat, raw.lon).ok_or(Reason::OutOfRange)?;
    if point.lat.abs() < 1e-5 && point.lon.abs() < 1e-5 {
        return Err(Reason::NullIsland);
    }
    if raw.accuracy_m.is_some_and(|accuracy_m| accuracy_m > ACCURACY_MAX_M) {
        return Err(Reason::Inaccurate);
    }
    let (own_time, measured_at, time_source) = time_of(raw.measured_at, timing)?;
    Ok(Checked {
        seq: raw.seq,
        own_time,
        measured_at,
        time_source,
        point,
        accuracy_m: within(raw.accuracy_m, f64::MIN_POSITIVE, ACCURACY_MAX_M),
        altitude_m: within(raw.altitude_m, -1_000.0, 20_000.0),
        speed_mps: within(raw.speed_mps, 0.0, SPEED_MAX_MPS),
        bearing_deg: within(raw.bearing_deg, 0.0, 360.0).map(|bearing_deg| bearing_deg % 360.0),
        battery_pct: within(raw.battery_pct, 0.0, 100.0),
    })
}

/// How far ahead of arrival a time is; `None` when it is not, or too far to be a fast clock.
pub fn excess_us(time: DeviceTime, received_at: Micros) -> Option<i64> {
    match time {
        DeviceTime::At(at) => Some(at.0.saturating_sub(received_at.0))
            .filter(|excess_us| (CLOCK_TOLERANCE_US + 1..=FUTURE_MAX_US).contains(excess_us)),
        DeviceTime::Absent | DeviceTime::Unreadable => None,
    }
}

fn time_of(
    time: DeviceTime,
    timing: Timing,
) -> Result<(Option<Micros>, Micros, TimeSource), Reason> {
    let received_at = timing.received_at;
    match time {
        DeviceTime::Absent if timing.stamps_arrival => Ok((None, received_at, TimeSource::Arrival)),
        DeviceTime::Absent => Err(Reason::NoTime),
        DeviceTime::Unreadable => Err(Reason::BadTime),
        DeviceTime::At(at) if at.0.saturating_sub(received_at.0) > FUTURE_MAX_US => {
            Err(Reason::Future)
        }
        DeviceTime::At(at) if excess_us(time, received_at).is_some() => {
            let corrected = Micros(at.0.saturating_sub(timing.ahead_us)).min(received_at);
            Ok((Some(at), corrected, TimeSource::Clamped))
        }
        DeviceTime::At(at) => Ok((Some(at), at, TimeSource::Device)),
    }
}

fn within(value: Option<f64>, least: f64, most: f64) -> Option<f64> {
    value.filter(|value| (least..=most).contains(value))
}

#[cfg(test)]
mod tests;
