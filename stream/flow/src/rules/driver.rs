//! All that is known of one driver, and what one more fix means.
//!
//! In:    the driver's fixes (live and backlog), commands from orders, moments to wake.
//! Out:   positions, alert candidates, trips.
//! Keeps: repeats, two smoothers (live and late), legs, the pace, the trip under way.
//! Never: lets a late fix touch the live state; fires an alert from a stale one.

use inzira_schemas::states::TrackingKind;
use inzira_schemas::{Micros, Point};
use serde::{Deserialize, Serialize};

use super::arriving::{self, Evidence};
use super::eta::{self, Pace};
use super::fix::FixView;
use super::join::{Command, Leg, Legs};
use super::offline;
use super::plane::CellMemo;
use super::repeats::{REMEMBER_S, Repeats};
use super::smooth::{Outcome, Smoothed, Smoother, UNKNOWN_ACCURACY_M};
use super::trips::{self, TripState};
use super::{Candidate, Origin, Outlet, PositionOut, Tick};

/// A fix older than this on arrival is stale, seconds.
pub const STALE_S: f64 = 60.0;
/// A fix that waited longer than this for us alerts nobody any more, seconds.
const WAITED_S: f64 = 15.0 * 60.0;
/// A driver without orders is forgotten after this silence, seconds.
const FORGET_S: i64 = REMEMBER_S;

/// One stream of fixes in the order of their own time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Lane {
    smoother: Smoother,
    trip: Option<TripState>,
}

/// The last trusted fresh position.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Fresh {
    at: Micros,
    received_at: Micros,
    point: Point,
    accuracy_m: f64,
    speed_mps: f64,
    gated: bool,
    h3_r9: i64,
}

/// All that is known of one driver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Driver {
    /// The id.
    pub id: Box<str>,
    repeats: Repeats,
    live: Lane,
    late: Option<Box<Lane>>,
    /// The orders the driver is or was on.
    pub legs: Legs,
    /// What orders ask, until the fixes that came before it are seen.
    waiting: Vec<Command>,
    pace: Pace,
    fresh: Option<Fresh>,
    heard_at: Micros,
    offline: bool,
    /// When the driver is next to be woken; `None` when nothing is due.
    pub wake_at: Option<Micros>,
    #[serde(skip)]
    near: CellMemo,
}

/// Which stream a fix came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `gps.fixes`.
    Live,
    /// `gps.backlog`.
    Backlog,
}

impl Driver {
    /// A driver of whom nothing is known yet.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            repeats: Repeats::default(),
            live: Lane::default(),
            late: None,
            legs: Legs::default(),
            waiting: Vec::new(),
            pace: Pace::default(),
            fresh: None,
            heard_at: Micros(0),
            offline: false,
            wake_at: None,
            near: CellMemo::default(),
        }
    }

    /// Reads what the next fix will need, so that the processor has it at hand by then: state
    /// of many drivers lies far apart, and waiting for one after the other is most of the work.
    pub fn touch(&self) -> u64 {
        self.live.smoother.touch()
            ^ self.repeats.touch()
            ^ self.legs.0.first().map_or(0, |leg| leg.opened_at.0 as u64)
    }

    /// What is left when a rule broke on this driver: orders and repeats, nothing that was
    /// computed from places.
    pub fn reset(&mut self) {
        let kept = std::mem::replace(self, Self::new(&self.id));
        let Self { repeats, legs, waiting, heard_at, offline, wake_at, .. } = kept;
        *self = Self { repeats, legs, waiting, heard_at, offline, wake_at, ..Self::new(&self.id) };
    }

    /// Takes in one fix. False for a repeat.
    pub fn on_fix(
        &mut self,
        fix: &FixView<'_>,
        class: Class,
        tick: &Tick,
        origin: Origin,
        out: &mut impl Outlet,
    ) -> bool {
        self.catch_up(tick, out, |command| command.origin <= origin);
        if !self.repeats.admit(fix, tick.now) {
            return false;
        }
        self.heard(fix, out);
        let (smoothed, in_time) = self.smooth(fix, class);
        let h3_r9 = self.near.cell_r9(smoothed.point);
        let stale = fix.received_at.seconds_since(fix.raw.measured_at) > STALE_S;
        let place = Place { smoothed, h3_r9, in_time, stale };
        self.tell_position(fix, &place, out);
        self.judge_legs(fix, &place, tick, origin, out);
        self.step_trip(fix, &place, out);
        self.plan_wake();
        true
    }

    /// Does what an order asks, once this driver's fixes that the log took before it have been
    /// seen: topics are read apart, and an order may be far ahead while we catch up.
    pub fn on_command(&mut self, command: &Command, tick: &Tick, out: &mut impl Outlet) {
        self.waiting.push(command.clone());
        self.waiting.sort_by_key(|command| command.origin);
        self.catch_up(tick, out, |command| command.origin.arrived < tick.watermark);
        self.plan_wake();
    }

    /// Does what was asked, as far as its time has come.
    fn catch_up(&mut self, tick: &Tick, out: &mut impl Outlet, is_time: impl Fn(&Command) -> bool) {
        if self.waiting.is_empty() {
            return;
        }
        let until = self.waiting.partition_point(is_time);
        for command in self.waiting.drain(..until).collect::<Vec<_>>() {
            self.obey(&command, tick, out);
        }
    }

    /// A leg that opens is judged at once by the last fresh position.
    fn obey(&mut self, command: &Command, tick: &Tick, out: &mut impl Outlet) {
        let opened = self.legs.apply(command);
        if opened {
            if let Some(fresh) = self.fresh {
                self.judge_kept(&fresh, tick, command, out);
            }
        } else if self.legs.open().next().is_none() {
            self.offline = false;
        }
        if let Some(trip) = self.end_of_leg(command) {
            out.trip(trip);
        }
        self.plan_wake();
    }

    /// Wakes the driver: silence may have become OFFLINE, or ended a trip.
    pub fn on_wake(&mut self, tick: &Tick, out: &mut impl Outlet) {
        self.catch_up(tick, out, |command| command.origin.arrived < tick.watermark);
        let opened_at = self.legs.open().map(|leg| leg.opened_at).min();
        if let Some(opened_at) = opened_at
            && !self.offline
            && offline::is_due(self.heard_at, opened_at, tick.watermark)
        {
            self.offline = true;
            let at = offline::due(self.heard_at, opened_at);
            self.tell_legs(TrackingKind::Offline, at, out);
        }
        if tick.watermark.seconds_since(self.heard_at) >= trips::SILENT_S {
            if let Some(trip) = trips::close(&mut self.live.trip, &self.id) {
                out.trip(trip);
            }
            let late = self.late.take();
            if let Some(trip) = late.and_then(|mut late| trips::close(&mut late.trip, &self.id)) {
                out.trip(trip);
            }
        }
        self.plan_wake();
    }

    /// Forgets what is too old. True when nothing is left worth keeping.
    pub fn forget(&mut self, now: Micros) -> bool {
        self.repeats.forget(now);
        self.legs.forget(now.plus_secs(-REMEMBER_S));
        self.waiting.is_empty()
            && self.legs.open().next().is_none()
            && self.heard_at.plus_secs(FORGET_S) < now
    }

    fn heard(&mut self, fix: &FixView<'_>, out: &mut impl Outlet) {
        // Only newer word ends a silence: an older one, told late, was no word in it.
        if fix.received_at <= self.heard_at {
            return;
        }
        self.heard_at = fix.received_at;
        if std::mem::take(&mut self.offline) {
            self.tell_legs(TrackingKind::Back, fix.received_at, out);
        }
    }

    /// Chooses the lane: the backlog never touches the live one, nor does a fix that is too old
    /// to be put in place there.
    fn smooth(&mut self, fix: &FixView<'_>, class: Class) -> (Smoothed, bool) {
        if class == Class::Live {
            let smoothed = self.live.smoother.push(&fix.raw);
            if smoothed.outcome != Outcome::TooOld {
                return (smoothed, true);
            }
        }
        let late = self.late.get_or_insert_default();
        let mut smoothed = late.smoother.push(&fix.raw);
        if smoothed.outcome == Outcome::TooOld {
            // A second, older batch: it begins a track of its own.
            late.smoother = Smoother::default();
            smoothed = late.smoother.push(&fix.raw);
        }
        (smoothed, false)
    }

    fn tell_position(&mut self, fix: &FixView<'_>, place: &Place, out: &mut impl Outlet) {
        let smoothed = place.smoothed;
        if place.in_time && smoothed.outcome.is_trusted() {
            self.pace.observe(fix.raw.measured_at, smoothed.speed_mps);
        }
        let leg =
            if place.in_time { self.legs.open().next() } else { self.legs.at(fix.raw.measured_at) };
        let to_go = leg
            .filter(|_| place.in_time)
            .and_then(|leg| leg.target)
            .map(|target| eta::to_go(smoothed.point, target, &self.pace, fix.raw.measured_at));
        let newest = self.live.smoother.newest().is_none_or(|newest| newest <= fix.raw.measured_at);
        out.position(&PositionOut {
            fix_event_id: fix.event_id,
            driver: fix.driver,
            device: fix.device,
            order: leg.map(|leg| &*leg.order),
            legs: &self.legs.0,
            measured_at: fix.raw.measured_at,
            received_at: fix.received_at,
            smoothed,
            h3_r9: place.h3_r9,
            distance_m: to_go.map(|(distance_m, _)| distance_m),
            eta_s: to_go.map(|(_, eta_s)| eta_s),
            late: !place.in_time,
            stale: place.stale,
            clock_fast: fix.clock_fast,
            newest,
        });
    }

    fn judge_legs(
        &mut self,
        fix: &FixView<'_>,
        place: &Place,
        tick: &Tick,
        origin: Origin,
        out: &mut impl Outlet,
    ) {
        let waited = tick.now.seconds_since(fix.received_at) > WAITED_S;
        let fresh = place.in_time && !place.stale && !waited;
        let smoothed = &place.smoothed;
        let evidence = Evidence {
            at: fix.raw.measured_at,
            point: smoothed.point,
            accuracy_m: fix.raw.accuracy_m.unwrap_or(UNKNOWN_ACCURACY_M),
            speed_mps: smoothed.speed_mps,
            trusted: smoothed.outcome.is_trusted(),
            gated: smoothed.outcome.is_gated(),
            fresh,
            before: self.fresh.map(|fresh| (fresh.at, fresh.point)),
        };
        for index in 0..self.legs.0.len() {
            let leg = &self.legs.0[index];
            let open = leg.closed_at.is_none();
            if (fresh && open) || leg.covers(evidence.at) {
                let evidence = Evidence { fresh: fresh && open, ..evidence };
                self.judge_leg(index, &evidence, (place.h3_r9, origin), out);
            }
        }
        let newer = self.fresh.is_none_or(|known| known.at <= evidence.at);
        if fresh && evidence.trusted && newer {
            self.fresh = Some(Fresh {
                at: evidence.at,
                received_at: fix.received_at,
                point: evidence.point,
                accuracy_m: evidence.accuracy_m,
                speed_mps: evidence.speed_mps,
                gated: evidence.gated,
                h3_r9: place.h3_r9,
            });
        }
    }

    /// The last fresh position speaks for a leg that opens now, if it was not stale then.
    fn judge_kept(&mut self, kept: &Fresh, tick: &Tick, command: &Command, out: &mut impl Outlet) {
        let fresh_then = command.at.seconds_since(kept.at) <= STALE_S;
        let fresh_now = tick.now.seconds_since(kept.received_at) <= WAITED_S;
        let evidence = Evidence {
            at: kept.at,
            point: kept.point,
            accuracy_m: kept.accuracy_m,
            speed_mps: kept.speed_mps,
            trusted: true,
            gated: kept.gated,
            fresh: true,
            before: None,
        };
        if fresh_then && fresh_now && !self.legs.0.is_empty() {
            let newest = self.legs.0.len() - 1;
            self.judge_leg(newest, &evidence, (kept.h3_r9, command.origin), out);
        }
    }

    fn judge_leg(
        &mut self,
        index: usize,
        evidence: &Evidence,
        (h3_r9, origin): (i64, Origin),
        out: &mut impl Outlet,
    ) {
        let leg = &mut self.legs.0[index];
        let Some(target) = leg.target else { return };
        if evidence.fresh && leg.approach.is_over() {
            return;
        }
        for kind in arriving::judge(&mut leg.approach, target, leg.opened_at, evidence) {
            out.candidate(Candidate {
                order: leg.order.clone(),
                driver: self.id.clone(),
                leg: leg.name,
                kind,
                at: evidence.at,
                point: Some(evidence.point),
                h3_r9,
                late: kind == TrackingKind::ArrivedBackfill,
                origin,
            });
        }
    }

    /// OFFLINE or BACK, to every open order.
    fn tell_legs(&self, kind: TrackingKind, at: Micros, out: &mut impl Outlet) {
        for leg in self.legs.open() {
            out.candidate(Candidate {
                order: leg.order.clone(),
                driver: self.id.clone(),
                leg: leg.name,
                kind,
                at,
                point: self.fresh.map(|fresh| fresh.point),
                h3_r9: self.fresh.map_or(0, |fresh| fresh.h3_r9),
                late: false,
                // Told by time, not by a record: before everything else of its epoch.
                origin: Origin::default(),
            });
        }
    }

    fn step_trip(&mut self, fix: &FixView<'_>, place: &Place, out: &mut impl Outlet) {
        if !place.smoothed.outcome.is_trusted() {
            return;
        }
        let leg: Option<&Leg> =
            if place.in_time { self.legs.open().next() } else { self.legs.at(fix.raw.measured_at) };
        let step = trips::Step {
            at: fix.raw.measured_at,
            point: place.smoothed.point,
            h3_r9: place.h3_r9,
            speed_mps: place.smoothed.speed_mps,
            order: leg.map_or("", |leg| &*leg.order),
            leg: leg.map(|leg| leg.name),
        };
        let trip = match (&mut self.late, place.in_time) {
            (Some(late), false) => &mut late.trip,
            _ => &mut self.live.trip,
        };
        // A fix put in place among newer ones does not turn the trip back.
        let turns_back = place.in_time && trip.as_ref().is_some_and(|t| t.is_after(step.at));
        if !turns_back && let Some(ended) = trips::step(trip, &self.id, &step) {
            out.trip(ended);
        }
    }

    /// The leg that a command ends ends its trip too.
    fn end_of_leg(&mut self, command: &Command) -> Option<super::TripOut> {
        let of_order = self.live.trip.as_ref().is_some_and(|trip| trip.is_of(&command.order));
        if of_order { trips::close(&mut self.live.trip, &self.id) } else { None }
    }

    fn plan_wake(&mut self) {
        let silence = self
            .legs
            .open()
            .map(|leg| leg.opened_at)
            .min()
            .filter(|_| !self.offline)
            .map(|opened_at| offline::due(self.heard_at, opened_at));
        let trip = (self.live.trip.is_some() || self.late.is_some())
            .then(|| self.heard_at.plus_secs(trips::SILENT_S as i64));
        let waiting = self.waiting.first().map(|command| Micros(command.origin.arrived.0 + 1));
        self.wake_at = [silence, trip, waiting].into_iter().flatten().min();
    }
}

/// Where a fix was placed, and what that is worth.
#[derive(Debug, Clone, Copy)]
struct Place {
    smoothed: Smoothed,
    h3_r9: i64,
    /// It went through the live lane.
    in_time: bool,
    stale: bool,
}
