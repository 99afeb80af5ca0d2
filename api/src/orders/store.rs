//! The orders table: load, add, change.
//!
//! In:    a transaction; for a change, a row that was locked in it.
//! Out:   the row, its history row and its outbox row, together.
//! Never: changes a state outside `change`.

use inzira_schemas::states::OrderState;
use inzira_schemas::{Micros, Point, Problem};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::db::{Db, DbError, Tx};
use crate::error::ApiError;
use crate::orders::{events, machine};
use crate::outbox;

/// One order, as the database has it. Sealed columns stay sealed.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // the columns of the table, one to one
pub struct Order {
    pub order_id: String,
    pub owner_id: String,
    pub version: i64,
    pub kind: String,
    pub state: OrderState,
    pub country: String,
    pub currency: String,
    pub gross_minor: i64,
    pub commission_minor: i64,
    pub tax_minor: i64,
    pub discount_minor: i64,
    pub goods_value_minor: i64,
    pub customer_id: String,
    pub agent_id: Option<String>,
    pub vendor_id: Option<String>,
    pub driver_id: Option<String>,
    pub weight_g: Option<i64>,
    pub goods_class: Option<String>,
    pub origin_country: String,
    pub destination_country: String,
    pub border_post: Option<String>,
    pub pickup_h3_r9: i64,
    pub destination_h3_r9: i64,
    pub pickup_district: String,
    pub destination_district: String,
    pub pickup: Point,
    pub destination: Point,
    pub distance_m: Option<i64>,
    pub tariff: String,
    pub quote_id: Option<String>,
    pub phone_sealed: Vec<u8>,
    pub phone_index: String,
    pub pickup_address_sealed: Option<Vec<u8>>,
    pub destination_address_sealed: Option<Vec<u8>>,
    pub note_sealed: Option<Vec<u8>>,
    pub pin_hash: String,
    pub pin_tries: i64,
    pub pin_locked: i64,
    pub signature_sha256: Option<String>,
    pub match_rounds: i64,
    pub match_started_at: Option<i64>,
    pub next_match_at: Option<i64>,
    pub created_at: i64,
    pub client_created_at: Option<i64>,
    pub updated_at: i64,
    pub paid_at: Option<i64>,
    pub assigned_at: Option<i64>,
    pub picked_up_at: Option<i64>,
    pub delivered_at: Option<i64>,
    pub cancelled_at: Option<i64>,
}

impl Default for Order {
    /// An order that waits for its money, and nothing else yet.
    fn default() -> Self {
        let nowhere = Point { lat: 0.0, lon: 0.0 };
        Self {
            order_id: String::new(),
            owner_id: String::new(),
            version: 1,
            kind: String::new(),
            state: OrderState::PendingPayment,
            country: String::new(),
            currency: String::new(),
            gross_minor: 0,
            commission_minor: 0,
            tax_minor: 0,
            discount_minor: 0,
            goods_value_minor: 0,
            customer_id: String::new(),
            agent_id: None,
            vendor_id: None,
            driver_id: None,
            weight_g: None,
            goods_class: None,
            origin_country: String::new(),
            destination_country: String::new(),
            border_post: None,
            pickup_h3_r9: 0,
            destination_h3_r9: 0,
            pickup_district: String::new(),
            destination_district: String::new(),
            pickup: nowhere,
            destination: nowhere,
            distance_m: None,
            tariff: String::new(),
            quote_id: None,
            phone_sealed: Vec::new(),
            phone_index: String::new(),
            pickup_address_sealed: None,
            destination_address_sealed: None,
            note_sealed: None,
            pin_hash: String::new(),
            pin_tries: 0,
            pin_locked: 0,
            signature_sha256: None,
            match_rounds: 0,
            match_started_at: None,
            next_match_at: None,
            created_at: 0,
            client_created_at: None,
            updated_at: 0,
            paid_at: None,
            assigned_at: None,
            picked_up_at: None,
            delivered_at: None,
            cancelled_at: None,
        }
    }
}

macro_rules! columns {
    () => {
        "order_id, owner_id, version, kind, state, country, currency, gross_minor, \
         commission_minor, tax_minor, discount_minor, goods_value_minor, customer_id, agent_id, \
         vendor_id, driver_id, weight_g, goods_class, origin_country, destination_country, \
         border_post, pickup_h3_r9, destination_h3_r9, pickup_district, destination_district, \
         pickup_lat, pickup_lon, destination_lat, destination_lon, distance_m, tariff, quote_id, \
         phone_sealed, phone_index, pickup_address_sealed, destination_address_sealed, \
         note_sealed, pin_hash, pin_tries, pin_locked, signature_sha256, match_rounds, \
         match_started_at, next_match_at, created_at, client_created_at, updated_at, paid_at, \
         assigned_at, picked_up_at, delivered_at, cancelled_at"
    };
}

/// `SELECT` of every column, to be followed by a `WHERE`.
pub const SELECT: &str = concat!("SELECT ", columns!(), " FROM orders");
const SELECT_BY_ID: &str = concat!("SELECT ", columns!(), " FROM orders WHERE order_id = $1");

impl Order {
    /// Reads a row of `SELECT`.
    pub fn of(row: &AnyRow) -> Result<Order, ApiError> {
        let order_id: String = row.try_get("order_id")?;
        let state: String = row.try_get("state")?;
        let state = OrderState::parse(&state).ok_or_else(|| DbError::Damaged {
            table: "orders",
            row: order_id.clone(),
            what: "an unknown state".to_owned(),
        })?;
        Ok(Order {
            order_id,
            owner_id: row.try_get("owner_id")?,
            version: row.try_get("version")?,
            kind: row.try_get("kind")?,
            state,
            country: row.try_get("country")?,
            currency: row.try_get("currency")?,
            gross_minor: row.try_get("gross_minor")?,
            commission_minor: row.try_get("commission_minor")?,
            tax_minor: row.try_get("tax_minor")?,
            discount_minor: row.try_get("discount_minor")?,
            goods_value_minor: row.try_get("goods_value_minor")?,
            customer_id: row.try_get("customer_id")?,
            agent_id: row.try_get("agent_id")?,
            vendor_id: row.try_get("vendor_id")?,
            driver_id: row.try_get("driver_id")?,
            weight_g: row.try_get("weight_g")?,
            goods_class: row.try_get("goods_class")?,
            origin_country: row.try_get("origin_country")?,
            destination_country: row.try_get("destination_country")?,
            border_post: row.try_get("border_post")?,
            pickup_h3_r9: row.try_get("pickup_h3_r9")?,
            destination_h3_r9: row.try_get("destination_h3_r9")?,
            pickup_district: row.try_get("pickup_district")?,
            destination_district: row.try_get("destination_district")?,
            pickup: Point { lat: row.try_get("pickup_lat")?, lon: row.try_get("pickup_lon")? },
            destination: Point {
                lat: row.try_get("destination_lat")?,
                lon: row.try_get("destination_lon")?,
            },
            distance_m: row.try_get("distance_m")?,
            tariff: row.try_get("tariff")?,
            quote_id: row.try_get("quote_id")?,
            phone_sealed: row.try_get("phone_sealed")?,
            phone_index: row.try_get("phone_index")?,
            pickup_address_sealed: row.try_get("pickup_address_sealed")?,
            destination_address_sealed: row.try_get("destination_address_sealed")?,
            note_sealed: row.try_get("note_sealed")?,
            pin_hash: row.try_get("pin_hash")?,
            pin_tries: row.try_get("pin_tries")?,
            pin_locked: row.try_get("pin_locked")?,
            signature_sha256: row.try_get("signature_sha256")?,
            match_rounds: row.try_get("match_rounds")?,
            match_started_at: row.try_get("match_started_at")?,
            next_match_at: row.try_get("next_match_at")?,
            created_at: row.try_get("created_at")?,
            client_created_at: row.try_get("client_created_at")?,
            updated_at: row.try_get("updated_at")?,
            paid_at: row.try_get("paid_at")?,
            assigned_at: row.try_get("assigned_at")?,
            picked_up_at: row.try_get("picked_up_at")?,
            delivered_at: row.try_get("delivered_at")?,
            cancelled_at: row.try_get("cancelled_at")?,
        })
    }
}

/// The order, without a lock.
pub async fn read(db: &Db, order_id: &str) -> Result<Option<Order>, ApiError> {
    let row = sqlx::query(SELECT_BY_ID).bind(order_id).fetch_optional(db.read()).await?;
    row.map(|row| Order::of(&row)).transpose()
}

/// The order, locked until the transaction ends.
pub async fn lock(tx: &mut Tx, order_id: &str) -> Result<Option<Order>, ApiError> {
    let select = tx.locking(SELECT_BY_ID);
    let row = sqlx::query(select).bind(order_id).fetch_optional(tx.conn()).await?;
    row.map(|row| Order::of(&row)).transpose()
}

/// Adds a new order with its first history row and event. False when the id is taken.
pub async fn add(tx: &mut Tx, order: &Order, occurred_at: Micros) -> Result<bool, ApiError> {
    let added = bind_all(
        sqlx::query(concat!(
            "INSERT INTO orders (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
         $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, \
         $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, \
         $52) ON CONFLICT (order_id) DO NOTHING"
        )),
        order,
    )
    .execute(tx.conn())
    .await?;
    if added.rows_affected() == 0 {
        return Ok(false);
    }
    let step = Step { previous: None, previous_driver_id: None, reason: "", occurred_at };
    record(tx, order, &step).await?;
    Ok(true)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments>;

fn bind_all<'q>(query: Query<'q>, order: &Order) -> Query<'q> {
    let o = order.clone();
    query
        .bind(o.order_id)
        .bind(o.owner_id)
        .bind(o.version)
        .bind(o.kind)
        .bind(o.state.as_str())
        .bind(o.country)
        .bind(o.currency)
        .bind(o.gross_minor)
        .bind(o.commission_minor)
        .bind(o.tax_minor)
        .bind(o.discount_minor)
        .bind(o.goods_value_minor)
        .bind(o.customer_id)
        .bind(o.agent_id)
        .bind(o.vendor_id)
        .bind(o.driver_id)
        .bind(o.weight_g)
        .bind(o.goods_class)
        .bind(o.origin_country)
        .bind(o.destination_country)
        .bind(o.border_post)
        .bind(o.pickup_h3_r9)
        .bind(o.destination_h3_r9)
        .bind(o.pickup_district)
        .bind(o.destination_district)
        .bind(o.pickup.lat)
        .bind(o.pickup.lon)
        .bind(o.destination.lat)
        .bind(o.destination.lon)
        .bind(o.distance_m)
        .bind(o.tariff)
        .bind(o.quote_id)
        .bind(o.phone_sealed)
        .bind(o.phone_index)
        .bind(o.pickup_address_sealed)
        .bind(o.destination_address_sealed)
        .bind(o.note_sealed)
        .bind(o.pin_hash)
        .bind(o.pin_tries)
        .bind(o.pin_locked)
        .bind(o.signature_sha256)
        .bind(o.match_rounds)
        .bind(o.match_started_at)
        .bind(o.next_match_at)
        .bind(o.created_at)
        .bind(o.client_created_at)
        .bind(o.updated_at)
        .bind(o.paid_at)
        .bind(o.assigned_at)
        .bind(o.picked_up_at)
        .bind(o.delivered_at)
        .bind(o.cancelled_at)
}

/// A change of state that is asked for.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// The state wished for.
    pub to: OrderState,
    /// Who carries it from now on.
    pub driver_id: Option<String>,
    /// Why, in a word or two.
    pub reason: &'a str,
    /// When it happened.
    pub at: Micros,
}

/// Steps a locked order: row, history and outbox in this transaction. 409 when the machine knows
/// no such step.
pub async fn change(tx: &mut Tx, order: &mut Order, change: Change<'_>) -> Result<(), ApiError> {
    if !machine::may_follow(order.state, change.to) {
        let detail = format!("an order that is {} cannot become {}", order.state, change.to);
        return Err(Problem::conflict("order_state", detail).into());
    }
    let step = Step {
        previous: Some(order.state),
        previous_driver_id: order
            .driver_id
            .clone()
            .filter(|old| change.driver_id.as_ref() != Some(old)),
        reason: change.reason,
        occurred_at: change.at,
    };
    let at = Some(change.at.0);
    order.version += 1;
    order.state = change.to;
    order.driver_id = change.driver_id;
    order.updated_at = change.at.0;
    match change.to {
        OrderState::Confirmed => {
            order.paid_at = order.paid_at.or(at);
            order.match_started_at = at;
            order.next_match_at = at;
            order.match_rounds = 0;
        }
        OrderState::Assigned => order.assigned_at = at,
        OrderState::PickedUp => order.picked_up_at = at,
        OrderState::Delivered => order.delivered_at = at,
        OrderState::Cancelled => order.cancelled_at = at,
        OrderState::PendingPayment | OrderState::ConfirmedNoDriver | OrderState::PaymentFailed => {}
    }
    if change.to != OrderState::Confirmed {
        order.next_match_at = None;
    }
    write(tx, order).await?;
    record(tx, order, &step).await
}

async fn write(tx: &mut Tx, order: &Order) -> Result<(), ApiError> {
    let written = sqlx::query(
        "UPDATE orders SET version = $2, state = $3, driver_id = $4, updated_at = $5, \
         paid_at = $6, assigned_at = $7, picked_up_at = $8, delivered_at = $9, \
         cancelled_at = $10, match_rounds = $11, match_started_at = $12, next_match_at = $13, \
         signature_sha256 = $14 WHERE order_id = $1 AND version = $2 - 1",
    )
    .bind(order.order_id.clone())
    .bind(order.version)
    .bind(order.state.as_str())
    .bind(order.driver_id.clone())
    .bind(order.updated_at)
    .bind(order.paid_at)
    .bind(order.assigned_at)
    .bind(order.picked_up_at)
    .bind(order.delivered_at)
    .bind(order.cancelled_at)
    .bind(order.match_rounds)
    .bind(order.match_started_at)
    .bind(order.next_match_at)
    .bind(order.signature_sha256.clone())
    .execute(tx.conn())
    .await?;
    if written.rows_affected() != 1 {
        return Err(
            Problem::conflict("order_changed", "the order has just changed; look again").into()
        );
    }
    Ok(())
}

/// What changed, for history and event.
#[derive(Debug)]
pub struct Step<'a> {
    /// The state before.
    pub previous: Option<OrderState>,
    /// Who carried it before, when that changed.
    pub previous_driver_id: Option<String>,
    /// Why.
    pub reason: &'a str,
    /// When it happened.
    pub occurred_at: Micros,
}

async fn record(tx: &mut Tx, order: &Order, step: &Step<'_>) -> Result<(), ApiError> {
    let actor = tx.actor().clone();
    sqlx::query(
        "INSERT INTO order_history (order_id, version, previous_state, state, driver_id, \
         previous_driver_id, actor_role, actor_id, reason, occurred_at, recorded_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(order.order_id.clone())
    .bind(order.version)
    .bind(step.previous.map(OrderState::as_str))
    .bind(order.state.as_str())
    .bind(order.driver_id.clone())
    .bind(step.previous_driver_id.clone())
    .bind(actor.role.clone())
    .bind(actor.id.clone())
    .bind(step.reason)
    .bind(step.occurred_at.0)
    .bind(order.updated_at)
    .execute(tx.conn())
    .await?;
    outbox::put(tx, "order", &events::of(order, step, &actor)).await
}
