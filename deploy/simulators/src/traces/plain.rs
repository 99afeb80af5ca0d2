//! Traces without a header: cabspotting text and GeoLife PLT.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use inzira_schemas::Micros;

use super::{TracePoint, Traces, instant, number, place};

/// `lat lon occupied unix_s` a line, newest first (cabspotting). `None` when no line is one.
pub(super) fn cabspotting(text: &str, name: &str) -> Option<Traces> {
    let (mut points, mut skipped) = (Vec::new(), 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match cab_line(line) {
            Some(point) => points.push(point),
            None => skipped += 1,
        }
    }
    let vehicle = name.strip_prefix("new_").unwrap_or(name);
    (!points.is_empty()).then(|| Traces::one(vehicle, points, skipped))
}

fn cab_line(line: &str) -> Option<TracePoint> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [lat, lon, occupied, time] = fields.as_slice() else { return None };
    if !matches!(*occupied, "0" | "1") {
        return None;
    }
    let (lat, lon) = place(number(lat), number(lon))?;
    Some(TracePoint { measured_at: instant(time)?, lat, lon, ..TracePoint::default() })
}

/// Six lines of header, then `lat,lon,0,altitude_ft,days,date,time` in UTC (GeoLife).
pub(super) fn geolife(text: &str, name: &str) -> Traces {
    let (mut points, mut skipped) = (Vec::new(), 0);
    for line in text.lines().skip(6).filter(|line| !line.trim().is_empty()) {
        match plt_line(line) {
            Some(point) => points.push(point),
            None => skipped += 1,
        }
    }
    Traces::one(name, points, skipped)
}

fn plt_line(line: &str) -> Option<TracePoint> {
    const M_PER_FT: f64 = 0.3048;
    /// What the format writes for an unknown altitude.
    const UNKNOWN_FT: f64 = -777.0;
    let fields: Vec<&str> = line.trim().split(',').collect();
    let [lat, lon, _, altitude_ft, _, date, time] = fields.as_slice() else { return None };
    let (lat, lon) = place(number(lat), number(lon))?;
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    let time = NaiveTime::parse_from_str(time, "%H:%M:%S").ok()?;
    Some(TracePoint {
        measured_at: Micros(NaiveDateTime::new(date, time).and_utc().timestamp_micros()),
        lat,
        lon,
        altitude_m: number(altitude_ft).filter(|ft| *ft != UNKNOWN_FT).map(|ft| ft * M_PER_FT),
        ..TracePoint::default()
    })
}
