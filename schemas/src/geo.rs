//! Points on the earth and distances between them.
//!
//! In:    WGS 84 degrees.
//! Out:   metres on a sphere of 6,371,008.8 m (mean radius, IUGG).
//! Never: accepts a place that is not on the earth.

use serde::{Deserialize, Serialize};

/// Mean earth radius in metres (IUGG).
pub const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// A place, WGS 84 degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Latitude, -90 to 90.
    pub lat: f64,
    /// Longitude, -180 to 180.
    pub lon: f64,
}

impl Point {
    /// A place; `None` when a coordinate is out of range or not finite.
    pub fn new(lat: f64, lon: f64) -> Option<Self> {
        ((-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon))
            .then_some(Self { lat, lon })
    }

    /// Great-circle distance in metres (haversine).
    pub fn distance_m(self, other: Point) -> f64 {
        let (lat_a, lat_b) = (self.lat.to_radians(), other.lat.to_radians());
        let d_lat = (other.lat - self.lat).to_radians();
        let d_lon = (other.lon - self.lon).to_radians();
        let h =
            (d_lat / 2.0).sin().powi(2) + lat_a.cos() * lat_b.cos() * (d_lon / 2.0).sin().powi(2);
        2.0 * EARTH_RADIUS_M * h.sqrt().min(1.0).asin()
    }

    /// Initial bearing towards `other` in degrees, 0 to 360, clockwise from north.
    pub fn bearing_deg(self, other: Point) -> f64 {
        let (lat_a, lat_b) = (self.lat.to_radians(), other.lat.to_radians());
        let d_lon = (other.lon - self.lon).to_radians();
        let east = d_lon.sin() * lat_b.cos();
        let north = lat_a.cos() * lat_b.sin() - lat_a.sin() * lat_b.cos() * d_lon.cos();
        east.atan2(north).to_degrees().rem_euclid(360.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kigali_to_huye_is_about_eighty_kilometres() {
        let kigali = Point::new(-1.9441, 30.0619).unwrap();
        let huye = Point::new(-2.5967, 29.7394).unwrap();
        let distance_m = kigali.distance_m(huye);
        assert!((79_000.0..84_000.0).contains(&distance_m), "{distance_m}");
        assert!(Point::new(91.0, 0.0).is_none());
        assert!(Point::new(f64::NAN, 0.0).is_none());
    }
}
