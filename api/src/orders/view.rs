//! An order as people see it.
//!
//! In:    a row and who looks.
//! Out:   JSON with the personal columns opened, for its owner, its driver and the desk.
//! Never: shows an order to a stranger: for them there is no such order.

use inzira_schemas::identity::Role;
use inzira_schemas::{Micros, OrderId, Problem};
use serde_json::{Value, json};

use crate::accounts::phone::Phone;
use crate::app::App;
use crate::error::ApiError;
use crate::http::guard::Person;
use crate::orders::pin;
use crate::orders::store::{self, Order};
use crate::secrets::{Keys, SealError};

/// The order, if this person may see it; 404 otherwise, as for one that does not exist.
pub async fn mine(app: &App, person: &Person, order_id: &str) -> Result<Order, ApiError> {
    let known = OrderId::parse(order_id).map_err(|_| Problem::not_found("order"))?;
    let order = store::read(&app.db, known.as_str()).await?;
    order.filter(|order| may_see(person, order)).ok_or_else(|| Problem::not_found("order").into())
}

/// Owner, customer, agent, vendor, its driver, the desk.
pub fn may_see(person: &Person, order: &Order) -> bool {
    let actor = Some(&person.actor_id);
    person.is_desk()
        || order.owner_id == person.user_id
        || order.customer_id == person.actor_id
        || order.agent_id.as_ref() == actor
        || order.vendor_id.as_ref() == actor
        || (person.role == Role::Driver && order.driver_id.as_ref() == actor)
}

/// Whoever asked for it, and the desk: those who may cancel, pay and share.
pub fn may_steer(person: &Person, order: &Order) -> bool {
    may_see(person, order) && order.driver_id.as_ref() != Some(&person.actor_id)
}

/// The number of whom it is for.
pub fn phone(keys: &Keys, order: &Order) -> Result<Phone, ApiError> {
    Phone::parse(&keys.unseal("orders", "phone", &order.order_id, &order.phone_sealed)?)
}

/// The order for somebody who may see it.
pub fn of(keys: &Keys, person: &Person, order: &Order) -> Result<Value, ApiError> {
    let open =
        |column: &'static str, sealed: &Option<Vec<u8>>| -> Result<Option<String>, SealError> {
            let sealed = sealed.as_deref();
            sealed.map(|blob| keys.unseal("orders", column, &order.order_id, blob)).transpose()
        };
    let at = |micros: Option<i64>| micros.map(|micros| Micros(micros).to_rfc3339());
    let pickup_address = open("pickup_address", &order.pickup_address_sealed)?;
    let destination_address = open("destination_address", &order.destination_address_sealed)?;
    let mut value = json!({
        "order_id": order.order_id,
        "version": order.version,
        "kind": order.kind,
        "state": order.state,
        "country": order.country,
        "currency": order.currency,
        "gross_minor": order.gross_minor,
        "discount_minor": order.discount_minor,
        "tax_minor": order.tax_minor,
        "goods_value_minor": order.goods_value_minor,
        "tariff": order.tariff,
        "quote_id": order.quote_id,
        "customer_id": order.customer_id,
        "agent_id": order.agent_id,
        "vendor_id": order.vendor_id,
        "driver_id": order.driver_id,
        "weight_g": order.weight_g,
        "goods_class": order.goods_class,
        "origin_country": order.origin_country,
        "destination_country": order.destination_country,
        "border_post": order.border_post,
        "pickup": {
            "lat": order.pickup.lat, "lon": order.pickup.lon, "address": pickup_address,
            "district": order.pickup_district, "h3_r9": order.pickup_h3_r9.to_string(),
        },
        "destination": {
            "lat": order.destination.lat, "lon": order.destination.lon,
            "address": destination_address,
            "district": order.destination_district, "h3_r9": order.destination_h3_r9.to_string(),
        },
        "distance_m": order.distance_m,
        "phone": phone(keys, order)?.as_str(),
        "note": open("note", &order.note_sealed)?,
        "pin_tries_left": (pin::TRIES_MAX - order.pin_tries).max(0),
        "pin_locked": order.pin_locked != 0,
        "signature_sha256": order.signature_sha256,
        "created_at": at(Some(order.created_at)),
        "client_created_at": at(order.client_created_at),
        "updated_at": at(Some(order.updated_at)),
        "paid_at": at(order.paid_at),
        "assigned_at": at(order.assigned_at),
        "picked_up_at": at(order.picked_up_at),
        "delivered_at": at(order.delivered_at),
        "cancelled_at": at(order.cancelled_at),
    });
    if person.is_desk() {
        value["commission_minor"] = order.commission_minor.into();
        value["match_rounds"] = order.match_rounds.into();
    }
    Ok(value)
}
