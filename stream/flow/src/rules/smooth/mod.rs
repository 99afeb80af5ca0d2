//! Smooths the fixes of one vehicle.
//!
//! In:    fixes of one driver, nearly in the order of the device's own time.
//! Out:   for each the best known place, speed and course, and what became of it.
//! Keeps: the filter's state, and the states before the last few fixes (10 s, at most 32), so
//!        that a little disorder is put right in place.
//! Never: moves an unflagged fix by more than twice its accuracy; reads a clock; fails.
//!
//! Phones' errors are correlated over tens of seconds, so white-noise gains are not promised.
//! What is: wild fixes are thrown out, reported speed and course are used, gaps are survived, and
//! the track is never worse than the raw one by more than 2 % (`bench smoothing`). Accuracies are
//! believed by the gate only: how hard a fix pulls is learned (`noise`).

mod anchor;
mod filter;
mod noise;
mod still;
#[cfg(test)]
mod tests;
mod track;

use inzira_schemas::{Micros, Point};
use serde::{Deserialize, Serialize};

use anchor::Anchor;
use filter::{Kinematics, Transition};
use noise::{Miss, Noise};
use still::Still;
pub use track::{TrackPoint, smooth_track};

/// 68 % radius to one sigma of an axis of an isotropic plane Gaussian.
pub const RADIUS_TO_SIGMA: f64 = 1.51;
/// Accuracy taken for a fix that reports none, metres.
pub const UNKNOWN_ACCURACY_M: f64 = 15.0;
/// No fix is believed to be better than this, metres of one sigma.
const SIGMA_FLOOR_M: f64 = 3.0;
/// Phones understate their error: sigma is taken this much larger.
const SIGMA_INFLATION: f64 = 1.5;
/// Share of a fix's accuracy that smoothing does not take away.
const ACCURACY_THAT_STAYS: f64 = 0.9;
/// 99.9 % of a chi-square with two degrees of freedom.
const GATE: f64 = 13.82;
/// Between fixes so far apart a vehicle stops or sets off: the gate is not learned narrower, seconds.
const GATE_FULL_S: f64 = 10.0;
/// Beyond this predicted sigma the prediction knows less than the fix: no gate, start afresh.
const LOST_SIGMA_M: f64 = 50.0;
/// A longer silence starts a new segment, seconds.
pub const SEGMENT_GAP_S: f64 = 120.0;
/// No vehicle of ours is faster, metres a second.
const SPEED_MAX_MPS: f64 = 60.0;
/// A fix this coarse (network) is used only when no better one came for `COARSE_WAIT_S`.
const COARSE_M: f64 = 100.0;
const COARSE_WAIT_S: f64 = 60.0;
const NEVER: Micros = Micros(i64::MIN / 4);
/// Beyond this the plane is laid anew, metres.
const REANCHOR_M: f64 = 50_000.0;
/// Disorder up to this is put right in place.
const DISORDER_S: f64 = 10.0;
const DISORDER_FIXES: usize = 32;
/// Velocity sigma of a start without a reported speed, m/s.
const START_V_SIGMA_MPS: f64 = 8.0;
/// Sigma of a reported speed and course: this much, m/s, and a share of the speed, since phones
/// tell it a few tenths of a second late.
const REPORTED_V_SIGMA_MPS: f64 = 0.5;
const REPORTED_V_SIGMA_SHARE: f64 = 0.1;

/// A fix as the filter wants it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RawFix {
    /// The device's own time.
    pub measured_at: Micros,
    /// Latitude, degrees.
    pub lat: f64,
    /// Longitude, degrees.
    pub lon: f64,
    /// 68 % radius, metres, if told.
    pub accuracy_m: Option<f64>,
    /// Metres a second, if told.
    pub speed_mps: Option<f64>,
    /// Degrees clockwise from north, if told.
    pub bearing_deg: Option<f64>,
}

impl RawFix {
    /// Where it says it is.
    pub fn point(&self) -> Point {
        Point { lat: self.lat, lon: self.lon }
    }
}

/// What became of a fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing was known before it, or too long ago: taken as it is.
    Started,
    /// Passed the gate and was taken in.
    Accepted,
    /// Fixes that were thought wild agree with each other: taken as the new place.
    Restarted,
    /// Too far from where the vehicle can be: kept with a flag, not taken in.
    Implausible,
    /// Too coarse beside better ones: not taken in.
    Coarse,
    /// Older than the filter can put in place: the state is untouched.
    TooOld,
}

impl Outcome {
    /// The fix moved the state and can be believed.
    pub const fn is_trusted(self) -> bool {
        matches!(self, Outcome::Started | Outcome::Accepted | Outcome::Restarted)
    }

    /// The fix was checked against what was known before.
    pub const fn is_gated(self) -> bool {
        matches!(self, Outcome::Accepted)
    }
}

/// The best known position at a fix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Smoothed {
    /// Where.
    pub point: Point,
    /// 68 % radius, metres.
    pub accuracy_m: f64,
    /// Metres a second.
    pub speed_mps: f64,
    /// Degrees clockwise from north.
    pub bearing_deg: f64,
    /// Standing: the place is the mean of the stand.
    pub held: bool,
    /// What became of the fix.
    pub outcome: Outcome,
}

/// A fix that did not pass the gate, in case the next ones agree with it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Reject {
    at: Micros,
    east_m: f64,
    north_m: f64,
    sigma_m: f64,
}

/// Everything that one fix changes: small, so that keeping old ones is cheap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Core {
    at: Micros,
    state: Kinematics,
    reject: Option<Reject>,
    still: Still,
    /// When the last fix better than `COARSE_M` was taken in.
    fine_at: Micros,
    noise: Noise,
}

/// The state before a fix, and the fix.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Prior {
    before: Option<Core>,
    fix: RawFix,
}

/// What the filter did at one fix, for the pass backward.
#[derive(Debug, Clone, Copy)]
struct Step {
    predicted: Kinematics,
    transition: Transition,
}

/// The smoother of one vehicle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Smoother {
    anchor: Option<Anchor>,
    core: Option<Core>,
    ring: Vec<Prior>,
}

impl Smoother {
    /// Reads what the next fix will need, so that the processor has it at hand by then.
    pub fn touch(&self) -> u64 {
        self.ring.last().map_or(0, |prior| prior.fix.measured_at.0 as u64)
    }

    /// The time of the newest fix that was taken in or judged.
    pub fn newest(&self) -> Option<Micros> {
        self.ring.last().map(|prior| prior.fix.measured_at).or(self.core.map(|core| core.at))
    }

    /// Takes a fix in and says where the vehicle was at its time.
    pub fn push(&mut self, fix: &RawFix) -> Smoothed {
        let newest = self.newest();
        if newest.is_none_or(|newest| fix.measured_at >= newest) {
            self.forget_before(fix.measured_at);
            return self.apply(fix).0;
        }
        let behind_s = newest.map_or(0.0, |newest| newest.seconds_since(fix.measured_at));
        let place = self.ring.partition_point(|prior| prior.fix.measured_at <= fix.measured_at);
        if behind_s > DISORDER_S || place >= self.ring.len() {
            return untouched(fix);
        }
        self.reapply_from(place, fix)
    }

    /// Puts a fix where it belongs and applies the ones after it again.
    fn reapply_from(&mut self, place: usize, fix: &RawFix) -> Smoothed {
        let later: Vec<Prior> = self.ring.drain(place..).collect();
        self.core = later.first().and_then(|prior| prior.before);
        let (smoothed, _) = self.apply(fix);
        for prior in &later {
            self.apply(&prior.fix);
        }
        smoothed
    }

    fn forget_before(&mut self, at: Micros) {
        let keep_from = self
            .ring
            .iter()
            .position(|prior| at.seconds_since(prior.fix.measured_at) <= DISORDER_S)
            .unwrap_or(self.ring.len());
        let keep_from = keep_from.max((self.ring.len() + 1).saturating_sub(DISORDER_FIXES));
        self.ring.drain(..keep_from.min(self.ring.len()));
    }

    /// One fix, not older than the state.
    fn apply(&mut self, fix: &RawFix) -> (Smoothed, Option<Step>) {
        let anchor = *self.anchor.get_or_insert_with(|| Anchor::at(fix.point()));
        self.ring.push(Prior { before: self.core, fix: *fix });
        let (core, smoothed, step) = match self.core {
            None => start(anchor, fix, None),
            Some(core) => advance(anchor, core, fix),
        };
        self.core = Some(core);
        let far = core.state.east_m.abs().max(core.state.north_m.abs()) > REANCHOR_M;
        if far && smoothed.outcome.is_trusted() {
            self.lay_plane_at(smoothed.point);
        }
        (smoothed, step)
    }

    fn lay_plane_at(&mut self, point: Point) {
        let (Some(old), Some(core)) = (self.anchor, self.core.as_mut()) else { return };
        let place = old.to_point(core.state.east_m, core.state.north_m);
        let new = Anchor::at(point);
        (core.state.east_m, core.state.north_m) = new.to_plane(place.lat, place.lon);
        core.reject = None;
        core.still = Still::default();
        self.anchor = Some(new);
        self.ring.clear();
    }
}

/// What is told of a fix that the live state does not take in.
fn untouched(fix: &RawFix) -> Smoothed {
    Smoothed {
        point: fix.point(),
        accuracy_m: fix.accuracy_m.unwrap_or(UNKNOWN_ACCURACY_M),
        speed_mps: fix.speed_mps.unwrap_or(0.0),
        bearing_deg: fix.bearing_deg.unwrap_or(0.0),
        held: false,
        outcome: Outcome::TooOld,
    }
}

/// Sigma of an axis of this fix, metres.
fn sigma_m(fix: &RawFix) -> f64 {
    match fix.accuracy_m {
        Some(accuracy_m) => (accuracy_m / RADIUS_TO_SIGMA * SIGMA_INFLATION).max(SIGMA_FLOOR_M),
        None => UNKNOWN_ACCURACY_M / RADIUS_TO_SIGMA,
    }
}

/// The velocity that the device reports, with its sigma, if it can be used.
fn reported_velocity(fix: &RawFix) -> Option<(f64, f64, f64)> {
    let speed = fix.speed_mps.filter(|speed| (0.0..=SPEED_MAX_MPS).contains(speed))?;
    if speed < 0.5 {
        // Standing: no course is needed, but a coarse fix's zero means nothing.
        let fine = fix.accuracy_m.unwrap_or(UNKNOWN_ACCURACY_M) < 30.0;
        return fine.then_some((0.0, 0.0, 0.3));
    }
    let course = fix.bearing_deg.filter(|course| course.is_finite())?.to_radians();
    let sigma_mps = REPORTED_V_SIGMA_MPS + REPORTED_V_SIGMA_SHARE * speed;
    let (sine, cosine) = course.sin_cos();
    (speed > 1.0).then_some((speed * sine, speed * cosine, sigma_mps))
}

/// Begins at the fix. `carried` is the velocity known from elsewhere.
fn start(
    anchor: Anchor,
    fix: &RawFix,
    carried: Option<(&Core, Option<(f64, f64)>)>,
) -> (Core, Smoothed, Option<Step>) {
    let (east_m, north_m) = anchor.to_plane(fix.lat, fix.lon);
    let restarted = carried.is_some_and(|(core, _)| core.reject.is_some());
    let noise = carried.map_or_else(Noise::default, |(core, _)| core.noise.after_start(restarted));
    let sigma = sigma_m(fix);
    let pull = noise.pull_sigma_m(sigma);
    let mut state =
        Kinematics::at(east_m, north_m, pull * pull, START_V_SIGMA_MPS * START_V_SIGMA_MPS);
    if let Some((v_east, v_north)) = carried.and_then(|(_, velocity)| velocity) {
        state.measure_velocity(v_east, v_north, 9.0);
    }
    if let Some((v_east, v_north, v_sigma)) = reported_velocity(fix) {
        state.measure_velocity(v_east, v_north, v_sigma * v_sigma);
    }
    let still = Still::begin(fix.measured_at, east_m, north_m);
    let core = Core {
        at: fix.measured_at,
        state,
        reject: None,
        still,
        fine_at: if fix.accuracy_m.is_some_and(|accuracy_m| accuracy_m > COARSE_M) {
            carried.map_or(NEVER, |(core, _)| core.fine_at)
        } else {
            fix.measured_at
        },
        noise,
    };
    let outcome = if restarted { Outcome::Restarted } else { Outcome::Started };
    (core, tell(anchor, &state, fix, sigma, outcome), None)
}

/// Checks a fix against the prediction and takes it in, or not.
fn advance(anchor: Anchor, core: Core, fix: &RawFix) -> (Core, Smoothed, Option<Step>) {
    let dt_s = fix.measured_at.seconds_since(core.at);
    if dt_s > SEGMENT_GAP_S {
        let fresh = Core { reject: None, ..core };
        return start(anchor, fix, Some((&fresh, None)));
    }
    let transition = Transition::over(dt_s);
    let predicted = core.state.predicted(&transition);
    let sigma = sigma_m(fix);
    let coarse = fix.accuracy_m.is_some_and(|accuracy_m| accuracy_m > COARSE_M);
    if coarse && fix.measured_at.seconds_since(core.fine_at) <= COARSE_WAIT_S {
        return (core, tell_unfed(anchor, &predicted, Outcome::Coarse), None);
    }
    let (east_m, north_m) = anchor.to_plane(fix.lat, fix.lon);
    let jump_m = length_m(east_m - core.state.east_m, north_m - core.state.north_m);
    let reach_m = SPEED_MAX_MPS * dt_s + 3.0 * (sigma + core.state.p_xx.sqrt());
    if predicted.p_xx.sqrt() > LOST_SIGMA_M && jump_m <= reach_m {
        let fresh = Core { reject: None, ..core };
        let velocity = (jump_m / dt_s.max(1.0) <= SPEED_MAX_MPS)
            .then(|| mean_velocity(&core.state, east_m, north_m, dt_s));
        return start(anchor, fix, Some((&fresh, velocity)));
    }
    let by_m = (east_m - predicted.east_m, north_m - predicted.north_m);
    let miss_m2 = by_m.0 * by_m.0 + by_m.1 * by_m.1;
    let far = miss_m2 / (predicted.p_xx + sigma * sigma);
    // As long as the velocity is not known the prediction is wide by itself.
    let gate = if core.state.p_vv < START_V_SIGMA_MPS * START_V_SIGMA_MPS / 2.0 {
        core.noise.gate().max((dt_s / GATE_FULL_S).min(1.0))
    } else {
        1.0
    };
    if far > GATE * gate || jump_m > reach_m {
        return reject(anchor, core, &predicted, fix, (east_m, north_m, sigma));
    }
    let pull = core.noise.pull_sigma_m(sigma);
    let mut state = predicted;
    state.measure_place(east_m, north_m, pull * pull);
    let velocity = reported_velocity(fix);
    if let Some((v_east, v_north, v_sigma)) = velocity {
        state.measure_velocity(v_east, v_north, v_sigma * v_sigma);
    }
    // An eighth of the velocity's own memory.
    let lasts = velocity.map(|_| transition.a.powi(8));
    let miss = Miss { by_m, share: far / 2.0, told_sigma_m: sigma, lasts };
    let still_radius_m = fix.accuracy_m.unwrap_or(UNKNOWN_ACCURACY_M).max(UNKNOWN_ACCURACY_M);
    let (still, hold) = core.still.after(fix.measured_at, &state, fix.speed_mps, still_radius_m);
    let next = Core {
        at: fix.measured_at,
        state,
        reject: None,
        still,
        fine_at: if coarse { core.fine_at } else { fix.measured_at },
        noise: core.noise.after(&miss),
    };
    let mut smoothed = tell(anchor, &state, fix, sigma, Outcome::Accepted);
    if let Some((mean_east_m, mean_north_m)) = hold {
        let stand = Kinematics {
            east_m: mean_east_m,
            north_m: mean_north_m,
            v_east_mps: 0.0,
            v_north_mps: 0.0,
            ..state
        };
        smoothed = tell(anchor, &stand, fix, sigma, Outcome::Accepted);
        smoothed.held = true;
    }
    (next, smoothed, Some(Step { predicted, transition }))
}

/// Numbers here are metres and seconds: nothing can overflow, so the plain root will do.
fn length_m(east_m: f64, north_m: f64) -> f64 {
    (east_m * east_m + north_m * north_m).sqrt()
}

fn mean_velocity(from: &Kinematics, east_m: f64, north_m: f64, dt_s: f64) -> (f64, f64) {
    let dt_s = dt_s.max(1.0);
    ((east_m - from.east_m) / dt_s, (north_m - from.north_m) / dt_s)
}

/// A fix out of the gate: set aside, unless the one before it was too and agrees with it.
fn reject(
    anchor: Anchor,
    core: Core,
    predicted: &Kinematics,
    fix: &RawFix,
    (east_m, north_m, sigma): (f64, f64, f64),
) -> (Core, Smoothed, Option<Step>) {
    let agrees = core.reject.and_then(|before| {
        let dt_s = fix.measured_at.seconds_since(before.at);
        let way_m = (east_m - before.east_m, north_m - before.north_m);
        let speed = fix.speed_mps.unwrap_or_else(|| core.state.speed_mps().max(5.0));
        let agree_m = 2.0 * (sigma + before.sigma_m) + (speed + 3.0).min(SPEED_MAX_MPS) * dt_s;
        let near = dt_s > 0.0 && dt_s <= SEGMENT_GAP_S && length_m(way_m.0, way_m.1) <= agree_m;
        near.then_some((way_m.0 / dt_s.max(1.0), way_m.1 / dt_s.max(1.0)))
    });
    let reject = Reject { at: fix.measured_at, east_m, north_m, sigma_m: sigma };
    let core = Core { reject: Some(reject), ..core };
    if let Some(velocity) = agrees {
        let velocity = Some(velocity).filter(|(e, n)| length_m(*e, *n) <= SPEED_MAX_MPS);
        return start(anchor, fix, Some((&core, velocity)));
    }
    // The less is known, the more even a wild fix says: after a while the prediction is a guess.
    let (d_e, d_n) = (east_m - predicted.east_m, north_m - predicted.north_m);
    let r = sigma * sigma;
    let doubt = (d_e * d_e + d_n * d_n) / (predicted.p_xx + r) / 2.0;
    let share = predicted.p_xx / (predicted.p_xx + r * doubt);
    let guess = Kinematics {
        east_m: predicted.east_m + share * d_e,
        north_m: predicted.north_m + share * d_n,
        ..*predicted
    };
    (core, tell_unfed(anchor, &guess, Outcome::Implausible), None)
}

/// The position told for a fix that was taken in: never far from an honest fix.
fn tell(
    anchor: Anchor,
    state: &Kinematics,
    fix: &RawFix,
    sigma: f64,
    outcome: Outcome,
) -> Smoothed {
    let raw_accuracy_m = fix
        .accuracy_m
        .unwrap_or(sigma * RADIUS_TO_SIGMA)
        .max(SIGMA_FLOOR_M * RADIUS_TO_SIGMA / 2.0);
    let (east_m, north_m) = anchor.to_plane(fix.lat, fix.lon);
    let (mut to_east, mut to_north) = (state.east_m, state.north_m);
    let off_m = length_m(to_east - east_m, to_north - north_m);
    let allowed_m = 2.0 * raw_accuracy_m;
    if off_m > allowed_m {
        let share = allowed_m / off_m;
        to_east = east_m + (to_east - east_m) * share;
        to_north = north_m + (to_north - north_m) * share;
    }
    Smoothed {
        point: anchor.to_point(to_east, to_north),
        // Errors are correlated: most of what the device says stays, whatever the filter thinks.
        accuracy_m: (RADIUS_TO_SIGMA * state.p_xx.max(0.0).sqrt())
            .max(ACCURACY_THAT_STAYS * raw_accuracy_m),
        speed_mps: state.speed_mps(),
        bearing_deg: state.bearing_deg(),
        held: false,
        outcome,
    }
}

/// The position told for a fix that was not taken in: where the vehicle must have been.
fn tell_unfed(anchor: Anchor, predicted: &Kinematics, outcome: Outcome) -> Smoothed {
    Smoothed {
        point: anchor.to_point(predicted.east_m, predicted.north_m),
        accuracy_m: RADIUS_TO_SIGMA * predicted.p_xx.max(0.0).sqrt(),
        speed_mps: predicted.speed_mps(),
        bearing_deg: predicted.bearing_deg(),
        held: false,
        outcome,
    }
}
