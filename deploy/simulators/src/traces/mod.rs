//! Reads traces of any maker; the format is found by content, never by the file's name.
//!
//! In:    a file or a folder of files.
//! Out:   tracks: one vehicle each, points in the order of time.
//! Never: invents a value: what a format does not carry is `None`.

mod csv_headed;
mod gpx;
mod json;
mod plain;
mod porto;
mod truth;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use inzira_schemas::Micros;

pub use truth::{Spread, errors};

/// One point of a track.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TracePoint {
    /// The device's own time.
    pub measured_at: Micros,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// 68 % radius in metres.
    pub accuracy_m: Option<f64>,
    /// Metres above the sea.
    pub altitude_m: Option<f64>,
    /// Metres a second.
    pub speed_mps: Option<f64>,
    /// Degrees clockwise from north.
    pub bearing_deg: Option<f64>,
    /// Per cent.
    pub battery_pct: Option<f64>,
}

/// One vehicle's points, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Track {
    /// What the file calls it; the file's name where it says nothing.
    pub vehicle: String,
    /// Its points, oldest first.
    pub points: Vec<TracePoint>,
}

/// What was read, and what could not be.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    /// One a vehicle.
    pub tracks: Vec<Track>,
    /// Lines or items that held no point, by file.
    pub skipped: u64,
}

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing in it looks like a trace that we know.
    #[error(
        "{path} is no trace we know; there are: CSV with a header (time, lat, lon), GPX, PLT, \
         NDJSON or a JSON array of fixes, cabspotting text, Porto CSV"
    )]
    Unknown {
        /// The file.
        path: String,
    },
    /// It looks like one, but has no points.
    #[error("{path} holds no points")]
    Empty {
        /// The file.
        path: String,
    },
}

/// A file is read whole; larger ones than this are refused.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Reads every file; a folder is searched for files, and those that are no trace are passed over.
pub fn read_all(paths: &[PathBuf]) -> Result<Traces, TraceError> {
    let mut all = Traces::default();
    for path in paths {
        if path.is_dir() {
            for file in files_below(path)? {
                match read_file(&file) {
                    Ok(traces) => all.extend(traces),
                    Err(TraceError::Unknown { .. } | TraceError::Empty { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        } else {
            all.extend(read_file(path)?);
        }
    }
    if all.tracks.is_empty() {
        let path = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
        return Err(TraceError::Empty { path });
    }
    all.tracks.sort_by(|a, b| a.vehicle.cmp(&b.vehicle));
    Ok(all)
}

/// Reads one file.
pub fn read_file(path: &Path) -> Result<Traces, TraceError> {
    read(path, false)
}

/// Reads one file for what is true in it, where it also holds what was measured.
pub fn read_truth(path: &Path) -> Result<Traces, TraceError> {
    read(path, true)
}

fn read(path: &Path, truth: bool) -> Result<Traces, TraceError> {
    let wrong = |source| TraceError::Read { path: path.display().to_string(), source };
    let size_bytes = std::fs::metadata(path).map_err(wrong)?.len();
    if size_bytes > FILE_BYTES_MAX {
        return Err(wrong(std::io::Error::other("larger than 1 GiB: split it")));
    }
    let bytes = std::fs::read(path).map_err(wrong)?;
    let text = String::from_utf8_lossy(&bytes);
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut traces = parse(&text, &name, truth)
        .ok_or_else(|| TraceError::Unknown { path: path.display().to_string() })?;
    traces.tracks.retain(|track| !track.points.is_empty());
    if traces.tracks.is_empty() {
        return Err(TraceError::Empty { path: path.display().to_string() });
    }
    for track in &mut traces.tracks {
        track.points.sort_by_key(|point| point.measured_at);
    }
    Ok(traces)
}

/// Finds the format by content and reads it. `None`: nothing we know.
fn parse(text: &str, name: &str, truth: bool) -> Option<Traces> {
    let text = text.trim_start_matches('\u{feff}');
    let start = text.trim_start();
    if start.starts_with('<') {
        return gpx::parse(text, name);
    }
    if start.starts_with('{') || start.starts_with('[') {
        return json::parse(text, name);
    }
    if start.starts_with("Geolife trajectory") {
        return Some(plain::geolife(text, name));
    }
    let header = csv_headed::find_header(text);
    match header {
        Some(header) if header.contains("POLYLINE") => Some(porto::parse(text)),
        Some(_) => csv_headed::parse(text, name, truth),
        None => plain::cabspotting(text, name).or_else(|| plain::earth_centred(text, name)),
    }
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let wrong = |source| TraceError::Read { path: folder.display().to_string(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Traces {
    fn one(vehicle: &str, points: Vec<TracePoint>, skipped: u64) -> Self {
        Self { tracks: vec![Track { vehicle: vehicle.to_owned(), points }], skipped }
    }

    /// Adds what another file held; points of a vehicle already known join its track.
    fn extend(&mut self, other: Traces) {
        self.skipped += other.skipped;
        for track in other.tracks {
            match self.tracks.iter_mut().find(|known| known.vehicle == track.vehicle) {
                Some(known) => {
                    known.points.extend(track.points);
                    known.points.sort_by_key(|point| point.measured_at);
                }
                None => self.tracks.push(track),
            }
        }
    }

    /// All points.
    pub fn len(&self) -> usize {
        self.tracks.iter().map(|track| track.points.len()).sum()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A finite number, or nothing.
fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|value| value.is_finite())
}

/// A place on the earth, or nothing.
fn place(lat: Option<f64>, lon: Option<f64>) -> Option<(f64, f64)> {
    let (lat, lon) = (lat?, lon?);
    inzira_schemas::Point::new(lat, lon).map(|point| (point.lat, point.lon))
}

/// Seconds, milliseconds or microseconds since 1970 by size; RFC 3339, also with a space for the
/// `T`, a zone without its colon, or no zone (then UTC).
fn instant(text: &str) -> Option<Micros> {
    let text = text.trim();
    if let Some(value) = number(text) {
        let absolute = value.abs();
        let micros = if absolute < 1e11 {
            value * 1e6
        } else if absolute < 1e14 {
            value * 1e3
        } else {
            value
        };
        return Some(Micros(micros.round() as i64));
    }
    let mut iso = text.replacen(' ', "T", 1);
    let zone_at = iso.rfind(['+', '-']).filter(|at| *at > 10);
    match zone_at {
        Some(at) if iso.len() == at + 5 && !iso[at + 1..].contains(':') => iso.insert(at + 3, ':'),
        None if !iso.ends_with(['Z', 'z']) => iso.push('Z'),
        _ => {}
    }
    Micros::parse_rfc3339(&iso)
}
