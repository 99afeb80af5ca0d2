//! CSV with a header: GPSLogger, comma2k19, smartLoc, our own; columns are found by name.

use super::{TracePoint, Traces, Track, instant, number, place};

/// Column names by meaning, in the order of preference.
const TIME: &[&str] =
    &["measured_at", "utc_timestamp_ms", "timestamp_ms", "timestamp", "time", "datetime", "t_s"];
const LAT: &[&str] = &["lat", "latitude", "robust_lat", "wls_lat"];
const LON: &[&str] = &["lon", "lng", "longitude", "robust_lon", "wls_lon"];
/// Where a file holds the truth beside what was measured (smartLoc).
const TRUE_LAT: &[&str] = &["truth_lat", "lat", "latitude"];
const TRUE_LON: &[&str] = &["truth_lon", "lon", "lng", "longitude"];
const ACCURACY: &[&str] = &["accuracy_m", "accuracy", "acc"];
const SIGMA: &[&str] = &["robust_sigma_m", "wls_sigma_m"];
const SPEED: &[&str] = &["speed_mps", "speed"];
const BEARING: &[&str] = &["bearing_deg", "bearing", "course"];
const ALTITUDE: &[&str] = &["altitude_m", "altitude", "elevation", "ele", "height_m"];
const BATTERY: &[&str] = &["battery_pct", "battery"];
const VEHICLE: &[&str] = &["driver_id", "device_id", "vehicle", "vehicle_id", "id"];
const WEEK: &[&str] = &["gps_week"];
const TIME_OF_WEEK: &[&str] = &["gps_tow_s"];

/// GPS time began on 1980-01-06 and is 18 leap seconds ahead of UTC since 2017.
const GPS_EPOCH_S: f64 = 315_964_800.0 - 18.0;
/// An isotropic two-dimensional Gaussian holds 68 % within 1.51 sigma.
const RADIUS_68_PER_SIGMA: f64 = 1.51;

/// The header among the first three lines (GPSLogger's may follow a line with the row count).
pub(super) fn find_header(text: &str) -> Option<&str> {
    text.lines().take(3).find(|line| {
        let lower = line.to_ascii_lowercase();
        let names: Vec<&str> = lower.split(',').map(str::trim).collect();
        let has = |wanted: &[&str]| wanted.iter().any(|name| names.contains(name));
        (has(LAT) && has(LON)) || (has(TRUE_LAT) && has(TRUE_LON)) || line.contains("POLYLINE")
    })
}

/// `truth`: of a file that holds both, what is true instead of what was measured.
pub(super) fn parse(text: &str, name: &str, truth: bool) -> Option<Traces> {
    let header = find_header(text)?;
    let body_at = text.find(header)?;
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).from_reader(text.get(body_at..)?.as_bytes());
    let columns = Columns::of(&reader.headers().ok()?.clone(), truth);
    let mut traces = Traces::default();
    for record in reader.records() {
        let read = record.ok().and_then(|record| {
            let point = columns.point(&record)?;
            Some((columns.vehicle(&record).unwrap_or(name).to_owned(), point))
        });
        let Some((vehicle, point)) = read else {
            traces.skipped += 1;
            continue;
        };
        match traces.tracks.iter_mut().find(|track| track.vehicle == vehicle) {
            Some(track) => track.points.push(point),
            None => traces.tracks.push(Track { vehicle, points: vec![point] }),
        }
    }
    Some(traces)
}

struct Columns {
    names: Vec<String>,
    lat: &'static [&'static str],
    lon: &'static [&'static str],
}

impl Columns {
    fn of(headers: &csv::StringRecord, truth: bool) -> Self {
        let names = headers.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
        let (lat, lon) = if truth { (TRUE_LAT, TRUE_LON) } else { (LAT, LON) };
        Self { names, lat, lon }
    }

    fn text<'r>(&self, record: &'r csv::StringRecord, names: &[&str]) -> Option<&'r str> {
        names
            .iter()
            .filter_map(|name| self.names.iter().position(|column| column == name))
            .filter_map(|at| record.get(at))
            .map(str::trim)
            .find(|text| !text.is_empty())
    }

    fn value(&self, record: &csv::StringRecord, names: &[&str]) -> Option<f64> {
        self.text(record, names).and_then(number)
    }

    fn vehicle<'r>(&self, record: &'r csv::StringRecord) -> Option<&'r str> {
        self.text(record, VEHICLE)
    }

    fn point(&self, record: &csv::StringRecord) -> Option<TracePoint> {
        let (lat, lon) = place(self.value(record, self.lat), self.value(record, self.lon))?;
        let measured_at = match (self.value(record, WEEK), self.value(record, TIME_OF_WEEK)) {
            (Some(week), Some(tow_s)) => {
                instant(&format!("{:.6}", GPS_EPOCH_S + week * 604_800.0 + tow_s))?
            }
            _ => instant(self.text(record, TIME)?)?,
        };
        let sigma_m = self.value(record, SIGMA).map(|sigma_m| sigma_m * RADIUS_68_PER_SIGMA);
        Some(TracePoint {
            measured_at,
            lat,
            lon,
            accuracy_m: self.value(record, ACCURACY).or(sigma_m),
            altitude_m: self.value(record, ALTITUDE),
            speed_mps: self.value(record, SPEED),
            bearing_deg: self.value(record, BEARING),
            battery_pct: self.value(record, BATTERY),
        })
    }
}
