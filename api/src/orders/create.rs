//! `POST orders`: from a wish to a row, an attempt to collect, and their events.
//!
//! In:    a checked wish, an idempotency key, whoever asks.
//! Out:   201 with the order, its PIN (shown once, and sent to the receiver), and what the payer
//!        is to do; the first answer again for a repeated key.
//! Never: leaves half of it: key, order, attempt, messages and events commit together.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode};
use inzira_schemas::identity::Role;
use inzira_schemas::{Micros, OrderId, Problem, VendorId, cell};
use serde_json::Value;

use crate::accounts::phone::Phone;
use crate::accounts::users;
use crate::app::App;
use crate::db::Tx;
use crate::error::ApiError;
use crate::http::body::Body;
use crate::http::guard::Person;
use crate::http::idempotency::Attempt;
use crate::messages;
use crate::orders::store::{self, Order};
use crate::orders::tariff::{self, Price};
use crate::orders::wish::{Checked, OrderWish};
use crate::orders::{pin, quotes, view};
use crate::payments::{attempts, routes};

/// How far a client's clock may run ahead of ours, seconds.
const CLIENT_CLOCK_AHEAD_S: i64 = 24 * 3600;

/// `POST orders`.
pub async fn create(
    State(app): State<Arc<App>>,
    person: Person,
    headers: HeaderMap,
    body: Body<OrderWish>,
) -> Result<Response, ApiError> {
    let attempt = Attempt::of(&headers, &person.user_id, "orders", &body.bytes)?;
    let wish = body.value;
    let checked = wish.quote_wish().check(&person)?;
    wish.check_rest()?;
    let phones = phones(&app, &person, &wish).await?;
    let now = app.now();
    let mut tx = app.db.begin(&person.actor()).await?;
    if let Some(before) = attempt.begin(&mut tx, &app.keys, now).await? {
        // The first answer may still be on its way to the disk.
        tx.commit().await?;
        return Ok(replayed(before.status, before.body));
    }
    let (order, pin) = lay(&app, &mut tx, &person, &wish, &checked, &phones, now).await?;
    if !store::add(&mut tx, &order, Micros(order.created_at)).await? {
        let detail = "an order with this id exists; look at it, or take a fresh id";
        return Err(Problem::conflict("order_exists", detail).into());
    }
    messages::to_order(&app, &mut tx, &order, "order.pin", &[&pin], now).await?;
    let mut answer = view::of(&app.keys, &person, &order)?;
    answer["pin"] = pin.into();
    answer["payment"] = Value::Null;
    if wish.pay {
        let payment = attempts::open(&app, &mut tx, &order, &phones.payer, now).await?;
        answer["payment"] = routes::answer(&payment);
    }
    attempt.finish(&mut tx, &app.keys, StatusCode::CREATED.as_u16(), &answer).await?;
    app.commit(tx).await?;
    app.bells.payments.notify_one();
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

fn replayed(status: u16, body: Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}

struct Phones {
    receiver: Phone,
    payer: Phone,
}

async fn phones(app: &App, person: &Person, wish: &OrderWish) -> Result<Phones, ApiError> {
    let receiver = match &wish.phone {
        Some(text) => Phone::parse(text)?,
        None => users::phone_of(&app.db, &app.keys, &person.user_id)
            .await?
            .ok_or_else(|| ApiError::invalid("phone", "whom is the order for?"))?,
    };
    let payer = match &wish.payer_phone {
        Some(text) => Phone::parse(text)?,
        None => receiver.clone(),
    };
    Ok(Phones { receiver, payer })
}

/// The row as it will be written, and its PIN.
async fn lay(
    app: &App,
    tx: &mut Tx,
    person: &Person,
    wish: &OrderWish,
    checked: &Checked,
    phones: &Phones,
    now: Micros,
) -> Result<(Order, String), ApiError> {
    let order_id = match &wish.order_id {
        Some(text) => OrderId::parse(text)
            .map_err(|error| ApiError::invalid("order_id", error.to_string()))?,
        None => OrderId::new(),
    }
    .to_string();
    let client_created_at = wish.client_created_at()?;
    if client_created_at.is_some_and(|at| at > now.plus_secs(CLIENT_CLOCK_AHEAD_S)) {
        return Err(ApiError::invalid("created_at", "created_at lies more than a day ahead"));
    }
    let price = price(tx, person, wish, checked, now).await?;
    let prices = app.config.prices;
    let (pin, pin_hash) = pin::fresh(&app.keys, &order_id);
    let customer_id = match person.role {
        Role::Customer => person.actor_id.clone(),
        _ => users::customer(tx, &app.keys, &phones.receiver, now).await?,
    };
    let seal = |column, text: &Option<String>| {
        app.keys.seal_some("orders", column, &order_id, text.as_deref())
    };
    let order = Order {
        owner_id: person.user_id.clone(),
        version: 1,
        kind: checked.kind.as_str().to_owned(),
        country: "RW".to_owned(),
        currency: price.gross.currency.code().to_owned(),
        gross_minor: price.gross.minor,
        commission_minor: price.gross.share(prices.commission_basis_points)?.minor,
        tax_minor: price.gross.share(prices.tax_basis_points)?.minor,
        goods_value_minor: checked.load.goods_value_minor,
        customer_id,
        agent_id: (person.role == Role::Agent).then(|| person.actor_id.clone()),
        vendor_id: vendor(tx, person, wish).await?,
        weight_g: checked.load.weight_g,
        goods_class: wish.goods_class.clone(),
        origin_country: "RW".to_owned(),
        destination_country: checked.destination_country.clone(),
        border_post: wish.border_post.clone(),
        pickup_h3_r9: cell::cell_r9(checked.pickup),
        destination_h3_r9: cell::cell_r9(checked.destination),
        pickup_district: app.districts.of(checked.pickup).to_owned(),
        destination_district: app.districts.of(checked.destination).to_owned(),
        pickup: checked.pickup,
        destination: checked.destination,
        distance_m: price.distance_m,
        tariff: price.tariff.to_owned(),
        quote_id: wish.quote_id.clone(),
        phone_sealed: app.keys.seal("orders", "phone", &order_id, phones.receiver.as_str())?,
        phone_index: users::phone_index(&app.keys, &phones.receiver),
        pickup_address_sealed: seal("pickup_address", &wish.pickup.address)?,
        destination_address_sealed: seal("destination_address", &wish.destination.address)?,
        note_sealed: seal("note", &wish.note)?,
        pin_hash,
        created_at: now.0,
        client_created_at: client_created_at.map(|at| at.0),
        updated_at: now.0,
        order_id: order_id.clone(),
        ..Order::default()
    };
    Ok((order, pin))
}

async fn price(
    tx: &mut Tx,
    person: &Person,
    wish: &OrderWish,
    checked: &Checked,
    now: Micros,
) -> Result<Price, ApiError> {
    let mut price = tariff::price(checked.load, now)?;
    if let Some(quote_id) = &wish.quote_id {
        price.gross = quotes::bound(tx, quote_id, &person.user_id, checked, now).await?;
    }
    Ok(price)
}

async fn vendor(
    tx: &mut Tx,
    person: &Person,
    wish: &OrderWish,
) -> Result<Option<String>, ApiError> {
    if person.role == Role::Vendor {
        return Ok(Some(person.actor_id.clone()));
    }
    let Some(text) = &wish.vendor_id else { return Ok(None) };
    let unknown = || ApiError::invalid("vendor_id", "no such vendor");
    let vendor_id = VendorId::parse(text).map_err(|_| unknown())?;
    let row = sqlx::query("SELECT 1 FROM users WHERE actor_id = $1 AND role = 'vendor'")
        .bind(vendor_id.as_str())
        .fetch_optional(tx.conn())
        .await?;
    row.map(|_| Some(vendor_id.to_string())).ok_or_else(unknown)
}
