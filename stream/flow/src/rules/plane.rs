//! Short distances without trigonometry to speak of, and cells without converting each time.
//!
//! In:    two places near each other; a place that moves a little.
//! Out:   metres within a part in a thousand over 30 km; the same cell as the conversion gives.
//! Keeps: the last cell's centre and a circle inside it; the circle is measured anew only every
//!        50 km, since neighbouring cells differ by less than the margin that is left.

use h3o::{LatLng, Resolution};
use inzira_schemas::geo::EARTH_RADIUS_M;
use inzira_schemas::{Point, cell};

/// Metres of one degree of latitude.
pub const M_PER_DEG: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 180.0;
/// Beyond this many degrees the plane is left for the sphere.
const NEAR_DEG: f64 = 0.3;
/// A cell's inner circle, shrunk by this, fits its neighbours for `SAME_SHAPE_M` around.
const MARGIN: f64 = 0.97;
const SAME_SHAPE_M: f64 = 50_000.0;

/// Distance in metres.
pub fn distance_m(a: Point, b: Point) -> f64 {
    let (d_lat, d_lon) = (b.lat - a.lat, b.lon - a.lon);
    if d_lat.abs() > NEAR_DEG || d_lon.abs() > NEAR_DEG {
        return a.distance_m(b);
    }
    let east = d_lon * ((a.lat + b.lat) / 2.0).to_radians().cos();
    (d_lat * d_lat + east * east).sqrt() * M_PER_DEG
}

/// Remembers the last cell.
#[derive(Debug, Clone, Copy, Default)]
pub struct CellMemo {
    cell: i64,
    centre: Option<Point>,
    radius_m: f64,
    measured: Option<Point>,
}

impl CellMemo {
    /// The H3 cell at resolution 9; 0 when the place is not on the earth.
    pub fn cell_r9(&mut self, place: Point) -> i64 {
        if let Some(centre) = self.centre
            && distance_m(centre, place) < self.radius_m
        {
            return self.cell;
        }
        let Ok(at) = LatLng::new(place.lat, place.lon) else {
            *self = Self::default();
            return 0;
        };
        let index = at.to_cell(Resolution::Nine);
        let middle = LatLng::from(index);
        let centre = Point { lat: middle.lat(), lon: middle.lng() };
        self.cell = u64::from(index) as i64;
        self.centre = Some(centre);
        if self.measured.is_none_or(|there| distance_m(there, centre) > SAME_SHAPE_M) {
            self.radius_m = cell::inner_radius_m(self.cell).unwrap_or(0.0) * MARGIN;
            self.measured = Some(centre);
        }
        self.cell
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_memo_answers_as_the_conversion_does(
            lat in -70.0_f64..70.0, lon in -179.0_f64..179.0,
            steps in proptest::collection::vec((-0.003_f64..0.003, -0.003_f64..0.003), 1..60),
            leap in -0.4_f64..0.4,
        ) {
            let mut memo = CellMemo::default();
            let (mut lat, mut lon) = (lat, lon);
            for (index, (d_lat, d_lon)) in steps.into_iter().enumerate() {
                lat += d_lat + if index == 30 { leap } else { 0.0 };
                lon += d_lon;
                let place = Point { lat, lon };
                prop_assert_eq!(memo.cell_r9(place), cell::cell_r9(place));
            }
        }

        #[test]
        fn short_distances_are_those_of_the_sphere(
            lat in -60.0_f64..60.0, lon in -179.0_f64..179.0,
            d_lat in -0.29_f64..0.29, d_lon in -0.29_f64..0.29,
        ) {
            let (a, b) = (Point { lat, lon }, Point { lat: lat + d_lat, lon: lon + d_lon });
            let (flat, round) = (distance_m(a, b), a.distance_m(b));
            prop_assert!((flat - round).abs() <= 0.001 * round + 0.01, "{flat} {round}");
        }
    }
}
