//! JSON: an array or a line each of our own fixes, or of barefoot's `POINT(lon lat)`.

use serde::Deserialize;
use serde_json::Value;

use super::{TracePoint, Traces, Track, instant, number, place};

/// What we look for in an item; the rest is passed over.
#[derive(Deserialize)]
struct Item {
    #[serde(alias = "time", alias = "timestamp", alias = "tst")]
    measured_at: Option<Value>,
    #[serde(alias = "latitude")]
    lat: Option<f64>,
    #[serde(alias = "longitude", alias = "lng")]
    lon: Option<f64>,
    point: Option<String>,
    #[serde(alias = "accuracy", alias = "acc")]
    accuracy_m: Option<f64>,
    #[serde(alias = "altitude", alias = "alt")]
    altitude_m: Option<f64>,
    #[serde(alias = "speed")]
    speed_mps: Option<f64>,
    #[serde(alias = "bearing", alias = "cog")]
    bearing_deg: Option<f64>,
    #[serde(alias = "batt")]
    battery_pct: Option<f64>,
    #[serde(alias = "device_id", alias = "id", alias = "vehicle")]
    driver_id: Option<String>,
}

/// `None` when not a single item is a point.
pub(super) fn parse(text: &str, name: &str) -> Option<Traces> {
    let items: Vec<Option<Item>> = match serde_json::from_str::<Vec<Value>>(text) {
        Ok(values) => values.into_iter().map(|value| serde_json::from_value(value).ok()).collect(),
        Err(_) => text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).ok())
            .collect(),
    };
    let mut traces = Traces::default();
    for item in items {
        let Some((vehicle, point)) = item.and_then(|item| read(item, name)) else {
            traces.skipped += 1;
            continue;
        };
        match traces.tracks.iter_mut().find(|track| track.vehicle == vehicle) {
            Some(track) => track.points.push(point),
            None => traces.tracks.push(Track { vehicle, points: vec![point] }),
        }
    }
    (!traces.tracks.is_empty()).then_some(traces)
}

fn read(item: Item, name: &str) -> Option<(String, TracePoint)> {
    let (lat, lon) = match &item.point {
        Some(text) => well_known_point(text)?,
        None => place(item.lat, item.lon)?,
    };
    let measured_at = match item.measured_at? {
        Value::String(text) => instant(&text)?,
        Value::Number(value) => instant(&value.to_string())?,
        _ => return None,
    };
    let letters = |id: String| id.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    let vehicle = item.driver_id.map(letters).filter(|id| !id.is_empty());
    Some((
        vehicle.unwrap_or_else(|| name.to_owned()),
        TracePoint {
            measured_at,
            lat,
            lon,
            accuracy_m: item.accuracy_m,
            altitude_m: item.altitude_m,
            speed_mps: item.speed_mps,
            bearing_deg: item.bearing_deg,
            battery_pct: item.battery_pct,
        },
    ))
}

/// `POINT(lon lat)`.
fn well_known_point(text: &str) -> Option<(f64, f64)> {
    let inner = text.trim().strip_prefix("POINT")?.trim().strip_prefix('(')?.strip_suffix(')')?;
    let (lon, lat) = inner.trim().split_once(' ')?;
    place(number(lat), number(lon))
}
