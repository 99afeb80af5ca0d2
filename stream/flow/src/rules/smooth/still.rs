//! Holds a standing vehicle in place, so that noise draws no star and adds no metres.
//!
//! In:    the filter's state after each fix.
//! Out:   the mean of the stand, once it has lasted 120 s.
//! Keeps: the mean place of the present stand.

use inzira_schemas::Micros;
use serde::{Deserialize, Serialize};

use super::filter::Kinematics;

/// A stand must last this long before it is held, seconds.
const HOLD_AFTER_S: f64 = 120.0;
/// A reported speed below this is standing, metres a second.
const STILL_MPS: f64 = 1.0;
/// Without one the filter's own speed is noisy: the radius decides, this only lets go sooner.
const STILL_FILTERED_MPS: f64 = 3.0;
/// The mean follows at least this much of each new fix, so that it never freezes.
const MEAN_OF: u16 = 50;

/// A stand that may be going on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Still {
    since: Micros,
    fixes: u16,
    east_m: f64,
    north_m: f64,
}

impl Still {
    /// A stand that begins here, as far as one fix can tell.
    pub fn begin(at: Micros, east_m: f64, north_m: f64) -> Self {
        Self { since: at, fixes: 1, east_m, north_m }
    }

    /// After one more fix; with the mean place when the vehicle is held there.
    pub fn after(
        mut self,
        at: Micros,
        state: &Kinematics,
        reported_mps: Option<f64>,
        radius_m: f64,
    ) -> (Self, Option<(f64, f64)>) {
        let slow =
            reported_mps.map_or(state.speed_mps() < STILL_FILTERED_MPS, |speed| speed < STILL_MPS);
        let apart_m = super::length_m(state.east_m - self.east_m, state.north_m - self.north_m);
        if !slow || self.fixes == 0 || apart_m > radius_m {
            return (Self::begin(at, state.east_m, state.north_m), None);
        }
        self.fixes = (self.fixes + 1).min(MEAN_OF);
        let share = 1.0 / f64::from(self.fixes);
        self.east_m += (state.east_m - self.east_m) * share;
        self.north_m += (state.north_m - self.north_m) * share;
        let held = at.seconds_since(self.since) >= HOLD_AFTER_S;
        (self, held.then_some((self.east_m, self.north_m)))
    }
}
