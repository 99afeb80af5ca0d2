//! The tangent plane on which a track is smoothed.
//!
//! In:    points, or metres east and north of where the plane touches.
//! Out:   the other of the two. Exact to centimetres within 20 km of the touching point.
//! Never: breaks at the 180th meridian or a pole.

use inzira_schemas::Point;
use serde::{Deserialize, Serialize};

use crate::rules::plane::M_PER_DEG;

/// Where the tangent plane touches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    lat: f64,
    lon: f64,
    cos_lat: f64,
}

impl Anchor {
    /// A plane that touches at a point.
    pub fn at(point: Point) -> Self {
        // At the poles east has no meaning; a floor keeps the arithmetic finite.
        Self { lat: point.lat, lon: point.lon, cos_lat: point.lat.to_radians().cos().max(1e-6) }
    }

    /// Metres east and north of where the plane touches.
    pub fn to_plane(self, lat: f64, lon: f64) -> (f64, f64) {
        let mut d_lon = lon - self.lon;
        if d_lon > 180.0 {
            d_lon -= 360.0;
        } else if d_lon < -180.0 {
            d_lon += 360.0;
        }
        (d_lon * M_PER_DEG * self.cos_lat, (lat - self.lat) * M_PER_DEG)
    }

    /// The point of a place on the plane.
    pub fn to_point(self, east_m: f64, north_m: f64) -> Point {
        let mut lon = self.lon + east_m / (M_PER_DEG * self.cos_lat);
        if lon > 180.0 {
            lon -= 360.0;
        } else if lon < -180.0 {
            lon += 360.0;
        }
        Point { lat: (self.lat + north_m / M_PER_DEG).clamp(-90.0, 90.0), lon }
    }
}
