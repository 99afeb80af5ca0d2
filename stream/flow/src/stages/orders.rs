//! Follows all orders of this worker's key groups.
//!
//! In:    an epoch's order events.
//! Out:   commands to drivers, notes to alerts, echoes for watchers.
//! Keeps: one `Order` a key, forgotten 7 days after a final state, 30 days after its last change.

use inzira_schemas::wire;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::groups::KeyGroups;
use super::{Item, Output, encode, guarded};
use crate::rules::join::Command;
use crate::rules::orders::{Changes, Note, Order};
use crate::rules::{KEY_GROUPS, Tick, key_of};

const FORGET_S: i64 = 30 * 86_400;

/// All orders of one worker.
#[derive(Debug, Default)]
pub struct OrdersStage {
    /// State by order.
    pub groups: KeyGroups<Kept>,
    swept_s: i64,
}

/// An order with the moment it was last touched.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    order: Order,
    touched_s: i64,
}

/// What an epoch of orders leads to.
#[derive(Debug, Default)]
pub struct OrdersOut {
    /// To drivers.
    pub commands: Vec<Command>,
    /// To alerts.
    pub notes: Vec<Note>,
    /// To the log.
    pub outputs: Vec<Output>,
}

impl OrdersStage {
    /// Applies one epoch.
    pub fn run(&mut self, tick: &Tick, items: &mut Vec<Item>, silent: bool, out: &mut OrdersOut) {
        self.sweep(tick);
        items.sort_by_key(|item| item.origin);
        for item in items.drain(..) {
            match self.one(&item, tick) {
                Ok(changes) => {
                    out.commands.extend(changes.commands);
                    out.notes.extend(changes.note);
                    if let Some(echo) = changes.echo.filter(|_| !silent) {
                        out.outputs.push(encode::echo(&echo, item.origin, tick.now));
                    }
                }
                Err(reason) if !silent => {
                    let source = item.source();
                    tracing::warn!(source, reason, "an order event was set aside");
                    out.outputs.push(encode::dead_letter(&source, &reason, &item.value, tick.now));
                }
                Err(_) => {}
            }
        }
    }

    fn one(&mut self, item: &Item, tick: &Tick) -> Result<Changes, String> {
        let event = wire::OrderEvent::decode(item.value.clone())
            .map_err(|error| format!("not an order event: {error}"))?;
        if event.order_id.is_empty() || key_of(&event.order_id) != item.key {
            return Err("the key of the record is not its order".to_owned());
        }
        let kept = self.groups.entry(item.key, Kept::default);
        kept.touched_s = tick.now.0 / 1_000_000;
        let before = kept.order.clone();
        guarded(|| kept.order.apply(&event, item.origin)).map_err(|panic| {
            kept.order = before;
            format!("a rule broke: {panic}")
        })
    }

    /// One key group a second, so that forgetting costs nothing at any moment.
    fn sweep(&mut self, tick: &Tick) {
        let second = tick.now.0.div_euclid(1_000_000);
        if second == self.swept_s {
            return;
        }
        self.swept_s = second;
        let group = second.rem_euclid(KEY_GROUPS as i64) as usize;
        self.groups.retain(group, |kept| second - kept.touched_s < FORGET_S);
    }
}
