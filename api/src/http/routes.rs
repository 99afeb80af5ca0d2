//! Every route of this room: where, who may, what it takes and gives.
//!
//! In:    nothing.
//! Out:   the table, and the router made from it.
//! Never: a route outside the table.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, post, put};
use http::Method;
use inzira_schemas::identity::Role;
use tower_http::compression::CompressionLayer;

use crate::accounts::routes as auth;
use crate::app::App;
use crate::drivers::{fleet, routes as drivers};
use crate::error::with_correlation;
use crate::http::body::BODY_BYTES_MAX;
use crate::http::guard::{self, Access};
use crate::http::{openapi, pages};
use crate::orders::{create, handover, quotes, routes as orders, share};
use crate::payments::routes as payments;

const BUYERS: Access =
    Access::Roles(&[Role::Customer, Role::Agent, Role::Vendor, Role::Operator, Role::Admin]);
const DRIVERS: Access = Access::Roles(&[Role::Driver]);
const HANDS: Access = Access::Roles(&[Role::Driver, Role::Operator, Role::Admin]);
const DESK: Access = Access::Roles(&[Role::Operator, Role::Admin]);

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its full path, with `{holes}`.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it does, in a line.
    pub summary: &'static str,
    /// The schema of its body, for the document.
    pub takes: Option<&'static str>,
    /// Status and schema of its answer, for the document.
    pub gives: (u16, Option<&'static str>),
    handler: MethodRouter<Arc<App>>,
}

struct Line(Method, &'static str, Access, &'static str);

fn route(
    line: Line,
    takes: Option<&'static str>,
    gives: (u16, Option<&'static str>),
    handler: MethodRouter<Arc<App>>,
) -> Route {
    let Line(method, path, access, summary) = line;
    Route { method, path, access, summary, takes, gives, handler }
}

/// The table.
pub fn table() -> Vec<Route> {
    let mut all = people();
    all.extend(bookings());
    all.extend(journeys());
    all.extend(paying());
    all.extend(driving());
    all.extend(documents());
    all
}

fn people() -> Vec<Route> {
    use Access::{Open, Person};
    vec![
        route(
            Line(
                Method::POST,
                "/api/v1/auth/register",
                Open,
                "asks for an account; a code comes by SMS",
            ),
            Some("Register"),
            (202, Some("Next")),
            post(auth::register),
        ),
        route(
            Line(Method::POST, "/api/v1/auth/verify", Open, "the code makes the account active"),
            Some("Verify"),
            (200, Some("Verified")),
            post(auth::verify),
        ),
        route(
            Line(Method::POST, "/api/v1/auth/login", Open, "opens a session"),
            Some("Login"),
            (200, Some("Session")),
            post(auth::login),
        ),
        route(
            Line(Method::POST, "/api/v1/auth/refresh", Open, "the next pair of tokens"),
            Some("Refresh"),
            (200, Some("Tokens")),
            post(auth::refresh),
        ),
        route(
            Line(Method::POST, "/api/v1/auth/logout", Person, "ends the session"),
            None,
            (204, None),
            post(auth::logout),
        ),
        route(
            Line(Method::GET, "/api/v1/auth/me", Person, "who is logged in"),
            None,
            (200, Some("Me")),
            get(auth::me),
        ),
    ]
}

fn bookings() -> Vec<Route> {
    use Access::Person;
    const ORDER: (u16, Option<&str>) = (200, Some("Order"));
    vec![
        route(
            Line(Method::POST, "/api/v1/quotes", BUYERS, "a price that binds for a while"),
            Some("QuoteWish"),
            (201, Some("Quote")),
            post(quotes::create),
        ),
        route(
            Line(Method::POST, "/api/v1/orders", BUYERS, "books; needs an Idempotency-Key"),
            Some("OrderWish"),
            (201, Some("NewOrder")),
            post(create::create),
        ),
        route(
            Line(Method::GET, "/api/v1/orders", Person, "own orders, newest first"),
            None,
            (200, Some("OrderPage")),
            get(orders::list),
        ),
        route(
            Line(Method::GET, "/api/v1/orders/{order_id}", Person, "one order"),
            None,
            ORDER,
            get(orders::read),
        ),
    ]
}

fn journeys() -> Vec<Route> {
    const ORDER: (u16, Option<&str>) = (200, Some("Order"));
    vec![
        route(
            Line(
                Method::POST,
                "/api/v1/orders/{order_id}/cancel",
                BUYERS,
                "calls it off before pickup; paid money goes back",
            ),
            Some("Reason"),
            ORDER,
            post(handover::cancel),
        ),
        route(
            Line(Method::POST, "/api/v1/orders/{order_id}/pickup", HANDS, "the driver has it"),
            Some("Reason"),
            ORDER,
            post(handover::pickup),
        ),
        route(
            Line(
                Method::POST,
                "/api/v1/orders/{order_id}/deliver",
                HANDS,
                "handed over against the PIN",
            ),
            Some("Delivery"),
            ORDER,
            post(handover::deliver),
        ),
        route(
            Line(
                Method::POST,
                "/api/v1/orders/{order_id}/assign",
                DESK,
                "gives it to a driver by hand",
            ),
            Some("Assignment"),
            ORDER,
            post(handover::assign),
        ),
        route(
            Line(
                Method::POST,
                "/api/v1/orders/{order_id}/unlock",
                DESK,
                "a fresh PIN after five wrong ones",
            ),
            Some("Reason"),
            ORDER,
            post(handover::unlock),
        ),
        route(
            Line(
                Method::POST,
                "/api/v1/orders/{order_id}/share",
                BUYERS,
                "a link with which anybody may watch",
            ),
            Some("ShareWish"),
            (201, Some("ShareLink")),
            post(share::create),
        ),
    ]
}

fn paying() -> Vec<Route> {
    vec![
        route(
            Line(Method::POST, "/api/v1/payments/initiate", BUYERS, "asks for the money"),
            Some("Initiate"),
            (200, Some("PaymentPrompt")),
            post(payments::initiate),
        ),
        route(
            Line(
                Method::GET,
                "/api/v1/payments/status/{order_id}",
                Access::Person,
                "where the money stands",
            ),
            None,
            (200, Some("PaymentStatus")),
            get(payments::status),
        ),
    ]
}

fn driving() -> Vec<Route> {
    vec![
        route(
            Line(Method::POST, "/api/v1/drivers/me/devices", DRIVERS, "enrols a phone"),
            Some("DeviceWish"),
            (201, Some("NewDevice")),
            post(drivers::enrol),
        ),
        route(
            Line(Method::GET, "/api/v1/drivers/me/devices", DRIVERS, "own phones"),
            None,
            (200, Some("Devices")),
            get(drivers::list),
        ),
        route(
            Line(
                Method::DELETE,
                "/api/v1/drivers/me/devices/{device_id}",
                DRIVERS,
                "revokes a phone within seconds",
            ),
            None,
            (204, None),
            delete(drivers::revoke),
        ),
        route(
            Line(Method::PUT, "/api/v1/drivers/me/availability", DRIVERS, "takes orders or not"),
            Some("Availability"),
            (200, Some("DriverStanding")),
            put(drivers::availability),
        ),
        route(
            Line(Method::GET, "/api/v1/drivers/me/order", DRIVERS, "the order in hand, or null"),
            None,
            (200, Some("OrderInHand")),
            get(drivers::order),
        ),
        route(
            Line(
                Method::POST,
                "/api/v1/admin/drivers/{driver_id}/status",
                DESK,
                "admits or suspends a driver",
            ),
            Some("DriverStatus"),
            (200, Some("DriverStatus")),
            post(drivers::status),
        ),
        route(
            Line(
                Method::POST,
                "/api/v1/admin/fleet",
                DESK,
                "drivers and devices for up to 1,000 vehicles",
            ),
            Some("Fleet"),
            (200, Some("FleetDevices")),
            post(fleet::enrol),
        ),
    ]
}

fn documents() -> Vec<Route> {
    use Access::Open;
    vec![
        route(
            Line(Method::GET, "/openapi.json", Open, "this document"),
            None,
            (200, None),
            get(openapi::json),
        ),
        route(
            Line(Method::GET, "/docs", Open, "this document, readable"),
            None,
            (200, None),
            get(openapi::page),
        ),
        route(Line(Method::GET, "/", Open, "the first page"), None, (200, None), get(pages::home)),
        route(
            Line(Method::GET, "/t/{token}", Open, "the buyer's page of a shared order"),
            None,
            (200, None),
            get(pages::track),
        ),
        route(
            Line(Method::GET, "/assets/{*path}", Open, "what the pages are made of"),
            None,
            (200, None),
            get(pages::asset),
        ),
        route(
            Line(Method::GET, "/favicon.ico", Open, "the small picture"),
            None,
            (200, None),
            get(pages::favicon),
        ),
    ]
}

/// The router of this room, guarded.
pub fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in table() {
        let state = (Arc::clone(app), route.access);
        router = router
            .route(route.path, route.handler.route_layer(from_fn_with_state(state, guard::check)));
    }
    router
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CompressionLayer::new())
        .layer(from_fn(with_correlation))
        .with_state(Arc::clone(app))
}
