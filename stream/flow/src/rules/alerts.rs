//! Lets each alert of an order through once, whoever drives it.
//!
//! In:    what drivers' positions prove, and whether the order is still open.
//! Out:   the alerts to tell.
//! Keeps: what was told, by leg, until 72 hours after the order closed.
//! Never: tells of what came after an order closed, save for the record (ARRIVED_BACKFILL).

use inzira_schemas::Micros;
use inzira_schemas::states::TrackingKind;
use serde::{Deserialize, Serialize};

use super::orders::Note;
use super::{Candidate, LegName, Origin};

/// What was told of one order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// What closed it, while it is closed.
    closed: Option<Origin>,
    /// When something last happened, for forgetting.
    pub changed_at: Micros,
    once: Vec<(LegName, TrackingKind)>,
}

impl Told {
    /// Takes in that the order is open or closed.
    pub fn note(&mut self, note: &Note, now: Micros) {
        self.closed = note.closed.then_some(note.origin);
        self.changed_at = now;
    }

    /// Whether this is to be told.
    pub fn admits(&mut self, candidate: &Candidate, now: Micros) -> bool {
        self.changed_at = now;
        match candidate.kind {
            TrackingKind::ArrivedBackfill => self.first(candidate),
            // What the log took before the order closed was so, even if we hear of it after.
            TrackingKind::Arriving | TrackingKind::Arrived => {
                self.closed.is_none_or(|closed| candidate.origin < closed) && self.first(candidate)
            }
            _ => self.closed.is_none(),
        }
    }

    fn first(&mut self, candidate: &Candidate) -> bool {
        let what = (candidate.leg, candidate.kind);
        let new = !self.once.contains(&what);
        if new {
            self.once.push(what);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::LegKind;

    const LEG: LegName = LegName { kind: LegKind::Delivery, number: 1 };

    fn candidate(driver: &str, kind: TrackingKind) -> Candidate {
        Candidate {
            order: "ord_abcd".into(),
            driver: driver.into(),
            leg: LEG,
            kind,
            at: Micros(1),
            point: None,
            h3_r9: 0,
            late: false,
            origin: Origin::default(),
        }
    }

    fn note(closed: bool) -> Note {
        Note { order: "ord_abcd".into(), closed, at: Micros(1), origin: Origin::default() }
    }

    #[test]
    fn a_reassigned_order_does_not_fire_twice() {
        let mut told = Told::default();
        assert!(told.admits(&candidate("drv_a", TrackingKind::Arriving), Micros(1)));
        assert!(!told.admits(&candidate("drv_b", TrackingKind::Arriving), Micros(2)));
        let next = LegName { number: 2, ..LEG };
        let changed = Candidate { leg: next, ..candidate("drv_b", TrackingKind::Arriving) };
        assert!(told.admits(&changed, Micros(3)), "a new destination is a new leg");
    }

    #[test]
    fn a_closed_order_is_silent_save_for_the_record() {
        let mut told = Told::default();
        told.note(&note(true), Micros(1));
        assert!(!told.admits(&candidate("drv_a", TrackingKind::Arriving), Micros(1)));
        assert!(!told.admits(&candidate("drv_a", TrackingKind::Offline), Micros(1)));
        assert!(told.admits(&candidate("drv_a", TrackingKind::ArrivedBackfill), Micros(1)));
        assert!(!told.admits(&candidate("drv_a", TrackingKind::ArrivedBackfill), Micros(1)));
    }
}
