//! An order's change as the log tells it.
//!
//! In:    the row after the change, and the step.
//! Out:   an `OrderEvent` with every column of `order_events`.
//! Never: a name, phone, plate, address or note.

use inzira_schemas::wire::{Envelope, OrderEvent};
use inzira_schemas::{EVENT_SCHEMA, event_id};

use crate::db::Actor;
use crate::orders::store::{Order, Step};

/// The event of a step.
pub fn of(order: &Order, step: &Step<'_>, actor: &Actor) -> OrderEvent {
    let version = u32::try_from(order.version).unwrap_or(u32::MAX);
    OrderEvent {
        envelope: Some(Envelope {
            event_id: event_id(&[
                b"order",
                order.order_id.as_bytes(),
                order.version.to_string().as_bytes(),
            ]),
            event_type: format!("order.{}", order.state),
            schema: EVENT_SCHEMA,
            occurred_at_us: step.occurred_at.0,
            recorded_at_us: order.updated_at,
            actor_role: actor.role.clone(),
            actor_id: actor.id.clone(),
            reason: step.reason.to_owned(),
            traceparent: String::new(),
        }),
        order_id: order.order_id.clone(),
        kind: order.kind.clone(),
        state: order.state.to_string(),
        country: order.country.clone(),
        currency: order.currency.clone(),
        gross_minor: order.gross_minor,
        commission_minor: order.commission_minor,
        tax_minor: order.tax_minor,
        discount_minor: order.discount_minor,
        customer_id: order.customer_id.clone(),
        agent_id: order.agent_id.clone().unwrap_or_default(),
        vendor_id: order.vendor_id.clone().unwrap_or_default(),
        driver_id: order.driver_id.clone().unwrap_or_default(),
        weight_g: order.weight_g,
        goods_class: order.goods_class.clone().unwrap_or_default(),
        origin_country: order.origin_country.clone(),
        destination_country: order.destination_country.clone(),
        border_post: order.border_post.clone().unwrap_or_default(),
        pickup_h3_r9: order.pickup_h3_r9,
        destination_h3_r9: order.destination_h3_r9,
        pickup_district: order.pickup_district.clone(),
        destination_district: order.destination_district.clone(),
        created_at_us: order.created_at,
        version,
        pickup_lat: order.pickup.lat,
        pickup_lon: order.pickup.lon,
        destination_lat: order.destination.lat,
        destination_lon: order.destination.lon,
        previous_driver_id: step.previous_driver_id.clone().unwrap_or_default(),
    }
}
