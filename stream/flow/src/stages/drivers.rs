//! Follows all drivers of this worker's key groups.
//!
//! In:    an epoch's commands and fixes.
//! Out:   positions, trips and dead letters for the log; candidates for the alerts; positions
//!        for the live bus at once.
//! Keeps: one `Driver` a key; a heap of moments to wake, rebuilt after a restart.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use inzira_schemas::Micros;
use serde::{Deserialize, Serialize};

use super::encode::{self, PositionWriter};
use super::groups::KeyGroups;
use super::{BACKLOG, Item, Output, guarded};
use crate::rules::driver::{Class, Driver};
use crate::rules::fix::FixView;
use crate::rules::join::Command;
use crate::rules::{Candidate, KEY_GROUPS, Key, Outlet, PositionOut, Tick, TripOut, key_of};

/// So many fixes ahead their drivers' state is looked at.
const AHEAD: usize = 16;

/// Where positions go beside the log, as they are computed.
pub trait Show: Send + Sync {
    /// Takes a position without waiting.
    fn show(&self, position: &PositionOut<'_>);
}

/// What becomes of positions.
#[derive(Clone)]
pub enum Positions {
    /// Records for the log, and shown at once.
    Told(Option<Arc<dyn Show>>),
    /// Only counted: for measuring the rules alone.
    Counted,
}

/// How many positions were computed, and a sum over them that no order changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Positions.
    pub positions: u64,
    /// Sum of a hash of each.
    pub checksum: u64,
    /// Repeats that were dropped.
    pub repeats: u64,
}

/// A driver with the wake that stands in the heap for it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    driver: Driver,
    #[serde(skip)]
    scheduled: Option<Micros>,
}

/// All drivers of one worker.
pub struct DriversStage {
    /// State by driver.
    pub groups: KeyGroups<Kept>,
    /// What was computed so far.
    pub count: Count,
    wakes: BinaryHeap<Reverse<(Micros, Key)>>,
    swept_s: i64,
    writer: PositionWriter,
    positions: Positions,
}

/// What an epoch of fixes leads to.
#[derive(Debug, Default)]
pub struct DriversOut {
    /// To alerts.
    pub candidates: Vec<Candidate>,
    /// To the log.
    pub outputs: Vec<Output>,
}

impl DriversStage {
    /// No driver is known yet.
    pub fn new(positions: Positions) -> Self {
        Self {
            groups: KeyGroups::default(),
            count: Count::default(),
            wakes: BinaryHeap::new(),
            swept_s: 0,
            writer: PositionWriter::default(),
            positions,
        }
    }

    /// After groups were loaded: plans every driver's wake.
    pub fn plan_wakes(&mut self) {
        self.wakes = self
            .groups
            .iter()
            .filter_map(|(key, kept)| Some(Reverse((kept.driver.wake_at?, key))))
            .collect();
    }

    /// Applies one epoch: what is due first, then commands and fixes as they came.
    pub fn run(
        &mut self,
        tick: &Tick,
        commands: &mut Vec<Command>,
        items: &mut Vec<Item>,
        silent: bool,
        out: &mut DriversOut,
    ) {
        self.sweep(tick);
        self.wake(tick, silent, out);
        commands.sort_by_key(|command| command.origin);
        let mut commands = commands.drain(..).peekable();
        // Runs of one partition come in order already, which the sort finds and merges.
        items.sort_by_key(|item| item.origin);
        for index in 0..items.len() {
            if index % AHEAD == 0 {
                self.touch(&items[index..]);
            }
            let item = &items[index];
            while let Some(command) = commands.next_if(|command| command.origin <= item.origin) {
                self.command(&command, tick, silent, out);
            }
            if let Err(reason) = self.fix(item, tick, silent, out)
                && !silent
            {
                let source = item.source();
                tracing::warn!(source, reason, "a fix was set aside");
                out.outputs.push(encode::dead_letter(&source, &reason, &item.value, tick.now));
            }
        }
        for command in commands {
            self.command(&command, tick, silent, out);
        }
        items.clear();
    }

    /// Looks at the state that the next fixes will need, all at once.
    fn touch(&self, items: &[Item]) {
        let states = items.iter().take(AHEAD).filter_map(|item| self.groups.get(item.key));
        std::hint::black_box(states.fold(0, |sum, kept| sum ^ kept.driver.touch()));
    }

    fn fix(
        &mut self,
        item: &Item,
        tick: &Tick,
        silent: bool,
        out: &mut DriversOut,
    ) -> Result<(), String> {
        let fix = FixView::decode(&item.value).map_err(|error| error.to_string())?;
        if key_of(fix.driver) != item.key {
            return Err("the key of the record is not its driver".to_owned());
        }
        let class = if item.class() == BACKLOG { Class::Backlog } else { Class::Live };
        let kept = self
            .groups
            .entry(item.key, || Kept { driver: Driver::new(fix.driver), scheduled: None });
        let mark = (out.outputs.len(), out.candidates.len());
        let mut outlet = StageOutlet {
            silent,
            now: tick.now,
            writer: &mut self.writer,
            positions: &self.positions,
            count: &mut self.count,
            out,
        };
        let done = guarded(|| kept.driver.on_fix(&fix, class, tick, item.origin, &mut outlet));
        match done {
            Ok(true) => {}
            Ok(false) => self.count.repeats += 1,
            Err(panic) => {
                kept.driver.reset();
                out.outputs.truncate(mark.0);
                out.candidates.truncate(mark.1);
                return Err(format!("a rule broke, {} starts afresh: {panic}", kept.driver.id));
            }
        }
        schedule(&mut self.wakes, item.key, kept);
        Ok(())
    }

    fn command(&mut self, command: &Command, tick: &Tick, silent: bool, out: &mut DriversOut) {
        let key = key_of(&command.driver);
        let kept = self
            .groups
            .entry(key, || Kept { driver: Driver::new(&command.driver), scheduled: None });
        let mut outlet = StageOutlet {
            silent,
            now: tick.now,
            writer: &mut self.writer,
            positions: &self.positions,
            count: &mut self.count,
            out,
        };
        if let Err(panic) = guarded(|| kept.driver.on_command(command, tick, &mut outlet)) {
            kept.driver.reset();
            tracing::error!(driver = &*kept.driver.id, panic, "a rule broke on a command");
        }
        schedule(&mut self.wakes, key, kept);
    }

    fn wake(&mut self, tick: &Tick, silent: bool, out: &mut DriversOut) {
        while let Some(Reverse((due, key))) = self.wakes.peek().copied()
            && due <= tick.watermark
        {
            self.wakes.pop();
            let Some(kept) = self.groups.get_mut(key) else { continue };
            if kept.scheduled.is_some_and(|scheduled| scheduled > due) {
                continue;
            }
            kept.scheduled = None;
            if kept.driver.wake_at.is_some_and(|wake_at| wake_at <= tick.watermark) {
                let mut outlet = StageOutlet {
                    silent,
                    now: tick.now,
                    writer: &mut self.writer,
                    positions: &self.positions,
                    count: &mut self.count,
                    out,
                };
                if let Err(panic) = guarded(|| kept.driver.on_wake(tick, &mut outlet)) {
                    kept.driver.reset();
                    tracing::error!(driver = &*kept.driver.id, panic, "a rule broke on waking");
                }
            }
            schedule(&mut self.wakes, key, kept);
        }
    }

    /// One key group a second.
    fn sweep(&mut self, tick: &Tick) {
        let second = tick.now.0.div_euclid(1_000_000);
        if second == self.swept_s {
            return;
        }
        self.swept_s = second;
        let group = second.rem_euclid(KEY_GROUPS as i64) as usize;
        self.groups.retain(group, |kept| !kept.driver.forget(tick.now));
    }
}

/// Puts a wake into the heap unless an earlier one stands there already.
fn schedule(wakes: &mut BinaryHeap<Reverse<(Micros, Key)>>, key: Key, kept: &mut Kept) {
    let Some(wake_at) = kept.driver.wake_at else { return };
    if kept.scheduled.is_none_or(|scheduled| wake_at < scheduled) {
        kept.scheduled = Some(wake_at);
        wakes.push(Reverse((wake_at, key)));
    }
}

/// Takes what the rules of a driver find.
struct StageOutlet<'a> {
    silent: bool,
    now: Micros,
    writer: &'a mut PositionWriter,
    positions: &'a Positions,
    count: &'a mut Count,
    out: &'a mut DriversOut,
}

impl Outlet for StageOutlet<'_> {
    fn position(&mut self, position: &PositionOut<'_>) {
        self.count.positions += 1;
        match self.positions {
            Positions::Counted => {
                let place = position.smoothed.point;
                let mixed = (place.lat.to_bits() ^ place.lon.to_bits().rotate_left(17))
                    .wrapping_add(position.measured_at.0 as u64)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    ^ position.h3_r9 as u64;
                self.count.checksum =
                    self.count.checksum.wrapping_add(mixed.wrapping_mul(0xff51_afd7_ed55_8ccd));
            }
            Positions::Told(show) if !self.silent => {
                if let Some(show) = show {
                    show.show(position);
                }
                self.out.outputs.push(self.writer.write(position, self.now));
            }
            Positions::Told(_) => {}
        }
    }

    fn candidate(&mut self, candidate: Candidate) {
        self.out.candidates.push(candidate);
    }

    fn trip(&mut self, trip: TripOut) {
        if !self.silent && matches!(self.positions, Positions::Told(_)) {
            self.out.outputs.push(encode::trip(&trip, self.now));
        }
    }
}
