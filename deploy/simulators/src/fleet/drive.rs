//! One vehicle on its way, and what its phone makes of it.
//!
//! In:    a way, the time that passes, a seed.
//! Out:   true places, and fixes with correlated error as receivers have it (Gauss-Markov).
//! Never: reads a clock.

use inzira_schemas::{Micros, Point};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::traces::TracePoint;

/// A moto in town: metres a second.
const CRUISE_MPS: f64 = 9.5;
/// How fast it gets there, metres a second squared.
const ACCELERATION_MPS2: f64 = 1.2;
/// Correlation time of the receiver's error in seconds.
const ERROR_TAU_S: f64 = 30.0;
/// Standard deviation of that error on each axis in metres.
const ERROR_SIGMA_M: f64 = 3.5;

/// A vehicle on a way.
#[derive(Debug)]
pub struct Drive {
    way: Vec<Point>,
    /// The corner that was passed last.
    at: usize,
    /// Metres past that corner.
    past_m: f64,
    speed_mps: f64,
    cruise_mps: f64,
    error_m: (f64, f64),
    random: StdRng,
}

impl Drive {
    /// A vehicle that stands at `place`.
    pub fn standing(place: Point, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let cruise_mps = CRUISE_MPS * random.random_range(0.8..1.2);
        let error_m = (0.0, 0.0);
        Self { way: vec![place], at: 0, past_m: 0.0, speed_mps: 0.0, cruise_mps, error_m, random }
    }

    /// Sends it on a way that begins where it stands.
    pub fn go(&mut self, way: Vec<Point>) {
        self.way = way;
        self.at = 0;
        self.past_m = 0.0;
    }

    /// Whether it has come to the end of its way.
    pub fn there(&self) -> bool {
        self.at + 1 >= self.way.len()
    }

    /// Where it truly is.
    pub fn place(&self) -> Point {
        let here = self.way[self.at.min(self.way.len() - 1)];
        let Some(next) = self.way.get(self.at + 1) else { return here };
        let share = (self.past_m / here.distance_m(*next).max(0.1)).min(1.0);
        Point {
            lat: here.lat + (next.lat - here.lat) * share,
            lon: here.lon + (next.lon - here.lon) * share,
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, seconds: f64) {
        let wanted_mps = match self.left_m() {
            left_m if left_m < 1.0 => 0.0,
            left_m if left_m < 60.0 => (left_m / 6.0).max(2.0),
            _ => self.cruise_mps,
        };
        let change = (wanted_mps - self.speed_mps)
            .clamp(-ACCELERATION_MPS2 * 2.0 * seconds, ACCELERATION_MPS2 * seconds);
        self.speed_mps = (self.speed_mps + change).max(0.0);
        let mut forward_m = self.speed_mps * seconds;
        while forward_m > 0.0 && !self.there() {
            let side_m = self.way[self.at].distance_m(self.way[self.at + 1]);
            let rest_m = side_m - self.past_m;
            if forward_m < rest_m {
                self.past_m += forward_m;
                break;
            }
            forward_m -= rest_m;
            self.at += 1;
            self.past_m = 0.0;
        }
        if self.there() {
            self.speed_mps = 0.0;
        }
        self.wander(seconds);
    }

    /// What the phone reports at this moment.
    pub fn fix(&mut self, measured_at: Micros) -> TracePoint {
        let place = self.place();
        let (north_m, east_m) = self.error_m;
        let bearing_deg =
            self.way.get(self.at + 1).map(|next| self.way[self.at].bearing_deg(*next));
        TracePoint {
            measured_at,
            lat: place.lat + north_m / 111_195.0,
            lon: place.lon + east_m / (111_195.0 * place.lat.to_radians().cos()),
            accuracy_m: Some(self.random.random_range(4.0..9.0)),
            altitude_m: None,
            speed_mps: Some((self.speed_mps + self.random.random_range(-0.4..0.4)).max(0.0)),
            bearing_deg: bearing_deg.filter(|_| self.speed_mps > 1.0),
            battery_pct: None,
        }
    }

    fn left_m(&self) -> f64 {
        let sides = self.way.windows(2).skip(self.at).map(|pair| pair[0].distance_m(pair[1]));
        (sides.sum::<f64>() - self.past_m).max(0.0)
    }

    fn wander(&mut self, seconds: f64) {
        let keep = (-seconds / ERROR_TAU_S).exp();
        let fresh = ERROR_SIGMA_M * (1.0 - keep * keep).sqrt();
        self.error_m.0 = self.error_m.0 * keep + fresh * gauss(&mut self.random);
        self.error_m.1 = self.error_m.1 * keep + fresh * gauss(&mut self.random);
    }
}

/// A standard normal value (Box and Muller).
fn gauss(random: &mut StdRng) -> f64 {
    let (a, b): (f64, f64) = (random.random_range(1e-12..1.0), random.random());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use super::super::roads;
    use super::*;

    #[test]
    fn a_drive_comes_to_the_end_of_its_way_and_stops_there() {
        let (from, to) = (roads::junction(0), roads::junction(12));
        let mut drive = Drive::standing(from, 1);
        drive.go(roads::way(from, to));
        let mut seconds = 0;
        while !drive.there() && seconds < 7_200 {
            drive.pass(1.0);
            seconds += 1;
        }
        assert!(drive.place().distance_m(to) < 1.0);
        assert!((600..3_600).contains(&seconds), "{seconds} s");
    }

    #[test]
    fn a_fix_is_near_the_truth_but_not_on_it() {
        let mut drive = Drive::standing(roads::junction(3), 2);
        let mut worst_m: f64 = 0.0;
        for second in 0..600 {
            drive.pass(1.0);
            let fix = drive.fix(Micros::from_secs(second));
            let truth = drive.place();
            worst_m = worst_m.max(truth.distance_m(Point { lat: fix.lat, lon: fix.lon }));
        }
        assert!((3.0..30.0).contains(&worst_m), "{worst_m} m");
    }
}
