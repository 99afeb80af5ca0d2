//! What the fixes of one vehicle teach about their noise.
//!
//! In:    how far each fix that passed the gate missed the prediction.
//! Out:   the sigma with which a fix pulls the filter, and how wide the gate stands.
//! Keeps: two learned numbers and the last miss.
//! Never: learns from a fix that was set aside.
//!
//! An accuracy says how far off a fix may be, not how much of that differs from the next fix,
//! and only what differs can be smoothed away. The misses show it: a filter that trusts fixes
//! too little lags, and misses the same way again and again; one that trusts them too much
//! swings, and misses to and fro.

use serde::{Deserialize, Serialize};

/// Sigma with which a new vehicle's fixes pull: low, so that what is not known does no harm.
const START_SIGMA_M: f64 = 1.5;
const SIGMA_MIN_M: f64 = 0.7;
/// A fix pulls with at most so many times the sigma that it tells.
const TOLD_TIMES_MAX: f64 = 2.0;
/// How much misses may look like the one before. With a velocity the filter knows the way
/// between fixes, and what the misses share is the fixes' own slow error.
const ALIKE_BY_PLACE: f64 = 0.0;
const ALIKE_BY_VELOCITY: f64 = 0.7;
/// Share of the sigma that one miss can change; more for the first few.
const SIGMA_RATE: f64 = 0.1;
/// The gate's width is learned over about so many fixes; faster for the first few.
const GATE_FIXES: u8 = 30;
/// Gate of a new vehicle, and its bounds, in shares of the variance that accuracy promises.
const GATE_START: f64 = 4.0;
const GATE_MIN: f64 = 0.25;
const GATE_MAX: f64 = 16.0;
/// After wild fixes proved right the gate stands this much wider.
const GATE_RESTARTED: f64 = 2.25;

/// The noise of one vehicle's fixes, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    sigma_m: f64,
    gate: f64,
    missed_m: (f64, f64),
    fixes: u8,
}

/// How far a fix missed the prediction.
#[derive(Debug, Clone, Copy)]
pub struct Miss {
    /// Metres east and north.
    pub by_m: (f64, f64),
    /// Mean square of an axis over the variance that accuracy promises.
    pub share: f64,
    /// Sigma of an axis that the fix tells, metres.
    pub told_sigma_m: f64,
    /// How much of a slow error lasts from fix to fix, where a velocity is known; else nothing.
    pub lasts: Option<f64>,
}

impl Default for Noise {
    fn default() -> Self {
        Self { sigma_m: START_SIGMA_M, gate: GATE_START, missed_m: (0.0, 0.0), fixes: 0 }
    }
}

impl Noise {
    /// Sigma of an axis with which a fix pulls the filter, metres.
    pub fn pull_sigma_m(&self, told_sigma_m: f64) -> f64 {
        self.sigma_m.min(TOLD_TIMES_MAX * told_sigma_m)
    }

    /// What the gate's bound is multiplied with.
    pub fn gate(&self) -> f64 {
        self.gate
    }

    /// After a start: what was learned stays, the last miss means nothing any more.
    pub fn after_start(mut self, restarted: bool) -> Self {
        self.missed_m = (0.0, 0.0);
        if restarted {
            self.gate = (self.gate * GATE_RESTARTED).min(GATE_MAX);
        }
        self
    }

    /// After a fix that passed the gate.
    pub fn after(mut self, miss: &Miss) -> Self {
        self.fixes = self.fixes.saturating_add(1);
        let young = f64::from(self.fixes);
        let ((east_m, north_m), (was_east_m, was_north_m)) = (miss.by_m, self.missed_m);
        let size_m2 = east_m * east_m
            + north_m * north_m
            + was_east_m * was_east_m
            + was_north_m * was_north_m;
        if size_m2 > 0.0 {
            let alike = 2.0 * (east_m * was_east_m + north_m * was_north_m) / size_m2;
            let may = miss.lasts.map_or(ALIKE_BY_PLACE, |lasts| ALIKE_BY_VELOCITY * lasts);
            let rate = SIGMA_RATE.max(2.0 / (young + 1.0));
            let sigma_max_m = (TOLD_TIMES_MAX * miss.told_sigma_m).max(SIGMA_MIN_M);
            self.sigma_m = (self.sigma_m.min(sigma_max_m) * (1.0 + rate * (may - alike)))
                .clamp(SIGMA_MIN_M, sigma_max_m);
        }
        let weight = 1.0 / (3.0 + young).min(f64::from(GATE_FIXES));
        self.gate = (self.gate + weight * (miss.share - self.gate)).clamp(GATE_MIN, GATE_MAX);
        self.missed_m = miss.by_m;
        self
    }
}
