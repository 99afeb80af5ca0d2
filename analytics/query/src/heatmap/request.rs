//! What a heat map may be asked: reading and checking the parameters.
//!
//! In:    the query string's values.
//! Out:   a request in which every value is within its limits.
//! Never: guesses: what does not parse is refused with what would.

use chrono::{FixedOffset, NaiveDate, NaiveDateTime, TimeZone};
use h3o::LatLng;
use inzira_schemas::Micros;
use inzira_schemas::states::OrderKind;
use serde::Deserialize;

use crate::h3;

/// The coarsest resolution.
pub const RESOLUTION_MIN: u8 = 5;
/// The finest resolution: that of the tables.
pub const RESOLUTION_MAX: u8 = 9;
/// The resolution when none is asked for.
pub const RESOLUTION_USUAL: u8 = 8;
/// An hour, the finest time an analyst sees.
const HOUR_US: i64 = 3_600_000_000;

/// Which end of an order a payment counts at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// Where it was fetched.
    #[default]
    Pickup,
    /// Where it went.
    Destination,
}

impl By {
    /// As the parameter spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            By::Pickup => "pickup",
            By::Destination => "destination",
        }
    }
}

/// A box in degrees; a cell is in it when its centre is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bbox {
    /// West edge.
    pub min_lon: f64,
    /// South edge.
    pub min_lat: f64,
    /// East edge.
    pub max_lon: f64,
    /// North edge.
    pub max_lat: f64,
}

impl Bbox {
    /// Whether the centre of `cell` is inside or on the edge.
    pub fn holds_centre(&self, cell: i64) -> bool {
        h3::cell(cell).is_some_and(|cell| {
            let centre = LatLng::from(cell);
            (self.min_lon..=self.max_lon).contains(&centre.lng())
                && (self.min_lat..=self.max_lat).contains(&centre.lat())
        })
    }
}

/// A heat map as asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatmapRequest {
    /// Captures from this moment on; from the beginning when absent.
    pub from: Option<Micros>,
    /// Captures before this moment; to the newest when absent.
    pub to: Option<Micros>,
    /// H3 resolution of the answer, 5 to 9.
    pub resolution: u8,
    /// Orders of this kind only.
    pub kind: Option<OrderKind>,
    /// Cells in this box only.
    pub bbox: Option<Bbox>,
    /// Which end of the order.
    pub by: By,
    /// Hide cells behind which too few people stand.
    pub hide_thin: bool,
}

impl Default for HeatmapRequest {
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            resolution: RESOLUTION_USUAL,
            kind: None,
            bbox: None,
            by: By::Pickup,
            hide_thin: false,
        }
    }
}

/// The parameters as they come.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HeatmapParameters {
    /// A day, a local time or RFC 3339.
    pub from: Option<String>,
    /// The same, exclusive.
    pub to: Option<String>,
    /// 5 to 9.
    pub resolution: Option<String>,
    /// An order kind.
    pub kind: Option<String>,
    /// `min_lon,min_lat,max_lon,max_lat`.
    pub bbox: Option<String>,
    /// `pickup` or `destination`.
    pub by: Option<String>,
    /// `json`, `geojson` or `csv`.
    pub format: Option<String>,
}

/// A parameter that cannot be read: its name and what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {wanted}")]
pub struct BadParameter {
    /// The parameter.
    pub name: &'static str,
    /// What would be right.
    pub wanted: String,
}

impl HeatmapParameters {
    /// The request they make.
    pub fn read(&self) -> Result<HeatmapRequest, BadParameter> {
        let request = HeatmapRequest {
            from: instant("from", self.from.as_deref())?,
            to: instant("to", self.to.as_deref())?,
            resolution: resolution(self.resolution.as_deref())?,
            kind: kind(self.kind.as_deref())?,
            bbox: bbox(self.bbox.as_deref())?,
            by: by(self.by.as_deref())?,
            hide_thin: false,
        };
        match (request.from, request.to) {
            (Some(from), Some(to)) if from >= to => {
                bad("to", "a moment after from; it is exclusive")
            }
            _ => Ok(request),
        }
    }
}

impl HeatmapRequest {
    /// The same as an analyst may see it: whole hours that have ended, thin cells hidden.
    #[must_use]
    pub fn for_analysts(mut self, now: Micros) -> Self {
        let hour = |at: Micros| Micros(at.0.div_euclid(HOUR_US) * HOUR_US);
        let ended = hour(now);
        self.from = self.from.map(hour);
        self.to = Some(self.to.map_or(ended, |to| hour(to).min(ended)));
        self.hide_thin = true;
        self
    }
}

fn bad<T>(name: &'static str, wanted: &str) -> Result<T, BadParameter> {
    Err(BadParameter { name, wanted: wanted.to_owned() })
}

/// A moment: RFC 3339, or without an offset a day or a time of Africa/Kigali.
fn instant(name: &'static str, text: Option<&str>) -> Result<Option<Micros>, BadParameter> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    // A plus sign that was not escaped arrives as a space.
    if let Some(instant) = Micros::parse_rfc3339(&text.replace(' ', "+")) {
        return Ok(Some(instant));
    }
    let local = NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S").ok())
        .or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").ok());
    let kigali = FixedOffset::east_opt(2 * 3600);
    match local.zip(kigali).and_then(|(local, zone)| zone.from_local_datetime(&local).single()) {
        Some(instant) => Ok(Some(Micros(instant.timestamp_micros()))),
        None => bad(name, "a day as 2026-01-31 (Africa/Kigali) or RFC 3339"),
    }
}

fn resolution(text: Option<&str>) -> Result<u8, BadParameter> {
    let Some(text) = text else { return Ok(RESOLUTION_USUAL) };
    match text.parse() {
        Ok(number) if (RESOLUTION_MIN..=RESOLUTION_MAX).contains(&number) => Ok(number),
        _ => bad("resolution", "a whole number from 5 to 9"),
    }
}

fn kind(text: Option<&str>) -> Result<Option<OrderKind>, BadParameter> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    match OrderKind::parse(text) {
        Some(kind) => Ok(Some(kind)),
        None => bad("kind", "shipment_domestic, shipment_international, ride or delivery"),
    }
}

fn by(text: Option<&str>) -> Result<By, BadParameter> {
    match text {
        None | Some("pickup") => Ok(By::Pickup),
        Some("destination") => Ok(By::Destination),
        Some(_) => bad("by", "pickup or destination"),
    }
}

fn bbox(text: Option<&str>) -> Result<Option<Bbox>, BadParameter> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let numbers: Vec<f64> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    match numbers[..] {
        [min_lon, min_lat, max_lon, max_lat]
            if min_lon <= max_lon
                && min_lat <= max_lat
                && numbers.iter().all(|number| number.abs() <= 180.0) =>
        {
            Ok(Some(Bbox { min_lon, min_lat, max_lon, max_lat }))
        }
        _ => bad("bbox", "min_lon,min_lat,max_lon,max_lat in degrees"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(from: &str, to: &str) -> Result<HeatmapRequest, BadParameter> {
        HeatmapParameters {
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            ..Default::default()
        }
        .read()
    }

    #[test]
    fn a_day_begins_at_midnight_in_kigali() {
        let request = read("2026-02-01", "2026-02-02T06:00").unwrap();
        assert_eq!(request.from, Micros::parse_rfc3339("2026-01-31T22:00:00Z"));
        assert_eq!(request.to, Micros::parse_rfc3339("2026-02-02T04:00:00Z"));
        let request = read("2026-02-01T00:00:00Z", "2026-02-01T00:00:00 01:00");
        assert!(request.is_err(), "to lies before from");
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_what_would_be_right() {
        let bad = HeatmapParameters { resolution: Some("10".into()), ..Default::default() };
        assert_eq!(bad.read().unwrap_err().to_string(), "resolution: a whole number from 5 to 9");
        let bad = HeatmapParameters { bbox: Some("1,2,3".into()), ..Default::default() };
        assert_eq!(bad.read().unwrap_err().name, "bbox");
        let bad = HeatmapParameters { kind: Some("x' OR 1=1".into()), ..Default::default() };
        assert_eq!(bad.read().unwrap_err().name, "kind");
        assert_eq!(read("yesterday", "2026-01-01").unwrap_err().name, "from");
    }

    #[test]
    fn analysts_see_whole_hours_that_have_ended() {
        let now = Micros::parse_rfc3339("2026-02-01T10:30:00Z").unwrap();
        let request = read("2026-02-01T08:10:00Z", "2026-02-01T12:00:00Z").unwrap();
        let request = request.for_analysts(now);
        assert_eq!(request.from, Micros::parse_rfc3339("2026-02-01T08:00:00Z"));
        assert_eq!(request.to, Micros::parse_rfc3339("2026-02-01T10:00:00Z"));
        assert!(request.hide_thin);
    }
}
