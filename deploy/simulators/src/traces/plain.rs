//! Traces without a header: cabspotting text, GeoLife PLT, earth-centred points.

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

/// `point3 t_s x_m y_m z_m …` a line (libRSF, smartLoc). `None` when no line is one.
pub(super) fn earth_centred(text: &str, name: &str) -> Option<Traces> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let read: Vec<Option<TracePoint>> = lines.map(earth_centred_line).collect();
    let skipped = read.iter().filter(|point| point.is_none()).count() as u64;
    let points: Vec<TracePoint> = read.into_iter().flatten().collect();
    (!points.is_empty()).then(|| Traces::one(name, points, skipped))
}

fn earth_centred_line(line: &str) -> Option<TracePoint> {
    let mut fields = line.split_whitespace();
    (fields.next()? == "point3").then_some(())?;
    let measured_at = instant(fields.next()?)?;
    let mut metres = || number(fields.next()?);
    let (lat, lon) = geodetic(metres()?, metres()?, metres()?);
    let (lat, lon) = place(Some(lat), Some(lon))?;
    Some(TracePoint { measured_at, lat, lon, ..TracePoint::default() })
}

/// Degrees of a point in WGS 84 metres from the earth's centre; to a millimetre near the ground.
fn geodetic(x_m: f64, y_m: f64, z_m: f64) -> (f64, f64) {
    const EQUATOR_M: f64 = 6_378_137.0;
    const ECCENTRICITY_2: f64 = 6.694_379_990_14e-3;
    let axis_m = x_m.hypot(y_m);
    let mut lat = z_m.atan2(axis_m * (1.0 - ECCENTRICITY_2));
    for _ in 0..6 {
        let normal_m = EQUATOR_M / (1.0 - ECCENTRICITY_2 * lat.sin().powi(2)).sqrt();
        lat = (z_m + ECCENTRICITY_2 * normal_m * lat.sin()).atan2(axis_m);
    }
    (lat.to_degrees(), y_m.atan2(x_m).to_degrees())
}
