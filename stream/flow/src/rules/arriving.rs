//! Decides ARRIVING and ARRIVED for one leg, case by case.
//!
//! In:    the leg's target and one position with what is known about it.
//! Out:   the kinds that this position proves, each once a leg.
//! Keeps: what was told, and how the vehicle has been near the target.
//! Never: fires from a stale, flagged or wild position; late proof writes ARRIVED_BACKFILL.

use inzira_schemas::states::TrackingKind;
use inzira_schemas::{Micros, Point};
use serde::{Deserialize, Serialize};

use super::plane::M_PER_DEG;

/// ARRIVING within this distance of the target, metres.
pub const ARRIVING_M: f64 = 400.0;
/// ARRIVED within this distance and the fix's accuracy, metres.
pub const ARRIVED_M: f64 = 50.0;
/// ARRIVED also after standing this near, metres, for `STANDING_S`.
pub const STANDING_M: f64 = 100.0;
const STANDING_S: f64 = 60.0;
const STANDING_MPS: f64 = 1.0;
/// ARRIVED needs a speed below this, metres a second.
const ARRIVED_MPS: f64 = 2.0;
/// A coarser fix proves no ARRIVING, metres.
const ARRIVING_ACCURACY_M: f64 = 150.0;
/// A coarser fix proves no ARRIVED, metres.
const ARRIVED_ACCURACY_M: f64 = 60.0;
/// Two fixes farther apart in time than this make no segment, seconds.
const SEGMENT_S: f64 = 120.0;

/// How near a leg has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Approach {
    arriving: bool,
    arrived: bool,
    backfilled: bool,
    /// An ungated position was inside: a second one confirms.
    inside_once: bool,
    near_in_a_row: u8,
    standing_since: Option<Micros>,
}

impl Approach {
    /// Nothing more can fire from fresh positions.
    pub const fn is_over(&self) -> bool {
        self.arriving && self.arrived
    }
}

/// A position, as this rule needs it.
#[derive(Debug, Clone, Copy)]
pub struct Evidence {
    /// Device time.
    pub at: Micros,
    /// Where.
    pub point: Point,
    /// 68 % radius of the fix, metres.
    pub accuracy_m: f64,
    /// Metres a second.
    pub speed_mps: f64,
    /// It was taken in by the filter.
    pub trusted: bool,
    /// It was checked against what was known before.
    pub gated: bool,
    /// Not older than 60 s when it arrived, and the newest of its driver.
    pub fresh: bool,
    /// The trusted fresh position before it.
    pub before: Option<(Micros, Point)>,
}

/// What a position proves; ARRIVING comes before ARRIVED.
pub fn judge(
    approach: &mut Approach,
    target: Point,
    opened_at: Micros,
    evidence: &Evidence,
) -> Vec<TrackingKind> {
    if !evidence.trusted {
        return Vec::new();
    }
    let place = Plane::around(target, evidence.point);
    let mut told = Vec::new();
    if !evidence.fresh {
        if !approach.backfilled && proves_late(approach, place.distance_m(), evidence) {
            approach.backfilled = true;
            told.push(TrackingKind::ArrivedBackfill);
        }
        return told;
    }
    let arriving = !approach.arriving && proves_arriving(approach, &place, opened_at, evidence);
    let arrived = !approach.arrived && proves_arrived(approach, place.distance_m(), evidence);
    if arriving || (arrived && !approach.arriving) {
        approach.arriving = true;
        told.push(TrackingKind::Arriving);
    }
    if arrived {
        approach.arrived = true;
        told.push(TrackingKind::Arrived);
    }
    told
}

fn proves_arriving(
    approach: &mut Approach,
    place: &Plane,
    opened_at: Micros,
    evidence: &Evidence,
) -> bool {
    if evidence.accuracy_m > ARRIVING_ACCURACY_M {
        return false;
    }
    let distance_m = place.distance_m();
    if distance_m <= ARRIVING_M {
        // A place that nothing vouches for must be inside with its whole radius, or twice.
        let sure = evidence.gated || distance_m + evidence.accuracy_m <= ARRIVING_M;
        return sure || std::mem::replace(&mut approach.inside_once, true);
    }
    approach.inside_once = false;
    let doubt_m = if evidence.gated { 0.0 } else { evidence.accuracy_m };
    evidence.before.is_some_and(|(at, point)| {
        at >= opened_at
            && evidence.at.seconds_since(at) <= SEGMENT_S
            && place.segment_from(point) + doubt_m <= ARRIVING_M
    })
}

fn proves_arrived(approach: &mut Approach, distance_m: f64, evidence: &Evidence) -> bool {
    let fine = evidence.accuracy_m <= ARRIVED_ACCURACY_M;
    let near =
        fine && distance_m <= ARRIVED_M + evidence.accuracy_m && evidence.speed_mps < ARRIVED_MPS;
    approach.near_in_a_row = if near { approach.near_in_a_row.saturating_add(1) } else { 0 };
    let stands = distance_m <= STANDING_M
        && evidence.speed_mps < STANDING_MPS
        && evidence.accuracy_m <= ARRIVING_ACCURACY_M;
    let since =
        if stands { *approach.standing_since.get_or_insert(evidence.at) } else { evidence.at };
    if !stands {
        approach.standing_since = None;
    }
    approach.near_in_a_row >= 2 || (stands && evidence.at.seconds_since(since) >= STANDING_S)
}

fn proves_late(approach: &Approach, distance_m: f64, evidence: &Evidence) -> bool {
    let inside = distance_m <= ARRIVING_M && evidence.accuracy_m <= ARRIVING_ACCURACY_M;
    let at_place = distance_m <= ARRIVED_M + evidence.accuracy_m
        && evidence.accuracy_m <= ARRIVED_ACCURACY_M
        && evidence.speed_mps < ARRIVED_MPS;
    (!approach.arriving && inside) || (!approach.arrived && at_place)
}

/// The vehicle on a plane that touches the earth at the target.
struct Plane {
    target: Point,
    cos_lat: f64,
    east_m: f64,
    north_m: f64,
}

impl Plane {
    fn around(target: Point, point: Point) -> Self {
        let mut plane =
            Self { target, cos_lat: target.lat.to_radians().cos(), east_m: 0.0, north_m: 0.0 };
        (plane.east_m, plane.north_m) = plane.place(point);
        plane
    }

    fn place(&self, point: Point) -> (f64, f64) {
        (
            (point.lon - self.target.lon) * M_PER_DEG * self.cos_lat,
            (point.lat - self.target.lat) * M_PER_DEG,
        )
    }

    fn distance_m(&self) -> f64 {
        (self.east_m * self.east_m + self.north_m * self.north_m).sqrt()
    }

    /// How near the straight way from `from` came to the target.
    fn segment_from(&self, from: Point) -> f64 {
        let (from_e, from_n) = self.place(from);
        let (d_e, d_n) = (self.east_m - from_e, self.north_m - from_n);
        let length2 = d_e * d_e + d_n * d_n;
        if length2 == 0.0 {
            return self.distance_m();
        }
        let share = (-(from_e * d_e + from_n * d_n) / length2).clamp(0.0, 1.0);
        (from_e + share * d_e).hypot(from_n + share * d_n)
    }
}

/// Whether a segment or a place inside would fire: exported for the tests of the whole driver.
#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Point = Point { lat: -1.95, lon: 30.06 };

    /// A place `north_m` metres north of the target.
    fn north(north_m: f64) -> Point {
        Point { lat: TARGET.lat + north_m / M_PER_DEG, lon: TARGET.lon }
    }

    fn seen(at_s: i64, north_m: f64) -> Evidence {
        Evidence {
            at: Micros::from_secs(at_s),
            point: north(north_m),
            accuracy_m: 10.0,
            speed_mps: 8.0,
            trusted: true,
            gated: true,
            fresh: true,
            before: None,
        }
    }

    fn judge_all(fixes: &[Evidence]) -> Vec<TrackingKind> {
        let mut approach = Approach::default();
        fixes.iter().flat_map(|fix| judge(&mut approach, TARGET, Micros(0), fix)).collect()
    }

    #[test]
    fn arriving_fires_once_a_leg() {
        let told = judge_all(&[
            seen(0, 900.0),
            seen(5, 390.0),
            seen(10, 300.0),
            seen(15, 500.0),
            seen(20, 350.0),
        ]);
        assert_eq!(told, [TrackingKind::Arriving]);
    }

    #[test]
    fn the_segment_between_two_fresh_fixes_cuts_the_circle() {
        let jumped =
            Evidence { before: Some((Micros::from_secs(0), north(900.0))), ..seen(60, -900.0) };
        assert_eq!(judge_all(&[jumped]), [TrackingKind::Arriving]);
        let long_ago =
            Evidence { before: Some((Micros::from_secs(0), north(900.0))), ..seen(200, -900.0) };
        assert_eq!(judge_all(&[long_ago]), []);
        let mut approach = Approach::default();
        let before_the_leg = judge(&mut approach, TARGET, Micros::from_secs(10), &jumped);
        assert_eq!(before_the_leg, []);
    }

    #[test]
    fn a_place_that_nothing_vouches_for_needs_its_radius_inside_or_a_second_one() {
        let first = Evidence { gated: false, accuracy_m: 50.0, ..seen(0, 380.0) };
        assert_eq!(judge_all(&[first]), []);
        assert_eq!(
            judge_all(&[first, Evidence { at: Micros::from_secs(5), ..first }]),
            [TrackingKind::Arriving]
        );
        assert_eq!(
            judge_all(&[Evidence { gated: false, ..seen(0, 380.0) }]),
            [TrackingKind::Arriving]
        );
    }

    #[test]
    fn a_wild_or_coarse_fix_fires_nothing() {
        assert_eq!(judge_all(&[Evidence { trusted: false, ..seen(0, 10.0) }]), []);
        assert_eq!(judge_all(&[Evidence { accuracy_m: 151.0, ..seen(0, 10.0) }]), []);
    }

    #[test]
    fn two_slow_fixes_in_a_row_at_the_place_are_an_arrival() {
        let slow = |at_s, north_m| Evidence { speed_mps: 1.5, ..seen(at_s, north_m) };
        assert_eq!(
            judge_all(&[slow(0, 55.0), slow(5, 300.0), slow(10, 55.0)]),
            [TrackingKind::Arriving]
        );
        assert_eq!(
            judge_all(&[slow(0, 55.0), slow(5, 40.0)]),
            [TrackingKind::Arriving, TrackingKind::Arrived]
        );
        assert_eq!(judge_all(&[seen(0, 20.0), seen(5, 0.0)]), [TrackingKind::Arriving], "too fast");
        let coarse = |at_s| Evidence { accuracy_m: 61.0, speed_mps: 1.5, ..seen(at_s, 20.0) };
        assert_eq!(judge_all(&[coarse(0), coarse(5)]), [TrackingKind::Arriving], "too coarse");
    }

    #[test]
    fn a_minute_of_standing_within_a_hundred_metres_is_an_arrival() {
        let stand = |at_s| Evidence { speed_mps: 0.2, ..seen(at_s, 95.0) };
        assert_eq!(judge_all(&[stand(0), stand(30)]), [TrackingKind::Arriving]);
        assert_eq!(
            judge_all(&[stand(0), stand(30), stand(60)]),
            [TrackingKind::Arriving, TrackingKind::Arrived]
        );
        assert_eq!(
            judge_all(&[stand(0), seen(30, 95.0), stand(60), stand(90)]),
            [TrackingKind::Arriving]
        );
    }

    #[test]
    fn stale_proof_never_fires_and_is_written_once() {
        let stale = |at_s, north_m| Evidence { fresh: false, ..seen(at_s, north_m) };
        assert_eq!(judge_all(&[stale(0, 900.0)]), []);
        assert_eq!(judge_all(&[stale(0, 300.0), stale(5, 100.0)]), [TrackingKind::ArrivedBackfill]);
        assert_eq!(
            judge_all(&[stale(0, 300.0), seen(90, 200.0)]),
            [TrackingKind::ArrivedBackfill, TrackingKind::Arriving],
            "the alert still comes with the first fresh fix"
        );
        assert_eq!(judge_all(&[seen(0, 300.0), stale(5, 200.0)]), [TrackingKind::Arriving]);
    }
}
