//! Cuts a driver's way into trips.
//!
//! In:    trusted positions in order of time.
//! Out:   a trip when the leg changes, after 20 min of standing, after 15 min of silence.
//! Keeps: the trip under way: its sums and its line so far, at most 64 KiB.

use inzira_schemas::{Micros, Point, event_id};
use serde::{Deserialize, Serialize};

use super::{LegName, TripOut, plane};

/// Standing this long ends a drive, seconds.
pub const STILL_S: f64 = 20.0 * 60.0;
/// Silence this long ends a drive, seconds.
pub const SILENT_S: f64 = 15.0 * 60.0;
/// Slower than this is standing, metres a second.
const MOVING_MPS: f64 = 1.0;
/// A drive without an order is told from here on, metres.
const DRIVE_MIN_M: f64 = 100.0;
/// The line takes a point when it is this far from the last one, metres.
const LINE_STEP_M: f64 = 10.0;
const LINE_MAX_BYTES: usize = 64 * 1024;

/// A trip under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TripState {
    /// Empty without an order.
    order: Box<str>,
    leg: Option<LegName>,
    started_at: Micros,
    last_at: Micros,
    last: Point,
    origin_h3_r9: i64,
    last_h3_r9: i64,
    distance_m: f64,
    moving_s: f64,
    stopped_s: f64,
    still_since: Option<Micros>,
    line: Line,
    fixes: u32,
}

/// One trusted position.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Device time.
    pub at: Micros,
    /// Where.
    pub point: Point,
    /// H3 cell, resolution 9.
    pub h3_r9: i64,
    /// Metres a second.
    pub speed_mps: f64,
    /// The open order, empty for none.
    pub order: &'a str,
    /// Its leg.
    pub leg: Option<LegName>,
}

/// Takes in a position; a trip that ended with it comes back.
pub fn step(trip: &mut Option<TripState>, driver: &str, step: &Step<'_>) -> Option<TripOut> {
    let mut ended = None;
    if let Some(state) = trip.as_ref()
        && state.ends_before(step)
    {
        ended = close(trip, driver);
    }
    match trip {
        Some(state) => state.take(step),
        // A parked vehicle starts no drive; an order's leg begins where it stands.
        None if step.order.is_empty() && step.speed_mps < MOVING_MPS => {}
        None => *trip = Some(TripState::begin(step)),
    }
    ended
}

/// Ends the trip; `None` when it was too little to tell.
pub fn close(trip: &mut Option<TripState>, driver: &str) -> Option<TripOut> {
    let state = trip.take()?;
    let told = state.fixes >= 2 && (!state.order.is_empty() || state.distance_m >= DRIVE_MIN_M);
    told.then(|| state.into_trip(driver))
}

impl TripState {
    /// Whether its last position is newer than `at`.
    pub fn is_after(&self, at: Micros) -> bool {
        at < self.last_at
    }

    /// Whether it belongs to this order.
    pub fn is_of(&self, order: &str) -> bool {
        *self.order == *order
    }

    fn begin(step: &Step<'_>) -> Self {
        let mut line = Line::default();
        line.push(step.point);
        Self {
            order: step.order.into(),
            leg: step.leg,
            started_at: step.at,
            last_at: step.at,
            last: step.point,
            origin_h3_r9: step.h3_r9,
            last_h3_r9: step.h3_r9,
            distance_m: 0.0,
            moving_s: 0.0,
            stopped_s: 0.0,
            still_since: None,
            line,
            fixes: 1,
        }
    }

    fn ends_before(&self, step: &Step<'_>) -> bool {
        let still = self.still_since.is_some_and(|since| step.at.seconds_since(since) >= STILL_S);
        step.at < self.last_at
            || step.at.seconds_since(self.last_at) >= SILENT_S
            || *self.order != *step.order
            || self.leg != step.leg
            || (still && step.order.is_empty())
            || self.line.text.len() >= LINE_MAX_BYTES
    }

    fn take(&mut self, step: &Step<'_>) {
        let dt_s = step.at.seconds_since(self.last_at);
        let moved_m = plane::distance_m(self.last, step.point);
        let mean_mps = if dt_s > 0.0 { moved_m / dt_s } else { 0.0 };
        // Over a long gap the speed at its end says nothing: what was covered does.
        let moving =
            if dt_s > 30.0 { mean_mps >= MOVING_MPS } else { step.speed_mps >= MOVING_MPS };
        if moving {
            self.moving_s += dt_s;
            self.distance_m += moved_m;
            self.still_since = None;
        } else {
            self.stopped_s += dt_s;
            self.still_since.get_or_insert(self.last_at);
        }
        if moving && self.line.far_from_last(step.point) {
            self.line.push(step.point);
        }
        (self.last, self.last_at, self.last_h3_r9) = (step.point, step.at, step.h3_r9);
        self.fixes += 1;
    }

    fn into_trip(mut self, driver: &str) -> TripOut {
        self.line.push(self.last);
        let leg = self.leg.map(|leg| leg.to_string()).unwrap_or_default();
        let cause = event_id(&[
            b"trip",
            driver.as_bytes(),
            self.order.as_bytes(),
            leg.as_bytes(),
            &self.started_at.0.to_le_bytes(),
        ]);
        TripOut {
            trip_id: format!("trp_{}", cause.trim_start_matches("evt_")),
            order: self.order,
            driver: driver.into(),
            started_at: self.started_at,
            ended_at: self.last_at,
            origin_h3_r9: self.origin_h3_r9,
            destination_h3_r9: self.last_h3_r9,
            distance_m: self.distance_m,
            moving_s: self.moving_s,
            stopped_s: self.stopped_s,
            line: self.line.text,
            revision: 0,
        }
    }
}

/// An encoded polyline that grows: Google's format, precision 5.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    text: String,
    lat_e5: i64,
    lon_e5: i64,
}

impl Line {
    fn push(&mut self, point: Point) {
        let lat_e5 = (point.lat * 1e5).round() as i64;
        let lon_e5 = (point.lon * 1e5).round() as i64;
        if !self.text.is_empty() && (lat_e5, lon_e5) == (self.lat_e5, self.lon_e5) {
            return;
        }
        self.number(lat_e5 - self.lat_e5);
        self.number(lon_e5 - self.lon_e5);
        (self.lat_e5, self.lon_e5) = (lat_e5, lon_e5);
    }

    fn far_from_last(&self, point: Point) -> bool {
        let last = Point { lat: self.lat_e5 as f64 / 1e5, lon: self.lon_e5 as f64 / 1e5 };
        plane::distance_m(last, point) >= LINE_STEP_M
    }

    fn number(&mut self, value: i64) {
        let mut rest = (value << 1) ^ (value >> 63);
        while rest >= 0x20 {
            self.text.push(char::from((0x20 | (rest & 0x1f)) as u8 + 63));
            rest >>= 5;
        }
        self.text.push(char::from(rest as u8 + 63));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::LegKind;

    fn at(at_s: i64, lon: f64, speed_mps: f64) -> Step<'static> {
        Step {
            at: Micros::from_secs(at_s),
            point: Point { lat: -1.95, lon },
            h3_r9: 1,
            speed_mps,
            order: "",
            leg: None,
        }
    }

    #[test]
    fn the_line_is_googles() {
        let mut line = Line::default();
        for (lat, lon) in [(38.5, -120.2), (40.7, -120.95), (43.252, -126.453)] {
            line.push(Point { lat, lon });
        }
        assert_eq!(line.text, "_p~iF~ps|U_ulLnnqC_mqNvxq`@");
    }

    #[test]
    fn a_drive_ends_after_twenty_minutes_of_standing_and_after_silence() {
        let mut trip = None;
        for second in 0..=100 {
            assert_eq!(
                step(&mut trip, "drv_a", &at(second, 30.0 + second as f64 * 1e-4, 11.0)),
                None
            );
        }
        let mut ended = None;
        for minute in 0..30 {
            ended = ended.or(step(&mut trip, "drv_a", &at(101 + minute * 60, 30.01, 0.0)));
        }
        let ended = ended.unwrap();
        assert!((1_050.0..1_150.0).contains(&ended.distance_m), "{}", ended.distance_m);
        assert!((95.0..=101.0).contains(&ended.moving_s) && ended.stopped_s >= 1_100.0);
        assert_eq!(trip, None, "a parked vehicle starts nothing");

        step(&mut trip, "drv_a", &at(10_000, 30.0, 11.0));
        step(&mut trip, "drv_a", &at(10_010, 30.002, 11.0));
        assert!(step(&mut trip, "drv_a", &at(12_000, 30.2, 11.0)).is_some());
    }

    #[test]
    fn a_leg_of_an_order_is_a_trip_of_its_own() {
        let mut trip = None;
        let leg = |at_s, kind| Step {
            order: "ord_abcd",
            leg: Some(LegName { kind, number: 1 }),
            ..at(at_s, 30.0 + at_s as f64 * 1e-4, 11.0)
        };
        step(&mut trip, "drv_a", &leg(0, LegKind::Pickup));
        step(&mut trip, "drv_a", &leg(10, LegKind::Pickup));
        let pickup = step(&mut trip, "drv_a", &leg(20, LegKind::Delivery)).unwrap();
        assert_eq!((&*pickup.order, pickup.ended_at), ("ord_abcd", Micros::from_secs(10)));
        assert!(pickup.trip_id.starts_with("trp_") && pickup.trip_id.len() == 30);
    }
}
