//! The routes of those who watch.
//!
//! In:    an order's id, credentials in headers, cookies or the first frame.
//! Out:   `GET orders/{id}/location`, `…/live` (WebSocket), `…/events` (SSE).
//! Never: tells an order that is not yours from one that is not there.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, http::HeaderMap};
use inzira_schemas::identity::{Caller, Credential, OrderView, SESSION_COOKIE, cookie};
use inzira_schemas::problem::CORRELATION_HEADER;
use inzira_schemas::{OrderId, Problem};
use serde::Deserialize;
use serde_json::json;

use crate::frame::{Cursor, PositionBody};
use crate::{Place, Shared, sse, web_socket};

/// Seconds that a watcher is asked to wait when the room is full or the bus away.
const RETRY_AFTER_S: u32 = 5;

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No or a wrong secret, not theirs, or no such order.
    NotAllowed,
    /// Identity cannot be asked.
    Unavailable,
}

/// `?after=`.
#[derive(Debug, Deserialize)]
struct Resume {
    after: Option<String>,
}

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/api/v1/orders/{id}/location", get(location))
        .route("/api/v1/orders/{id}/live", get(live))
        .route("/api/v1/orders/{id}/events", get(events))
        .with_state(shared)
}

/// The first credential that may watch the order.
pub(crate) async fn admitted(
    shared: &Shared,
    credentials: &[Credential],
    order_id: &OrderId,
) -> Result<(Caller, OrderView), Refusal> {
    for credential in credentials {
        let caller = shared.identity.caller(credential).await;
        let Some(caller) = caller.map_err(|_| Refusal::Unavailable)? else { continue };
        let order = shared.identity.order_for(&caller, order_id).await;
        if let Some(order) = order.map_err(|_| Refusal::Unavailable)? {
            return Ok((caller, order));
        }
    }
    Err(Refusal::NotAllowed)
}

/// What the headers present: a share cookie may stand beside a session.
fn credentials(headers: &HeaderMap) -> Vec<Credential> {
    let mut found: Vec<Credential> = Credential::of(headers).into_iter().collect();
    match found.first().cloned() {
        // A share token may also come as a bearer.
        Some(Credential::Bearer(token)) => found.push(Credential::Share(token)),
        Some(Credential::Share(_)) => {
            found.extend(cookie(headers, SESSION_COOKIE).map(Credential::Session));
        }
        _ => {}
    }
    found
}

async fn location(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let (order_id, order) = match known(&shared, &id, &headers).await {
        Ok((order_id, _, order)) => (order_id, order),
        Err(problem) => return refuse(problem, &headers),
    };
    match shared.bus.last(&order_id).await {
        Ok(newest) => {
            let now = shared.clock.now();
            let position = newest.map(|newest| PositionBody::of(&newest, now));
            let cursor = shared.tail.end(&order_id);
            let mut body = json!({
                "order_id": order.order_id,
                "state": order.state,
                "destination": order.destination,
                "position": position,
                "cursor": cursor,
                "server_time": now.to_rfc3339(),
            });
            for name in ["measured_at", "age_s", "eta_s", "distance_m"] {
                body[name] = body["position"][name].clone();
            }
            ([(axum::http::header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "the last position cannot be read");
            refuse(Problem::unavailable(RETRY_AFTER_S), &headers)
        }
    }
}

async fn live(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(resume): Query<Resume>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(order_id) = OrderId::parse(&id) else {
        return refuse(Problem::not_found("order"), &headers);
    };
    let Some(place) = Place::take(&shared) else {
        return refuse(Problem::unavailable(RETRY_AFTER_S), &headers);
    };
    let after = match resume.after.as_deref().map(Cursor::parse) {
        None => Ok(None),
        Some(Some(cursor)) => Ok(Some(cursor)),
        Some(None) => Err(()),
    };
    web_socket::serve(upgrade, shared, place, credentials(&headers), order_id, after)
}

async fn events(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(resume): Query<Resume>,
    headers: HeaderMap,
) -> Response {
    let (caller, order) = match known(&shared, &id, &headers).await {
        Ok((_, caller, order)) => (caller, order),
        Err(problem) => return refuse(problem, &headers),
    };
    let last_id = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let after = match last_id.or(resume.after.as_deref()).map(Cursor::parse) {
        None => None,
        Some(Some(cursor)) if cursor <= shared.tail.end(&order.order_id) => Some(cursor),
        Some(_) => {
            let detail = "no cursor of ours: start without one";
            return refuse(Problem::bad_request("bad_cursor", detail), &headers);
        }
    };
    match Place::take(&shared) {
        Some(place) => sse::serve(shared, place, caller, order, after),
        None => refuse(Problem::unavailable(RETRY_AFTER_S), &headers),
    }
}

async fn known(
    shared: &Shared,
    id: &str,
    headers: &HeaderMap,
) -> Result<(OrderId, Caller, OrderView), Problem> {
    let order_id = OrderId::parse(id).map_err(|_| Problem::not_found("order"))?;
    let credentials = credentials(headers);
    if credentials.is_empty() {
        return Err(Problem::unauthorized());
    }
    match admitted(shared, &credentials, &order_id).await {
        Ok((caller, order)) => Ok((order_id, caller, order)),
        Err(Refusal::NotAllowed) => Err(Problem::not_found("order")),
        Err(Refusal::Unavailable) => Err(Problem::unavailable(RETRY_AFTER_S)),
    }
}

fn refuse(problem: Problem, headers: &HeaderMap) -> Response {
    let id = headers.get(CORRELATION_HEADER).and_then(|value| value.to_str().ok());
    problem.into_response::<Body>(id.unwrap_or_default())
}
