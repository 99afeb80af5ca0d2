//! Smooths a whole track: forward as the live flow does, and backward when asked.
//!
//! In:    the fixes of one vehicle, in any order; they are sorted by their own time.
//! Out:   one point for each, in order of time.
//! Never: smooths across a gap of 120 s or a restart.

use inzira_schemas::Micros;

use super::filter::{Kinematics, Transition, step_back};
use super::{Anchor, Outcome, RawFix, Smoothed, Smoother, Step, sigma_m, tell};

/// One point of a smoothed track.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackPoint {
    /// The device's own time of the fix.
    pub measured_at: Micros,
    /// The place, and what became of the fix.
    pub smoothed: Smoothed,
}

/// One fix of the forward pass.
struct Pass {
    fix: RawFix,
    anchor: Anchor,
    smoothed: Smoothed,
    /// The state after the fix, when it was taken in.
    state: Option<Kinematics>,
    /// How it was reached from the one taken in before, within a segment.
    step: Option<Step>,
}

/// Smooths a track. With `rts` every point also knows what came after it
/// (Rauch-Tung-Striebel, within segments).
pub fn smooth_track(fixes: &[RawFix], rts: bool) -> Vec<TrackPoint> {
    let mut sorted: Vec<RawFix> = fixes.to_vec();
    sorted.sort_by_key(|fix| fix.measured_at);
    let mut smoother = Smoother::default();
    let mut passes = Vec::with_capacity(sorted.len());
    for fix in sorted {
        // In order of time nothing is ever re-applied, so no ring is needed.
        smoother.ring.clear();
        let (smoothed, step) = smoother.apply(&fix);
        let Some(anchor) = smoother.anchor else { continue };
        let state = smoother.core.map(|core| core.state).filter(|_| smoothed.outcome.is_trusted());
        passes.push(Pass { fix, anchor, smoothed, state, step });
    }
    if rts {
        backward(&mut passes);
    }
    passes
        .into_iter()
        .map(|pass| TrackPoint { measured_at: pass.fix.measured_at, smoothed: pass.smoothed })
        .collect()
}

/// The pass backward over every segment; fixes that were not taken in lie on the way between.
fn backward(passes: &mut [Pass]) {
    let mut next: Option<(usize, Kinematics)> = None;
    for index in (0..passes.len()).rev() {
        let Some(filtered) = passes[index].state else { continue };
        let smoothed = match next {
            Some((later, known)) if passes[later].anchor == passes[index].anchor => {
                match passes[later].step {
                    Some(step) => {
                        let known = step_back(&filtered, &step.predicted, &known, &step.transition);
                        fill_between(passes, (index, &known), later);
                        known
                    }
                    None => filtered,
                }
            }
            _ => filtered,
        };
        tell_again(&mut passes[index], &smoothed);
        next = Some((index, smoothed));
    }
}

/// Tells the smoothed place of a fix that was taken in.
fn tell_again(pass: &mut Pass, state: &Kinematics) {
    let sigma = sigma_m(&pass.fix);
    let held = pass.smoothed.held;
    if !held {
        pass.smoothed = tell(pass.anchor, state, &pass.fix, sigma, pass.smoothed.outcome);
    }
}

/// Fixes set aside between two that were taken in: carried on from the earlier one.
fn fill_between(passes: &mut [Pass], (from, state): (usize, &Kinematics), later: usize) {
    let began = passes[from].fix.measured_at;
    for pass in &mut passes[from + 1..later] {
        if pass.smoothed.outcome == Outcome::TooOld {
            continue;
        }
        let there = state.predicted(&Transition::over(pass.fix.measured_at.seconds_since(began)));
        pass.smoothed.point = pass.anchor.to_point(there.east_m, there.north_m);
        pass.smoothed.speed_mps = there.speed_mps();
        pass.smoothed.bearing_deg = there.bearing_deg();
    }
}
