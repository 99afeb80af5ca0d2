//! Knows which orders a driver is on.
//!
//! In:    what the order rule says of each order: a leg opened, or the order left this driver.
//! Out:   the legs open now, or at some moment of the past.
//! Keeps: open legs, and closed ones for 72 hours, at most 32, so that late fixes find theirs.

use inzira_schemas::{Micros, Point};
use serde::{Deserialize, Serialize};

use super::arriving::Approach;
use super::{LegName, Origin};

const LEGS_MAX: usize = 32;

/// What an order asks of one driver's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// The driver's id.
    pub driver: Box<str>,
    /// The order's id.
    pub order: Box<str>,
    /// When the order changed, by its own event.
    pub at: Micros,
    /// What to do.
    pub does: CommandKind,
    /// For canonical order.
    pub origin: Origin,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CommandKind {
    /// Opens a leg; any other open leg of the same order closes.
    Open {
        /// Which.
        leg: LegName,
        /// Where it leads, when known.
        target: Option<Point>,
    },
    /// Closes every leg of the order: delivered, cancelled, or gone to another driver.
    Close,
}

/// One leg of one order that this driver is or was on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// The order.
    pub order: Box<str>,
    /// Which leg.
    pub name: LegName,
    /// Where it leads.
    pub target: Option<Point>,
    /// Since when, by the order's event.
    pub opened_at: Micros,
    /// Until when.
    pub closed_at: Option<Micros>,
    /// How near the vehicle has come.
    pub approach: Approach,
}

impl Leg {
    /// Whether the leg was open at this moment.
    pub fn covers(&self, at: Micros) -> bool {
        self.opened_at <= at && self.closed_at.is_none_or(|closed_at| at <= closed_at)
    }
}

/// All legs of one driver, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Legs(pub Vec<Leg>);

impl Legs {
    /// Does what the order asks. True when a leg was opened.
    pub fn apply(&mut self, command: &Command) -> bool {
        match &command.does {
            CommandKind::Close => {
                self.close(&command.order, command.at);
                false
            }
            CommandKind::Open { leg, target } => {
                let same = |open: &Leg| {
                    open.order == command.order && open.name == *leg && open.closed_at.is_none()
                };
                if self.0.iter().any(same) {
                    return false;
                }
                self.close(&command.order, command.at);
                self.0.push(Leg {
                    order: command.order.clone(),
                    name: *leg,
                    target: *target,
                    opened_at: command.at,
                    closed_at: None,
                    approach: Approach::default(),
                });
                self.trim();
                true
            }
        }
    }

    /// The legs that are open now, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Leg> {
        self.0.iter().filter(|leg| leg.closed_at.is_none())
    }

    /// The leg that a fix of this moment belongs to, open or closed.
    pub fn at(&self, moment: Micros) -> Option<&Leg> {
        self.0.iter().find(|leg| leg.covers(moment))
    }

    /// Forgets legs that closed before `oldest`.
    pub fn forget(&mut self, oldest: Micros) {
        self.0.retain(|leg| leg.closed_at.is_none_or(|closed_at| closed_at >= oldest));
    }

    fn close(&mut self, order: &str, at: Micros) {
        for leg in &mut self.0 {
            if &*leg.order == order && leg.closed_at.is_none() {
                leg.closed_at = Some(at);
            }
        }
    }

    /// The oldest closed leg goes first; open ones stay.
    fn trim(&mut self) {
        while self.0.len() > LEGS_MAX {
            match self.0.iter().position(|leg| leg.closed_at.is_some()) {
                Some(index) => drop(self.0.remove(index)),
                None => return,
            }
        }
    }
}
