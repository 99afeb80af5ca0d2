//! Places as H3 cells at resolution 9 (edge about 200 m), as the signed 64-bit the tables hold.
//!
//! In:    a point.
//! Out:   its cell; a valid cell has bit 63 = 0, so `i64` holds it in the same order.
//! Keeps: with `NearCell`, the last cell's centre and inner radius, since converting costs half
//!        a microsecond and most fixes stay where they were.

use h3o::{CellIndex, LatLng, Resolution};

use crate::Point;

/// The circle is shrunk by this: distances on the plane are a part in a thousand off.
const MARGIN: f64 = 0.99;

/// Cell at resolution 9; 0 when the point is not on the earth.
pub fn cell_r9(point: Point) -> i64 {
    LatLng::new(point.lat, point.lon)
        .map(|place| as_i64(place.to_cell(Resolution::Nine)))
        .unwrap_or(0)
}

/// The centre of a cell; `None` when the number is no cell.
pub fn centre(cell: i64) -> Option<Point> {
    let index = CellIndex::try_from(u64::try_from(cell).ok()?).ok()?;
    let centre = LatLng::from(index);
    Point::new(centre.lat(), centre.lng())
}

/// Every cell within `k` steps of `cell`, itself included; empty when the number is no cell.
pub fn disk(cell: i64, k: u32) -> Vec<i64> {
    let Some(index) = u64::try_from(cell).ok().and_then(|raw| CellIndex::try_from(raw).ok()) else {
        return Vec::new();
    };
    index.grid_disk::<Vec<_>>(k).into_iter().map(as_i64).collect()
}

fn as_i64(index: CellIndex) -> i64 {
    u64::from(index) as i64
}

/// Remembers the last cell and answers for points well inside it without converting.
#[derive(Debug, Clone, Copy, Default)]
pub struct NearCell {
    cell: i64,
    centre: Option<Point>,
    inner_radius_m: f64,
}

impl NearCell {
    /// The same answer as `cell_r9`, cheaper while the point stays near the last centre.
    pub fn cell_r9(&mut self, point: Point) -> i64 {
        if let Some(centre) = self.centre
            && flat_distance_m(centre, point) < self.inner_radius_m
        {
            return self.cell;
        }
        self.cell = cell_r9(point);
        self.centre = centre(self.cell);
        self.inner_radius_m = inner_radius_m(self.cell).unwrap_or(0.0) * MARGIN;
        self.cell
    }
}

/// Distance on the tangent plane: within a part in a thousand over one cell.
fn flat_distance_m(a: Point, b: Point) -> f64 {
    const M_PER_DEG: f64 = 111_195.08;
    let north = (b.lat - a.lat) * M_PER_DEG;
    let east = (b.lon - a.lon) * M_PER_DEG * a.lat.to_radians().cos();
    north.hypot(east)
}

/// Radius of a circle round the centre that just lies inside the cell, metres: the nearest edge.
/// `None` when the number is no cell.
pub fn inner_radius_m(cell: i64) -> Option<f64> {
    let index = CellIndex::try_from(u64::try_from(cell).ok()?).ok()?;
    let centre = centre(cell)?;
    let corners: Vec<Point> = index
        .boundary()
        .iter()
        .filter_map(|corner| Point::new(corner.lat(), corner.lng()))
        .collect();
    let edges = corners.iter().zip(corners.iter().cycle().skip(1));
    let nearest = edges
        .map(|(a, b)| {
            let (side, left, right) =
                (a.distance_m(*b), centre.distance_m(*a), centre.distance_m(*b));
            let half = (side + left + right) / 2.0;
            let area = (half * (half - side) * (half - left) * (half - right)).max(0.0).sqrt();
            if side > 0.0 { 2.0 * area / side } else { 0.0 }
        })
        .fold(f64::INFINITY, f64::min);
    nearest.is_finite().then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_near_cell_answers_as_the_conversion_does(
            lat in -3.0_f64..0.0, lon in 28.5_f64..31.0,
            steps in proptest::collection::vec((-0.002_f64..0.002, -0.002_f64..0.002), 1..30),
        ) {
            let mut near = NearCell::default();
            let (mut lat, mut lon) = (lat, lon);
            for (d_lat, d_lon) in steps {
                lat += d_lat;
                lon += d_lon;
                let point = Point { lat, lon };
                prop_assert_eq!(near.cell_r9(point), cell_r9(point));
            }
        }
    }
}
