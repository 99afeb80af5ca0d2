//! When each fix is sent, and what time it carries.
//!
//! In:    tracks, a plan, the moment of starting.
//! Out:   for each vehicle its fixes with the wait from the start.
//! Never: lets a fix carry a time later than its sending.
//!
//! | plan | sent | carries |
//! |---|---|---|
//! | as it is | at once | its own time, years ago perhaps |
//! | flat out | at once | own gaps, the newest of all is now |
//! | speed 1 | at its own moment | the moment of sending |
//! | speed X | gaps / X | own gaps, so that a filter sees true speeds; the newest of all is sent at its own moment, the first ones are older than their sending |
//! | squeezed | gaps / X | the moment of sending, speeds times X: always fresh, but X times faster |

use inzira_schemas::Micros;

use crate::traces::{TracePoint, Track};

/// How fast time goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many times as fast as it happened; more than 0.
    Times(f64),
    /// As fast as the service takes it.
    FlatOut,
}

/// How a replay goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// How fast.
    pub pace: Pace,
    /// Times untouched, as a backlog.
    pub as_is: bool,
    /// Times pressed together with the pace.
    pub squeeze: bool,
    /// Only so many seconds before the end of each track.
    pub last_s: Option<i64>,
}

/// One fix and its moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    /// Microseconds after the start.
    pub wait_us: i64,
    /// What is sent.
    pub point: TracePoint,
}

/// One vehicle's fixes, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct VehiclePlan {
    /// Its name.
    pub vehicle: String,
    /// Its fixes.
    pub fixes: Vec<Planned>,
}

/// Plans a replay that starts at `start`.
pub fn schedule(tracks: &[Track], plan: Plan, start: Micros) -> Vec<VehiclePlan> {
    let kept: Vec<(&str, &[TracePoint])> = tracks
        .iter()
        .map(|track| (track.vehicle.as_str(), last_part(&track.points, plan.last_s)))
        .collect();
    let times = || kept.iter().flat_map(|(_, points)| points.iter().map(|p| p.measured_at.0));
    let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    let timing = Timing { plan, start, first, last };
    kept.iter()
        .map(|(vehicle, points)| VehiclePlan {
            vehicle: (*vehicle).to_owned(),
            fixes: points.iter().map(|point| timing.of(point)).collect(),
        })
        .collect()
}

fn last_part(points: &[TracePoint], last_s: Option<i64>) -> &[TracePoint] {
    let (Some(last_s), Some(end)) = (last_s, points.last()) else { return points };
    let from = end.measured_at.plus_secs(-last_s);
    &points[points.partition_point(|point| point.measured_at < from)..]
}

struct Timing {
    plan: Plan,
    start: Micros,
    first: i64,
    last: i64,
}

impl Timing {
    fn of(&self, point: &TracePoint) -> Planned {
        let mut point = *point;
        let (since_first, until_last) =
            (point.measured_at.0 - self.first, self.last - point.measured_at.0);
        let wait_us = match self.plan.pace {
            Pace::Times(times) if !self.plan.as_is => (since_first as f64 / times) as i64,
            _ => 0,
        };
        if self.plan.as_is {
            return Planned { wait_us, point };
        }
        point.measured_at = match self.plan.pace {
            Pace::FlatOut => Micros(self.start.0 - until_last),
            Pace::Times(times) if self.plan.squeeze => {
                point.speed_mps = point.speed_mps.map(|speed_mps| speed_mps * times);
                Micros(self.start.0 + wait_us)
            }
            Pace::Times(times) => {
                let whole_us = ((self.last - self.first) as f64 / times) as i64;
                let at_own_gaps = self.start.0 + whole_us - until_last;
                Micros(at_own_gaps.min(self.start.0 + wait_us))
            }
        };
        Planned { wait_us, point }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn track(seconds: &[i64]) -> Track {
        let point = |s: &i64| TracePoint {
            measured_at: Micros::from_secs(*s),
            speed_mps: Some(10.0),
            ..TracePoint::default()
        };
        Track { vehicle: "v".to_owned(), points: seconds.iter().map(point).collect() }
    }

    fn plan(pace: Pace) -> Plan {
        Plan { pace, as_is: false, squeeze: false, last_s: None }
    }

    fn planned(seconds: &[i64], plan: Plan) -> Vec<(i64, i64)> {
        schedule(&[track(seconds)], plan, Micros::from_secs(1_000))[0]
            .fixes
            .iter()
            .map(|p| (p.wait_us / 1_000_000, p.point.measured_at.0 / 1_000_000))
            .collect()
    }

    #[test]
    fn at_speed_one_each_fix_is_sent_at_its_own_moment() {
        assert_eq!(
            planned(&[100, 104, 110], plan(Pace::Times(1.0))),
            [(0, 1_000), (4, 1_004), (10, 1_010)]
        );
    }

    #[test]
    fn faster_keeps_the_gaps_and_ends_at_its_own_moment() {
        assert_eq!(
            planned(&[100, 104, 110], plan(Pace::Times(2.0))),
            [(0, 995), (2, 999), (5, 1_005)]
        );
    }

    #[test]
    fn squeezed_is_always_fresh() {
        let squeezed = Plan { squeeze: true, ..plan(Pace::Times(2.0)) };
        assert_eq!(planned(&[100, 104, 110], squeezed), [(0, 1_000), (2, 1_002), (5, 1_005)]);
    }

    #[test]
    fn as_it_is_touches_nothing_and_the_last_part_is_the_last() {
        let as_is = Plan { as_is: true, last_s: Some(6), ..plan(Pace::FlatOut) };
        assert_eq!(planned(&[100, 104, 110], as_is), [(0, 104), (0, 110)]);
    }

    proptest! {
        #[test]
        fn no_fix_carries_a_time_after_its_sending(
            mut seconds in proptest::collection::vec(0_i64..100_000, 1..50),
            times in 0.1_f64..500.0, squeeze: bool,
        ) {
            seconds.sort_unstable();
            let plan = Plan { squeeze, ..plan(Pace::Times(times)) };
            for fix in &schedule(&[track(&seconds)], plan, Micros(7))[0].fixes {
                prop_assert!(fix.point.measured_at.0 <= 7 + fix.wait_us);
            }
        }
    }
}
