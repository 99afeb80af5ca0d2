//! Which of the thirty districts a point lies in.
//!
//! In:    the simplified districts that the pages draw too.
//! Out:   a district's name; empty outside the country, and in the narrow gaps along borders.
//! Never: fails: a missing district costs a column in a report, not a booking.

use inzira_schemas::Point;
use serde_json::Value;

const DISTRICTS: &str = include_str!("../web/src/assets/rwanda-districts.json");

type Ring = Vec<(f64, f64)>;

#[derive(Debug)]
struct District {
    name: String,
    /// West, south, east, north.
    bounds: (f64, f64, f64, f64),
    /// Each polygon: its outline, then its holes.
    polygons: Vec<Vec<Ring>>,
}

/// The districts, ready to be asked.
#[derive(Debug)]
pub struct Districts(Vec<District>);

impl Districts {
    /// Reads the built-in districts.
    pub fn built_in() -> Self {
        let parsed: Value = serde_json::from_str(DISTRICTS).unwrap_or_default();
        let features = parsed["features"].as_array().cloned().unwrap_or_default();
        Self(features.iter().filter_map(district).collect())
    }

    /// The district that holds a point.
    pub fn of(&self, point: Point) -> &str {
        let (x, y) = (point.lon, point.lat);
        self.0
            .iter()
            .filter(|district| {
                let (west, south, east, north) = district.bounds;
                (west..=east).contains(&x) && (south..=north).contains(&y)
            })
            .find(|district| {
                district.polygons.iter().any(|rings| {
                    // Inside the outline and outside every hole: an odd number of crossings.
                    rings.iter().filter(|ring| inside(ring, x, y)).count() % 2 == 1
                })
            })
            .map_or("", |district| &district.name)
    }
}

fn district(feature: &Value) -> Option<District> {
    let name = feature["properties"]["name"].as_str()?.to_owned();
    let coordinates = &feature["geometry"]["coordinates"];
    let polygons: Vec<Vec<Ring>> = match feature["geometry"]["type"].as_str()? {
        "Polygon" => vec![polygon(coordinates)?],
        "MultiPolygon" => coordinates.as_array()?.iter().filter_map(polygon).collect(),
        _ => return None,
    };
    let mut bounds = (f64::MAX, f64::MAX, f64::MIN, f64::MIN);
    for (x, y) in polygons.iter().flatten().flatten() {
        bounds = (bounds.0.min(*x), bounds.1.min(*y), bounds.2.max(*x), bounds.3.max(*y));
    }
    Some(District { name, bounds, polygons })
}

fn polygon(rings: &Value) -> Option<Vec<Ring>> {
    let ring = |ring: &Value| -> Option<Ring> {
        let corner = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_f64()?));
        Some(ring.as_array()?.iter().filter_map(corner).collect())
    };
    Some(rings.as_array()?.iter().filter_map(ring).collect())
}

/// Even-odd rule.
fn inside(ring: &[(f64, f64)], x: f64, y: f64) -> bool {
    let mut is_in = false;
    let following = ring.iter().cycle().skip(1);
    for ((x1, y1), (x2, y2)) in ring.iter().zip(following) {
        if (*y1 > y) != (*y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1 {
            is_in = !is_in;
        }
    }
    is_in
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_towns_lie_in_their_districts() {
        let districts = Districts::built_in();
        assert_eq!(districts.0.len(), 30);
        for (lat, lon, name) in [
            (-1.9536, 30.0606, "Nyarugenge"),
            (-2.5967, 29.7394, "Huye"),
            (-1.4998, 29.6350, "Musanze"),
            (-1.6777, 29.2587, "Rubavu"),
            (37.7749, -122.4194, ""),
        ] {
            assert_eq!(districts.of(Point { lat, lon }), name);
        }
    }
}
