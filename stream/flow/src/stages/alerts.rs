//! Lets alerts through for all orders of this worker's key groups.
//!
//! In:    what drivers' positions prove in an epoch, and which orders opened or closed.
//! Out:   tracking events.
//! Keeps: one `Told` a key, forgotten 30 days after its last change.

use super::groups::KeyGroups;
use super::{Output, encode, guarded};
use crate::rules::alerts::Told;
use crate::rules::orders::Note;
use crate::rules::{Candidate, KEY_GROUPS, Tick, key_of};

const FORGET_S: i64 = 30 * 86_400;

/// All orders' alerts of one worker.
#[derive(Debug, Default)]
pub struct AlertsStage {
    /// State by order.
    pub groups: KeyGroups<Told>,
    swept_s: i64,
}

impl AlertsStage {
    /// Applies one epoch: what became of the orders and what was seen, as it came.
    pub fn run(
        &mut self,
        tick: &Tick,
        notes: &mut Vec<Note>,
        candidates: &mut Vec<Candidate>,
        silent: bool,
        outputs: &mut Vec<Output>,
    ) {
        self.sweep(tick);
        notes.sort_by_key(|note| note.origin);
        let mut notes = notes.drain(..).peekable();
        // A driver's own order of telling is kept: the sort is stable and a driver is one sender.
        candidates.sort_by(|a, b| (a.origin, &a.driver).cmp(&(b.origin, &b.driver)));
        for candidate in candidates.drain(..) {
            // A leg that opens is judged at once: its own note comes first.
            while let Some(note) = notes.next_if(|note| note.origin <= candidate.origin) {
                self.groups.entry(key_of(&note.order), Told::default).note(&note, tick.now);
            }
            let told = self.groups.entry(key_of(&candidate.order), Told::default);
            let admitted = guarded(|| told.admits(&candidate, tick.now)).unwrap_or(false);
            if admitted && !silent {
                outputs.push(encode::alert(&candidate, tick.now));
            }
        }
        for note in notes {
            self.groups.entry(key_of(&note.order), Told::default).note(&note, tick.now);
        }
    }

    fn sweep(&mut self, tick: &Tick) {
        let second = tick.now.0.div_euclid(1_000_000);
        if second == self.swept_s {
            return;
        }
        self.swept_s = second;
        let group = second.rem_euclid(KEY_GROUPS as i64) as usize;
        self.groups.retain(group, |told| told.changed_at.plus_secs(FORGET_S) > tick.now);
    }
}
