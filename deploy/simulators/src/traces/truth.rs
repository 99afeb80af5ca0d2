//! How far a track lies from the truth.
//!
//! In:    places with their moments, a track that is true.
//! Out:   distances in metres, summed up.
//! Never: counts a moment outside the truth's span.

use inzira_schemas::{Micros, Point};

use super::Track;

/// Distances from the truth, metres.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    /// How many places were compared.
    pub n: usize,
    /// Root mean square.
    pub rmse_m: f64,
    /// Half are nearer.
    pub p50_m: f64,
    /// 95 % are nearer.
    pub p95_m: f64,
}

impl Track {
    /// Where it was at a moment, on the straight line between its neighbours.
    pub fn place_at(&self, at: Micros) -> Option<Point> {
        let later = self.points.partition_point(|point| point.measured_at < at);
        let b = self.points.get(later)?;
        if b.measured_at == at {
            return Some(Point { lat: b.lat, lon: b.lon });
        }
        let a = self.points.get(later.checked_sub(1)?)?;
        let share = at.seconds_since(a.measured_at) / b.measured_at.seconds_since(a.measured_at);
        Some(Point { lat: a.lat + (b.lat - a.lat) * share, lon: a.lon + (b.lon - a.lon) * share })
    }
}

/// How far places lie from the truth at their moments.
pub fn errors(truth: &Track, places: impl IntoIterator<Item = (Micros, Point)>) -> Spread {
    let mut off_m: Vec<f64> = places
        .into_iter()
        .filter_map(|(at, place)| Some(truth.place_at(at)?.distance_m(place)))
        .collect();
    off_m.sort_by(f64::total_cmp);
    let Some(last) = off_m.len().checked_sub(1) else { return Spread::default() };
    let square: f64 = off_m.iter().map(|off_m| off_m * off_m).sum();
    Spread {
        n: off_m.len(),
        rmse_m: (square / off_m.len() as f64).sqrt(),
        p50_m: off_m[last / 2],
        p95_m: off_m[last * 95 / 100],
    }
}
