//! The same rules on one thread: what the engine must agree with.
//!
//! In:    the epochs as they were cut, with their ticks.
//! Out:   the records that the engine must have committed.
//! Keeps: all state in one place, no exchange, no concurrency.

use crate::rules::Tick;
use crate::stages::alerts::AlertsStage;
use crate::stages::drivers::{DriversOut, DriversStage, Positions};
use crate::stages::orders::{OrdersOut, OrdersStage};
use crate::stages::{Item, ORDERS, Output};

/// The flow without its engine.
pub struct Oracle {
    orders: OrdersStage,
    drivers: DriversStage,
    alerts: AlertsStage,
}

impl Default for Oracle {
    fn default() -> Self {
        Self {
            orders: OrdersStage::default(),
            drivers: DriversStage::new(Positions::Told(None)),
            alerts: AlertsStage::default(),
        }
    }
}

impl Oracle {
    /// Applies one epoch and gives its outputs.
    pub fn epoch(&mut self, tick: &Tick, items: Vec<Item>) -> Vec<Output> {
        let (mut orders, mut fixes): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| item.class() == ORDERS);
        let mut from_orders = OrdersOut::default();
        self.orders.run(tick, &mut orders, false, &mut from_orders);
        let mut from_drivers = DriversOut::default();
        self.drivers.run(tick, &mut from_orders.commands, &mut fixes, false, &mut from_drivers);
        let mut outputs = from_orders.outputs;
        outputs.append(&mut from_drivers.outputs);
        self.alerts.run(
            tick,
            &mut from_orders.notes,
            &mut from_drivers.candidates,
            false,
            &mut outputs,
        );
        outputs
    }
}
