//! The bare filter: position and velocity east and north, velocity decaying towards rest.
//!
//! In:    metres on a tangent plane, seconds between fixes.
//! Out:   the state after a step.
//! Keeps: one covariance for both axes: every measurement here is as sure east as north.
//! Never: judges a fix: that is the room above.
//!
//! The model is an Ornstein-Uhlenbeck velocity: `v' = -v/tau + noise`. For steps much shorter
//! than `tau` it is the constant-velocity filter; over gaps it stops instead of flying off.

use serde::{Deserialize, Serialize};

/// Time in which a velocity decays to 1/e, seconds.
pub const DECAY_S: f64 = 40.0;
/// Strength of the velocity noise, m^2/s^3.
pub const NOISE_Q: f64 = 2.0;

/// State of both axes with their common covariance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Kinematics {
    /// Metres east of the anchor.
    pub east_m: f64,
    /// Metres north of the anchor.
    pub north_m: f64,
    /// Metres a second east.
    pub v_east_mps: f64,
    /// Metres a second north.
    pub v_north_mps: f64,
    /// Variance of position, m^2.
    pub p_xx: f64,
    /// Covariance of position and velocity, m^2/s.
    pub p_xv: f64,
    /// Variance of velocity, m^2/s^2.
    pub p_vv: f64,
}

/// What one step of `dt` seconds does: `x' = x + b v`, `v' = a v`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// What is left of the velocity.
    pub a: f64,
    /// Seconds of travel at the old velocity.
    pub b: f64,
    q_xx: f64,
    q_xv: f64,
    q_vv: f64,
}

impl Transition {
    /// The exact step of `dt_s` seconds (0 and more).
    pub fn over(dt_s: f64) -> Self {
        let dt_s = dt_s.max(0.0);
        let ratio = dt_s / DECAY_S;
        if ratio < 1e-3 {
            // The closed form cancels itself out here; the series is exact to 1e-6.
            return Self {
                a: 1.0 - ratio,
                b: dt_s * (1.0 - ratio / 2.0),
                q_xx: NOISE_Q * dt_s.powi(3) / 3.0,
                q_xv: NOISE_Q * dt_s * dt_s / 2.0,
                q_vv: NOISE_Q * dt_s,
            };
        }
        let a = (-ratio).exp();
        let rest = 1.0 - a;
        let square = 1.0 - a * a;
        Self {
            a,
            b: DECAY_S * rest,
            q_xx: NOISE_Q
                * DECAY_S
                * DECAY_S
                * (dt_s - 2.0 * DECAY_S * rest + DECAY_S / 2.0 * square),
            q_xv: NOISE_Q * DECAY_S * DECAY_S / 2.0 * rest * rest,
            q_vv: NOISE_Q * DECAY_S / 2.0 * square,
        }
    }
}

impl Kinematics {
    /// Known to `var_m2` in place and `v_var` in velocity.
    pub fn at(east_m: f64, north_m: f64, var_m2: f64, v_var: f64) -> Self {
        Self { east_m, north_m, p_xx: var_m2, p_vv: v_var, ..Self::default() }
    }

    /// The state one step later, before any measurement.
    pub fn predicted(&self, step: &Transition) -> Self {
        let Transition { a, b, q_xx, q_xv, q_vv } = *step;
        Self {
            east_m: self.east_m + b * self.v_east_mps,
            north_m: self.north_m + b * self.v_north_mps,
            v_east_mps: a * self.v_east_mps,
            v_north_mps: a * self.v_north_mps,
            p_xx: self.p_xx + 2.0 * b * self.p_xv + b * b * self.p_vv + q_xx,
            p_xv: a * (self.p_xv + b * self.p_vv) + q_xv,
            p_vv: a * a * self.p_vv + q_vv,
        }
    }

    /// Takes in a measured place with variance `r` (m^2) an axis.
    pub fn measure_place(&mut self, east_m: f64, north_m: f64, r: f64) {
        let s = self.p_xx + r;
        let (k_x, k_v) = (self.p_xx / s, self.p_xv / s);
        let (y_e, y_n) = (east_m - self.east_m, north_m - self.north_m);
        self.east_m += k_x * y_e;
        self.north_m += k_x * y_n;
        self.v_east_mps += k_v * y_e;
        self.v_north_mps += k_v * y_n;
        self.p_vv -= k_v * self.p_xv;
        self.p_xv *= 1.0 - k_x;
        self.p_xx *= 1.0 - k_x;
    }

    /// Takes in a measured velocity with variance `r` (m^2/s^2) an axis.
    pub fn measure_velocity(&mut self, v_east: f64, v_north: f64, r: f64) {
        let s = self.p_vv + r;
        let (k_x, k_v) = (self.p_xv / s, self.p_vv / s);
        let (y_e, y_n) = (v_east - self.v_east_mps, v_north - self.v_north_mps);
        self.east_m += k_x * y_e;
        self.north_m += k_x * y_n;
        self.v_east_mps += k_v * y_e;
        self.v_north_mps += k_v * y_n;
        self.p_xx -= k_x * self.p_xv;
        self.p_xv *= 1.0 - k_v;
        self.p_vv *= 1.0 - k_v;
    }

    /// Speed, metres a second.
    pub fn speed_mps(&self) -> f64 {
        (self.v_east_mps * self.v_east_mps + self.v_north_mps * self.v_north_mps).sqrt()
    }

    /// Course, degrees clockwise from north; 0 at rest.
    pub fn bearing_deg(&self) -> f64 {
        if self.v_east_mps == 0.0 && self.v_north_mps == 0.0 {
            0.0
        } else {
            let course = self.v_east_mps.atan2(self.v_north_mps).to_degrees();
            if course < 0.0 { course + 360.0 } else { course }
        }
    }
}

/// One Rauch-Tung-Striebel step back: `filtered` corrected by what is known of its successor.
/// `predicted` is the successor as foreseen from `filtered` over `step`, `smoothed` as known now.
pub fn step_back(
    filtered: &Kinematics,
    predicted: &Kinematics,
    smoothed: &Kinematics,
    step: &Transition,
) -> Kinematics {
    let (a, b) = (step.a, step.b);
    // C = P F' inverse(P_predicted), two by two.
    let (m_xx, m_xv) = (filtered.p_xx + b * filtered.p_xv, a * filtered.p_xv);
    let (m_vx, m_vv) = (filtered.p_xv + b * filtered.p_vv, a * filtered.p_vv);
    let det = predicted.p_xx * predicted.p_vv - predicted.p_xv * predicted.p_xv;
    if det <= 0.0 || !det.is_finite() {
        return *filtered;
    }
    let (i_xx, i_xv, i_vv) = (predicted.p_vv / det, -predicted.p_xv / det, predicted.p_xx / det);
    let (c_xx, c_xv) = (m_xx * i_xx + m_xv * i_xv, m_xx * i_xv + m_xv * i_vv);
    let (c_vx, c_vv) = (m_vx * i_xx + m_vv * i_xv, m_vx * i_xv + m_vv * i_vv);
    let (d_e, d_n) = (smoothed.east_m - predicted.east_m, smoothed.north_m - predicted.north_m);
    let (d_ve, d_vn) =
        (smoothed.v_east_mps - predicted.v_east_mps, smoothed.v_north_mps - predicted.v_north_mps);
    let (d_xx, d_xv, d_vv) = (
        smoothed.p_xx - predicted.p_xx,
        smoothed.p_xv - predicted.p_xv,
        smoothed.p_vv - predicted.p_vv,
    );
    Kinematics {
        east_m: filtered.east_m + c_xx * d_e + c_xv * d_ve,
        north_m: filtered.north_m + c_xx * d_n + c_xv * d_vn,
        v_east_mps: filtered.v_east_mps + c_vx * d_e + c_vv * d_ve,
        v_north_mps: filtered.v_north_mps + c_vx * d_n + c_vv * d_vn,
        p_xx: filtered.p_xx
            + c_xx * (c_xx * d_xx + c_xv * d_xv)
            + c_xv * (c_xx * d_xv + c_xv * d_vv),
        p_xv: filtered.p_xv
            + c_xx * (c_vx * d_xx + c_vv * d_xv)
            + c_xv * (c_vx * d_xv + c_vv * d_vv),
        p_vv: filtered.p_vv
            + c_vx * (c_vx * d_xx + c_vv * d_xv)
            + c_vv * (c_vx * d_xv + c_vv * d_vv),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_meets_the_closed_form() {
        let (short, long) = (Transition::over(0.0399), Transition::over(0.0401));
        for (x, y) in
            [(short.a, long.a), (short.b, long.b), (short.q_xx, long.q_xx), (short.q_vv, long.q_vv)]
        {
            assert!((x - y).abs() / y.abs() < 0.02, "{x} {y}");
        }
    }

    #[test]
    fn two_half_steps_are_one_step() {
        let state = Kinematics {
            v_east_mps: 12.0,
            p_xx: 9.0,
            p_xv: 1.0,
            p_vv: 4.0,
            ..Kinematics::default()
        };
        let once = state.predicted(&Transition::over(10.0));
        let half = Transition::over(5.0);
        let twice = state.predicted(&half).predicted(&half);
        for (x, y) in [
            (once.east_m, twice.east_m),
            (once.p_xx, twice.p_xx),
            (once.p_xv, twice.p_xv),
            (once.p_vv, twice.p_vv),
        ] {
            assert!((x - y).abs() < 1e-9 * y.abs().max(1.0), "{x} {y}");
        }
    }
}
