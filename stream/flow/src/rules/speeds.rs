//! How long the rest of a way takes, learned from trips.
//!
//! In:    trips that are over; where a vehicle is, where it is bound for, when.
//! Out:   seconds to go, with the range in which four of five arrive.
//! Keeps: metres and seconds by cell and time of the week; sums of a line through the trips.
//! Never: fails for want of trips: then it is the straight line by a detour and a usual speed.
//!
//! The straight line to the target is walked through the cells, each at its own pace. What
//! roads, lights and the last turns add to that differs between a short way and a long one; a
//! line through the logarithms of walked and true times, over all trips, tells how much.

use std::collections::BTreeMap;

use h3o::{LatLng, Resolution};
use inzira_schemas::{Micros, Point};
use serde::{Deserialize, Serialize};

use super::eta::DETOUR;
use super::plane;

/// Speed where nothing has been learned, metres a second.
const USUAL_MPS: f64 = 7.0;
/// How many metres the more general pace weighs, against what a cell has seen itself.
const PRIOR_ALL_M: f64 = 5_000.0;
const PRIOR_HOUR_M: f64 = 5_000.0;
const PRIOR_CELL_M: f64 = 1_500.0;
const PRIOR_CELL_HOUR_M: f64 = 3_000.0;
/// The line is walked in steps of this length, at most so many.
const STEP_M: f64 = 200.0;
const STEPS_MAX: f64 = 200.0;
/// What teaches: trips of this length, without gaps and leaps.
const TRIP_MIN_M: f64 = 500.0;
const TRIP_MAX_S: f64 = 5_400.0;
const GAP_MAX_S: f64 = 180.0;
const SPEED_MAX_MPS: f64 = 50.0;
/// Nearer to the end than this, seconds, a trip says little about ways.
const REST_MIN_S: f64 = 120.0;
/// Shortest walk that is told, seconds.
const WALK_MIN_S: f64 = 10.0;
/// Four of five lie within so many sigmas.
const SIGMAS: f64 = 1.28;

/// What trips have taught.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpeedTable {
    all: Pace,
    by_hour: BTreeMap<u8, Pace>,
    by_cell: BTreeMap<u64, Pace>,
    by_cell_hour: BTreeMap<(u64, u8), Pace>,
    line: Line,
}

/// Seconds to go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeToGo {
    /// Half take longer.
    pub expected_s: f64,
    /// One of ten is faster.
    pub early_s: f64,
    /// One of ten is slower.
    pub late_s: f64,
}

impl Default for SpeedTable {
    fn default() -> Self {
        let mut line = Line::default();
        // Two trips that nobody made, on the straight line by its detour; they differ by a third.
        for walk_s in [REST_MIN_S, 20.0 * REST_MIN_S] {
            line.add(walk_s.ln(), (walk_s * DETOUR).ln(), 1.0);
        }
        line.square_rest = line.weight * 0.35 * 0.35;
        Self {
            all: Pace { metres: PRIOR_ALL_M, seconds: PRIOR_ALL_M / USUAL_MPS },
            by_hour: BTreeMap::new(),
            by_cell: BTreeMap::new(),
            by_cell_hour: BTreeMap::new(),
            line,
        }
    }
}

impl SpeedTable {
    /// Learns from a trip that is over: places in the order of time, the last one its target.
    pub fn learn(&mut self, trip: &[(Micros, Point)]) {
        let (Some(first), Some(last)) = (trip.first(), trip.last()) else { return };
        let whole = plane::distance_m(first.1, last.1) >= TRIP_MIN_M
            && last.0.seconds_since(first.0) <= TRIP_MAX_S
            && trip.windows(2).all(|pair| step(pair).is_some());
        if !whole {
            return;
        }
        for pair in trip.windows(2) {
            if let Some((metres, seconds)) = step(pair) {
                self.add(pair[0].0, middle(pair[0].1, pair[1].1, 0.5), Pace { metres, seconds });
            }
        }
        let rest = |(at, _): &(Micros, Point)| last.0.seconds_since(*at);
        let telling = trip.iter().filter(|place| rest(place) >= REST_MIN_S).count();
        for place in trip.iter().filter(|place| rest(place) >= REST_MIN_S) {
            let walk_s = self.walk_s(place.1, last.1, place.0);
            self.line.learn(walk_s.ln(), rest(place).ln(), 1.0 / telling as f64);
        }
    }

    /// How long the rest of the way takes.
    pub fn to_go(&self, from: Point, target: Point, at: Micros) -> TimeToGo {
        let (expected, sigma) = self.line.at(self.walk_s(from, target, at).ln());
        let spread = (SIGMAS * sigma).exp();
        let expected_s = expected.exp();
        TimeToGo { expected_s, early_s: expected_s / spread, late_s: expected_s * spread }
    }

    /// Seconds along the straight line at the pace of each cell on it.
    fn walk_s(&self, from: Point, target: Point, at: Micros) -> f64 {
        let straight_m = plane::distance_m(from, target);
        let steps = (straight_m / STEP_M).ceil().clamp(1.0, STEPS_MAX);
        let hour = hour_of(at, from);
        let mut walk_s = 0.0;
        let mut share = 0.5 / steps;
        while share < 1.0 {
            let cell = cell_of(middle(from, target, share));
            walk_s += straight_m / steps * self.pace(cell, hour);
            share += 1.0 / steps;
        }
        walk_s.max(WALK_MIN_S)
    }

    fn add(&mut self, at: Micros, place: Point, pace: Pace) {
        let (cell, hour) = (cell_of(place), hour_of(at, place));
        self.all.add(pace);
        self.by_hour.entry(hour).or_default().add(pace);
        self.by_cell.entry(cell).or_default().add(pace);
        self.by_cell_hour.entry((cell, hour)).or_default().add(pace);
    }

    /// Seconds a metre: what the cell has seen at that hour, the less of it the more what it and
    /// the hour have seen at all.
    fn pace(&self, cell: u64, hour: u8) -> f64 {
        let all = self.all.seconds / self.all.metres;
        let of_hour = Pace::told(self.by_hour.get(&hour), all, PRIOR_HOUR_M);
        let of_cell = Pace::told(self.by_cell.get(&cell), all, PRIOR_CELL_M);
        let both = of_cell * of_hour / all;
        Pace::told(self.by_cell_hour.get(&(cell, hour)), both, PRIOR_CELL_HOUR_M)
    }
}

/// Metres travelled in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Pace {
    metres: f64,
    seconds: f64,
}

impl Pace {
    fn add(&mut self, other: Pace) {
        self.metres += other.metres;
        self.seconds += other.seconds;
    }

    /// Seconds a metre, drawn towards `prior` as if that had been seen over `prior_m`.
    fn told(seen: Option<&Pace>, prior: f64, prior_m: f64) -> f64 {
        let seen = seen.copied().unwrap_or_default();
        (seen.seconds + prior_m * prior) / (seen.metres + prior_m)
    }
}

/// A straight line through points with weights, by least squares, and how far they lie from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    square_rest: f64,
}

impl Line {
    fn add(&mut self, x: f64, y: f64, weight: f64) {
        self.weight += weight;
        self.x += weight * x;
        self.y += weight * y;
        self.xx += weight * x * x;
        self.xy += weight * x * y;
    }

    /// Adds a point, and how far it lay from the line before.
    fn learn(&mut self, x: f64, y: f64, weight: f64) {
        let (foreseen, _) = self.at(x);
        self.square_rest += weight * (y - foreseen) * (y - foreseen);
        self.add(x, y, weight);
    }

    /// The line at a point, and the sigma of what lies about it.
    fn at(&self, x: f64) -> (f64, f64) {
        let (mean_x, mean_y) = (self.x / self.weight, self.y / self.weight);
        let slope =
            (self.xy / self.weight - mean_x * mean_y) / (self.xx / self.weight - mean_x * mean_x);
        (mean_y + slope * (x - mean_x), (self.square_rest / self.weight).sqrt())
    }
}

/// Metres and seconds between two places of a trip; nothing for a gap or a leap.
fn step(pair: &[(Micros, Point)]) -> Option<(f64, f64)> {
    let [a, b] = pair else { return None };
    let (metres, seconds) = (plane::distance_m(a.1, b.1), b.0.seconds_since(a.0));
    let real = (0.0..=GAP_MAX_S).contains(&seconds) && metres <= SPEED_MAX_MPS * seconds.max(1.0);
    real.then_some((metres, seconds))
}

fn middle(a: Point, b: Point, share: f64) -> Point {
    Point { lat: a.lat + (b.lat - a.lat) * share, lon: a.lon + (b.lon - a.lon) * share }
}

/// A cell of about a kilometre; 0 when the place is not on the earth.
fn cell_of(place: Point) -> u64 {
    LatLng::new(place.lat, place.lon).map_or(0, |at| at.to_cell(Resolution::Eight).into())
}

/// Time of the week by the sun: five parts of the day, those of the weekend apart.
fn hour_of(at: Micros, place: Point) -> u8 {
    let local_s = at.0.div_euclid(1_000_000) + (place.lon * 240.0) as i64;
    // 1970 began on a Thursday.
    let weekend = (local_s.div_euclid(86_400) + 4).rem_euclid(7) % 6 == 0;
    let part = match local_s.div_euclid(3_600).rem_euclid(24) {
        0..=5 => 0,
        6..=9 => 1,
        10..=14 => 2,
        15..=18 => 3,
        _ => 4,
    };
    part + if weekend { 5 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: Micros = Micros::from_secs(1_790_000_000);

    fn east(metres: f64) -> Point {
        Point { lat: -1.95, lon: 30.0 + metres / plane::M_PER_DEG }
    }

    /// Straight east at one speed, a place each 15 s.
    fn trip(speed_mps: f64, metres: f64) -> Vec<(Micros, Point)> {
        let steps = (metres / speed_mps / 15.0) as i64;
        (0..=steps).map(|i| (NOON.plus_secs(i * 15), east(speed_mps * 15.0 * i as f64))).collect()
    }

    #[test]
    fn without_trips_it_is_the_straight_line_by_a_detour() {
        let told = SpeedTable::default().to_go(east(0.0), east(7_000.0), NOON);
        assert!((told.expected_s - 1_300.0).abs() < 15.0, "{told:?}");
        assert!(told.early_s < told.expected_s && told.expected_s < told.late_s);
    }

    #[test]
    fn it_learns_how_fast_a_road_is_and_grows_surer() {
        let mut table = SpeedTable::default();
        let before = table.to_go(east(0.0), east(6_000.0), NOON);
        for _ in 0..200 {
            table.learn(&trip(12.0, 9_000.0));
        }
        let told = table.to_go(east(0.0), east(6_000.0), NOON);
        assert!((told.expected_s - 500.0).abs() < 50.0, "{told:?}");
        assert!(told.late_s / told.early_s < before.late_s / before.early_s, "{told:?}");
    }

    #[test]
    fn a_trip_with_a_leap_teaches_nothing() {
        let mut table = SpeedTable::default();
        let mut leaping = trip(10.0, 5_000.0);
        leaping[5].1 = east(50_000.0);
        table.learn(&leaping);
        assert_eq!(table, SpeedTable::default());
    }

    #[test]
    fn the_weekend_is_apart() {
        let here = Point { lat: -1.95, lon: 0.0 };
        let days: Vec<u8> = (0..7)
            .map(|day| hour_of(Micros::from_secs(1_789_992_000 + day * 86_400), here) / 5)
            .collect();
        assert_eq!(days.iter().filter(|weekend| **weekend == 1).count(), 2, "{days:?}");
    }

    proptest! {
        #[test]
        fn it_is_always_a_number(
            lat in -90.0_f64..=90.0, lon in -180.0_f64..=180.0, at in 0_i64..4_000_000_000,
            places in proptest::collection::vec((0_i64..200, -0.01_f64..0.01, -0.01_f64..0.01), 0..40),
        ) {
            let mut table = SpeedTable::default();
            let mut at_s = 0;
            let mut line = vec![(Micros(0), Point { lat: 0.0, lon: 0.0 })];
            for (d_s, lat, lon) in places {
                at_s += d_s;
                line.push((Micros::from_secs(at_s), Point { lat, lon }));
            }
            table.learn(&line);
            let target = Point { lat: -1.95, lon: 30.0 };
            let told = table.to_go(Point { lat, lon }, target, Micros::from_secs(at));
            prop_assert!(told.early_s.is_finite() && told.early_s > 0.0);
            prop_assert!(told.late_s.is_finite() && told.late_s >= told.expected_s);
        }
    }
}
