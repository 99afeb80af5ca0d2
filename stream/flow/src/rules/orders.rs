//! Follows one order and says which driver is on which leg of it.
//!
//! In:    the order's events, in their order; repeats are known by the version.
//! Out:   commands to drivers, echoes for watchers, and whether the order has closed.
//! Keeps: the order's state, driver and targets; the numbers of its legs.
//! Never: reads a clock; takes an older version over a newer one.

use inzira_schemas::states::{OrderState, TrackingKind};
use inzira_schemas::{Micros, Point, cell, wire};
use serde::{Deserialize, Serialize};

use super::join::{Command, CommandKind};
use super::{LegKind, LegName, Origin};

/// Two targets nearer than this are one, metres.
const SAME_PLACE_M: f64 = 1.0;

/// What is known of one order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    version: u32,
    state: Option<OrderState>,
    driver: Box<str>,
    open: Option<(LegName, Option<Point>)>,
    pickup_number: u8,
    delivery_number: u8,
    /// When it last changed, by its own event.
    pub changed_at: Micros,
}

/// Something that watchers of the order are told in the tracking stream too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Echo {
    /// ASSIGNED, PICKED_UP, DELIVERED or CANCELLED.
    pub kind: TrackingKind,
    /// The order.
    pub order: Box<str>,
    /// The driver, empty for none.
    pub driver: Box<str>,
    /// When, by the order's event.
    pub at: Micros,
    /// The order's version: a second ASSIGNED is another event.
    pub version: u32,
    /// Who did it.
    pub actor_role: Box<str>,
    /// Who did it.
    pub actor_id: Box<str>,
    /// Why.
    pub reason: Box<str>,
    /// Where it happened, as far as the order knows.
    pub point: Option<Point>,
}

/// What the alerts of an order must know: whether it is still open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// The order.
    pub order: Box<str>,
    /// Delivered, cancelled, or failed.
    pub closed: bool,
    /// When.
    pub at: Micros,
    /// For canonical order.
    pub origin: Origin,
}

/// What one order event leads to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// To the drivers.
    pub commands: Vec<Command>,
    /// To the watchers.
    pub echo: Option<Echo>,
    /// To the alerts.
    pub note: Option<Note>,
    /// Nothing more will be shown of this order.
    pub closed: bool,
}

impl Order {
    /// Takes in one event.
    pub fn apply(&mut self, event: &wire::OrderEvent, origin: Origin) -> Changes {
        let repeated = event.version != 0 && event.version <= self.version;
        let Some(state) = OrderState::parse(&event.state).filter(|_| !repeated) else {
            return Changes::default();
        };
        let at = Micros(event.envelope.as_ref().map_or(0, |envelope| envelope.occurred_at_us));
        let mut changes = Changes::default();
        self.leave_drivers(event, state, (at, origin), &mut changes);
        if state.is_tracked() && !event.driver_id.is_empty() {
            self.open_leg(event, state, (at, origin), &mut changes);
        } else {
            self.open = None;
        }
        changes.echo = self.echo(event, state, at);
        changes.closed = state.is_final() && !self.state.is_some_and(OrderState::is_final);
        changes.note = Some(Note {
            order: event.order_id.as_str().into(),
            closed: state.is_final(),
            at,
            origin,
        });
        self.state = Some(state);
        self.version = self.version.max(event.version);
        self.driver = event.driver_id.as_str().into();
        self.changed_at = at;
        changes
    }

    /// Takes the order from every driver who is no longer on it.
    fn leave_drivers(
        &self,
        event: &wire::OrderEvent,
        state: OrderState,
        (at, origin): (Micros, Origin),
        changes: &mut Changes,
    ) {
        let stays = state.is_tracked().then_some(event.driver_id.as_str());
        let mut leaving: Vec<&str> = vec![&self.driver, &event.previous_driver_id];
        if !state.is_tracked() {
            leaving.push(&event.driver_id);
        }
        leaving.sort_unstable();
        leaving.dedup();
        for driver in leaving {
            if !driver.is_empty() && Some(driver) != stays {
                changes.commands.push(Command {
                    driver: driver.into(),
                    order: event.order_id.as_str().into(),
                    at,
                    does: CommandKind::Close,
                    origin,
                });
            }
        }
    }

    fn open_leg(
        &mut self,
        event: &wire::OrderEvent,
        state: OrderState,
        (at, origin): (Micros, Origin),
        changes: &mut Changes,
    ) {
        let kind = if state == OrderState::PickedUp { LegKind::Delivery } else { LegKind::Pickup };
        let target = target_of(event, kind);
        let number = match kind {
            LegKind::Pickup => &mut self.pickup_number,
            LegKind::Delivery => &mut self.delivery_number,
        };
        *number = (*number).max(1);
        if let Some((open, old)) = self.open
            && open.kind == kind
            && !same_place(old, target)
        {
            *number = number.saturating_add(1);
        }
        let leg = LegName { kind, number: *number };
        self.open = Some((leg, target));
        changes.commands.push(Command {
            driver: event.driver_id.as_str().into(),
            order: event.order_id.as_str().into(),
            at,
            does: CommandKind::Open { leg, target },
            origin,
        });
    }

    fn echo(&self, event: &wire::OrderEvent, state: OrderState, at: Micros) -> Option<Echo> {
        let again = self.state == Some(state);
        let kind = match state {
            OrderState::Assigned if !again || *self.driver != *event.driver_id => {
                TrackingKind::Assigned
            }
            OrderState::PickedUp if !again => TrackingKind::PickedUp,
            OrderState::Delivered if !again => TrackingKind::Delivered,
            OrderState::Cancelled if !again => TrackingKind::Cancelled,
            _ => return None,
        };
        let point = match kind {
            TrackingKind::PickedUp => target_of(event, LegKind::Pickup),
            TrackingKind::Delivered => target_of(event, LegKind::Delivery),
            _ => None,
        };
        let envelope = event.envelope.clone().unwrap_or_default();
        Some(Echo {
            kind,
            order: event.order_id.as_str().into(),
            driver: event.driver_id.as_str().into(),
            at,
            version: event.version,
            actor_role: envelope.actor_role.into(),
            actor_id: envelope.actor_id.into(),
            reason: envelope.reason.into(),
            point,
        })
    }
}

/// Where a leg leads: the exact point, else the centre of its cell, else unknown.
fn target_of(event: &wire::OrderEvent, kind: LegKind) -> Option<Point> {
    let (lat, lon, h3_r9) = match kind {
        LegKind::Pickup => (event.pickup_lat, event.pickup_lon, event.pickup_h3_r9),
        LegKind::Delivery => {
            (event.destination_lat, event.destination_lon, event.destination_h3_r9)
        }
    };
    let exact = (lat != 0.0 || lon != 0.0).then(|| Point::new(lat, lon)).flatten();
    exact.or_else(|| cell::centre(h3_r9))
}

fn same_place(a: Option<Point>, b: Option<Point>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.distance_m(b) <= SAME_PLACE_M,
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(version: u32, state: &str, driver: &str) -> wire::OrderEvent {
        wire::OrderEvent {
            envelope: Some(wire::Envelope {
                occurred_at_us: i64::from(version) * 1_000_000,
                ..Default::default()
            }),
            order_id: "ord_abcd".to_owned(),
            state: state.to_owned(),
            driver_id: driver.to_owned(),
            version,
            pickup_lat: -1.94,
            pickup_lon: 30.05,
            destination_lat: -1.95,
            destination_lon: 30.06,
            ..Default::default()
        }
    }

    fn opened(changes: &Changes) -> Vec<(String, String)> {
        changes
            .commands
            .iter()
            .filter_map(|command| match &command.does {
                CommandKind::Open { leg, .. } => {
                    Some((command.driver.to_string(), leg.to_string()))
                }
                CommandKind::Close => None,
            })
            .collect()
    }

    fn closed(changes: &Changes) -> Vec<&str> {
        changes
            .commands
            .iter()
            .filter(|command| command.does == CommandKind::Close)
            .map(|command| &*command.driver)
            .collect()
    }

    #[test]
    fn an_order_goes_from_pickup_to_delivery_and_closes() {
        let mut order = Order::default();
        assert_eq!(order.apply(&event(1, "confirmed", ""), Origin::default()).commands, []);
        let assigned = order.apply(&event(2, "assigned", "drv_a"), Origin::default());
        assert_eq!(opened(&assigned), [("drv_a".to_owned(), "pickup".to_owned())]);
        assert_eq!(assigned.echo.unwrap().kind, TrackingKind::Assigned);
        let picked_up = order.apply(&event(3, "picked_up", "drv_a"), Origin::default());
        assert_eq!(opened(&picked_up), [("drv_a".to_owned(), "delivery".to_owned())]);
        let delivered = order.apply(&event(4, "delivered", "drv_a"), Origin::default());
        assert_eq!((closed(&delivered), delivered.closed), (vec!["drv_a"], true));
        assert_eq!(delivered.echo.unwrap().kind, TrackingKind::Delivered);
    }

    #[test]
    fn a_repeated_or_older_event_changes_nothing() {
        let mut order = Order::default();
        order.apply(&event(2, "assigned", "drv_a"), Origin::default());
        order.apply(&event(4, "delivered", "drv_a"), Origin::default());
        assert_eq!(
            order.apply(&event(2, "assigned", "drv_a"), Origin::default()),
            Changes::default()
        );
        assert_eq!(
            order.apply(&event(4, "delivered", "drv_a"), Origin::default()),
            Changes::default()
        );
    }

    #[test]
    fn a_reassigned_order_leaves_the_driver_before() {
        let mut order = Order::default();
        order.apply(&event(2, "assigned", "drv_a"), Origin::default());
        let again = order.apply(
            &wire::OrderEvent {
                previous_driver_id: "drv_a".to_owned(),
                ..event(3, "assigned", "drv_b")
            },
            Origin::default(),
        );
        assert_eq!(
            (closed(&again), opened(&again)),
            (vec!["drv_a"], vec![("drv_b".to_owned(), "pickup".to_owned())])
        );
        assert_eq!(again.echo.unwrap().kind, TrackingKind::Assigned);
        let back = order.apply(
            &wire::OrderEvent {
                previous_driver_id: "drv_b".to_owned(),
                ..event(4, "confirmed", "")
            },
            Origin::default(),
        );
        assert_eq!(closed(&back), ["drv_b"]);
    }

    #[test]
    fn a_changed_destination_is_a_new_leg() {
        let mut order = Order::default();
        order.apply(&event(1, "picked_up", "drv_a"), Origin::default());
        let changed = wire::OrderEvent { destination_lat: -1.99, ..event(2, "picked_up", "drv_a") };
        let changed = order.apply(&changed, Origin::default());
        assert_eq!(opened(&changed), [("drv_a".to_owned(), "delivery#2".to_owned())]);
        assert_eq!(changed.echo, None);
    }

    #[test]
    fn a_destination_changed_before_pickup_is_still_the_first_delivery_leg() {
        let mut order = Order::default();
        order.apply(&event(1, "assigned", "drv_a"), Origin::default());
        let changed = wire::OrderEvent { destination_lat: -1.99, ..event(2, "assigned", "drv_a") };
        assert_eq!(
            opened(&order.apply(&changed, Origin::default())),
            [("drv_a".to_owned(), "pickup".to_owned())]
        );
        let picked_up =
            wire::OrderEvent { destination_lat: -1.99, ..event(3, "picked_up", "drv_a") };
        assert_eq!(
            opened(&order.apply(&picked_up, Origin::default())),
            [("drv_a".to_owned(), "delivery".to_owned())]
        );
    }

    #[test]
    fn a_state_that_is_newer_than_we_are_is_passed_over() {
        assert_eq!(
            Order::default().apply(&event(1, "teleported", "drv_a"), Origin::default()),
            Changes::default()
        );
    }
}
