//! How far and how long to go.
//!
//! In:    where the vehicle and the target are, how fast it has been going, the hour.
//! Out:   metres and seconds; finite, never negative.
//! Keeps: the mean speed of the last minutes, stops included.
//!
//! There is no road network here: straight line by a detour factor, and a speed between what
//! the vehicle has been doing and what is usual at that hour.

use inzira_schemas::{Micros, Point};
use serde::{Deserialize, Serialize};

use super::plane;

/// Road over straight line, on the hills of Rwanda.
pub const DETOUR: f64 = 1.3;
const SPEED_MIN_MPS: f64 = 2.0;
const SPEED_MAX_MPS: f64 = 25.0;
/// Time over which the mean speed forgets, seconds.
const MEMORY_S: f64 = 300.0;

/// The mean speed of the last minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    mean_mps: f64,
    seen_s: f64,
    at: Micros,
}

impl Pace {
    /// Takes in the speed at a moment.
    pub fn observe(&mut self, at: Micros, speed_mps: f64) {
        let dt_s = at.seconds_since(self.at);
        if self.seen_s == 0.0 || !(0.0..=MEMORY_S).contains(&dt_s) {
            *self = Self { mean_mps: speed_mps, seen_s: 1.0, at };
            return;
        }
        let share = 1.0 - (-dt_s / MEMORY_S).exp();
        self.mean_mps += (speed_mps - self.mean_mps) * share;
        self.seen_s = (self.seen_s + dt_s).min(MEMORY_S);
        self.at = at;
    }

    /// The speed to expect: the vehicle's own, the more of it was seen, else the hour's.
    fn expected_mps(&self, at: Micros) -> f64 {
        let trust = 0.6 * (self.seen_s / MEMORY_S).min(1.0);
        let expected = trust * self.mean_mps + (1.0 - trust) * usual_mps(at);
        if expected.is_finite() {
            expected.clamp(SPEED_MIN_MPS, SPEED_MAX_MPS)
        } else {
            SPEED_MIN_MPS
        }
    }
}

/// What is usual at this hour in Kigali, metres a second.
fn usual_mps(at: Micros) -> f64 {
    let hour = (at.0.div_euclid(3_600_000_000) + 2).rem_euclid(24);
    match hour {
        7..=8 | 17..=19 => 5.0,
        22..=23 | 0..=5 => 9.0,
        _ => 7.0,
    }
}

/// Metres and seconds to go.
pub fn to_go(from: Point, target: Point, pace: &Pace, at: Micros) -> (f64, f64) {
    let straight_m = plane::distance_m(from, target);
    let distance_m = straight_m * DETOUR;
    (distance_m, distance_m / pace.expected_mps(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_vehicle_that_stands_still_arrives_some_day() {
        let mut pace = Pace::default();
        for second in 0..1_000 {
            pace.observe(Micros::from_secs(second), 0.0);
        }
        let here = Point { lat: -1.95, lon: 30.0 };
        let there = Point { lat: -1.95, lon: 30.05 };
        let (distance_m, eta_s) = to_go(here, there, &pace, Micros::from_secs(1_000));
        assert!((7_000.0..7_500.0).contains(&distance_m), "{distance_m}");
        assert!((1_000.0..4_000.0).contains(&eta_s), "{eta_s}");
    }

    proptest! {
        #[test]
        fn it_is_always_a_number(
            lat in -90.0_f64..=90.0, lon in -180.0_f64..=180.0, at in 0_i64..4_000_000_000,
            speeds in proptest::collection::vec((0_i64..10_000, 0.0_f64..100.0), 0..20),
        ) {
            let mut pace = Pace::default();
            for (second, speed) in speeds {
                pace.observe(Micros::from_secs(second), speed);
            }
            let (distance_m, eta_s) =
                to_go(Point { lat, lon }, Point { lat: -1.95, lon: 30.0 }, &pace, Micros::from_secs(at));
            prop_assert!(distance_m.is_finite() && distance_m >= 0.0);
            prop_assert!(eta_s.is_finite() && eta_s >= 0.0);
        }
    }
}
