//! The three ways to hear of an order.
//!
//! In:    `GET /api/v1/orders/{id}/live` (WebSocket), `…/events` (SSE), `…/location`.
//! Out:   the same frames on the first two; the last position, and missed events, on the third.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use inzira_schemas::{OrderId, Problem, Topic, partition_of};
use metrics::counter;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::frames::{AgedPosition, Cursor};
use crate::hub::{Hub, Missed};
use crate::watcher::{End, Step, Watcher};
use inzira_schemas::access::{self, Access, Denied};

/// How long a request waits for the tail to begin.
const READY_MAX: Duration = Duration::from_secs(5);
/// Messages that a watcher may send in a row between two of our frames.
const MESSAGES_MAX: u32 = 100;
/// A frame from a watcher is a token at most.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The routes.
pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/api/v1/orders/{id}/location", get(location))
        .route("/api/v1/orders/{id}/live", get(live))
        .route("/api/v1/orders/{id}/events", get(events))
        .with_state(hub)
}

#[derive(Debug, Default, Deserialize)]
struct Asked {
    after: Option<String>,
}

impl Asked {
    /// The cursor; an empty one is none.
    fn cursor(&self) -> Result<Option<Cursor>, End> {
        match self.after.as_deref().filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => Cursor::parse(text).map(Some).ok_or(End::BadCursor),
        }
    }
}

/// A watcher's place under the cap, counted while it lasts.
struct Place {
    hub: Arc<Hub>,
    _permit: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

impl Place {
    fn take(hub: &Arc<Hub>) -> Option<Self> {
        let permit = Arc::clone(&hub.places).try_acquire_owned().ok()?;
        hub.counts.connections.increment(1.0);
        Some(Self { hub: Arc::clone(hub), _permit: permit, _token: hub.tracker.token() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.counts.connections.decrement(1.0);
    }
}

/// Who asks for what: the order, and the access if the headers give it.
async fn enter(
    hub: &Arc<Hub>,
    id: &str,
    headers: &HeaderMap,
) -> Result<(OrderId, Result<Access, Denied>), Problem> {
    let order_id = OrderId::parse(id).map_err(|_| Problem::not_found("order"))?;
    let ready = tokio::time::timeout(READY_MAX, hub.ready()).await;
    if ready.is_err() || hub.is_draining() {
        return Err(Problem::unavailable(hub.limits.retry_after_s));
    }
    let shown = access::shown(headers);
    let access = access::open(hub.identity.as_ref(), shown, &order_id).await;
    Ok((order_id, access))
}

/// `GET /api/v1/orders/{id}/live`
async fn live(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let retry_after_s = hub.limits.retry_after_s;
    let (order_id, access) = match enter(&hub, &id, &headers).await {
        Ok(entered) => entered,
        Err(problem) => return refuse(problem, &headers),
    };
    let by_header = headers.contains_key(header::AUTHORIZATION);
    let by_cookie = !by_header && !access::shown(&headers).is_empty();
    if by_cookie && !access::own_origin(&headers) {
        return refuse(Problem::forbidden(), &headers);
    }
    let door = match access {
        Ok(access) => Door::Open(Box::new(access)),
        // A program reads the status; a page sees close codes alone.
        Err(denied) if by_header || matches!(denied, Denied::Unavailable(_)) => {
            return refuse(denied.problem(retry_after_s), &headers);
        }
        Err(_) if by_cookie => Door::Shut,
        Err(_) => Door::Asks(order_id),
    };
    let Some(place) = Place::take(&hub) else {
        counter!("inzira_http_shed_total", "reason" => "watchers").increment(1);
        return refuse(Problem::unavailable(retry_after_s), &headers);
    };
    // The library's defaults take 256 KiB a socket and let writes grow without limit.
    upgrade
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(MESSAGE_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            let mut line = Line { hub: Arc::clone(&hub), socket };
            let end = line.run(door, asked).await;
            line.close(end).await;
            drop(place);
        })
}

/// How a socket begins.
enum Door {
    /// The headers opened the order.
    Open(Box<Access>),
    /// A token is to come in the first frame.
    Asks(OrderId),
    /// A cookie was shown that opens nothing.
    Shut,
}

/// One socket.
struct Line {
    hub: Arc<Hub>,
    socket: WebSocket,
}

#[derive(Debug, Deserialize)]
struct FirstFrame {
    r#type: String,
    token: String,
}

impl Line {
    /// `None` when the other side is gone.
    async fn run(&mut self, door: Door, asked: Asked) -> Option<End> {
        let access = match door {
            Door::Open(access) => *access,
            Door::Shut => return Some(End::Denied),
            Door::Asks(order_id) => match self.first_frame(&order_id).await {
                Ok(access) => access,
                Err(end) => return end,
            },
        };
        let cursor = match asked.cursor() {
            Ok(cursor) => cursor,
            Err(end) => return Some(end),
        };
        let mut watcher = match Watcher::begin(Arc::clone(&self.hub), access, cursor).await {
            Ok(watcher) => watcher,
            Err(end) => return Some(end),
        };
        self.watch(&mut watcher).await
    }

    async fn first_frame(&mut self, order_id: &OrderId) -> Result<Access, Option<End>> {
        let first = tokio::time::timeout(self.hub.limits.auth_max, self.socket.recv()).await;
        let text = match first {
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => return Err(None),
            Ok(Some(Ok(_))) | Err(_) => return Err(Some(End::Denied)),
        };
        let frame: FirstFrame = serde_json::from_str(&text).map_err(|_| Some(End::Denied))?;
        if frame.r#type != "auth" {
            return Err(Some(End::Denied));
        }
        let shown = access::of_token(&frame.token);
        access::open(self.hub.identity.as_ref(), shown, order_id).await.map_err(|denied| {
            Some(match denied {
                Denied::Unknown | Denied::NotFound => End::Denied,
                Denied::Unavailable(_) => End::Unavailable,
            })
        })
    }

    async fn watch(&mut self, watcher: &mut Watcher) -> Option<End> {
        let mut messages = 0;
        loop {
            tokio::select! {
                step = watcher.step() => match step {
                    Step::End(end) => return Some(end),
                    Step::Frame(text) => {
                        messages = 0;
                        let before = watcher.cursor();
                        match self.send(Message::Text(text)).await {
                            Sent::Yes => self.hub.counts.sent.increment(1),
                            Sent::Gone => return None,
                            Sent::TooSlow => return Some(End::Slow(before)),
                        }
                    }
                },
                message = self.socket.recv() => match message {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return None,
                    Some(Ok(_)) => {
                        // Pings are answered by the library; the rest says nothing to us.
                        self.hub.counts.received.increment(1);
                        messages += 1;
                        if messages > MESSAGES_MAX {
                            return Some(End::Misbehaved);
                        }
                    }
                },
            }
        }
    }

    async fn send(&mut self, message: Message) -> Sent {
        match tokio::time::timeout(self.hub.limits.slow_max, self.socket.send(message)).await {
            Ok(Ok(())) => Sent::Yes,
            Ok(Err(_)) => Sent::Gone,
            Err(_) => Sent::TooSlow,
        }
    }

    async fn close(mut self, end: Option<End>) {
        let Some(end) = end else {
            counter!("inzira_ws_closed_total", "code" => "1005").increment(1);
            return;
        };
        let (code, reason) = end.frame();
        counter!("inzira_ws_closed_total", "code" => code.to_string()).increment(1);
        let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        // What a slow reader has not taken in its time it may still take in a second.
        let goodbye = async {
            if self.socket.send(frame).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }
}

enum Sent {
    Yes,
    Gone,
    TooSlow,
}

/// `GET /api/v1/orders/{id}/events`
async fn events(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    Query(mut asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    if let Some(last) = headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
        asked.after = Some(last.to_owned());
    }
    let begun = async {
        let (_, access) = enter(&hub, &id, &headers).await?;
        let access = access.map_err(|denied| denied.problem(hub.limits.retry_after_s))?;
        let place =
            Place::take(&hub).ok_or_else(|| Problem::unavailable(hub.limits.retry_after_s))?;
        let cursor = asked.cursor().map_err(|end| problem_of(end, &hub))?;
        let watcher = Watcher::begin(Arc::clone(&hub), access, cursor).await;
        Ok((watcher.map_err(|end| problem_of(end, &hub))?, place))
    };
    match begun.await {
        Err(problem) => refuse(problem, &headers),
        Ok((watcher, place)) => {
            let stream = futures::stream::unfold(Some((watcher, place)), next_event);
            let mut response = Sse::new(stream).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            // Proxies would hold small frames back.
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            response
        }
    }
}

type Sending = Option<(Watcher, Place)>;

/// One frame as an event whose id is the cursor; the last says why it is the last.
async fn next_event(
    sending: Sending,
) -> Option<(Result<Event, std::convert::Infallible>, Sending)> {
    let (mut watcher, place) = sending?;
    match watcher.step().await {
        Step::Frame(text) => {
            place.hub.counts.sent.increment(1);
            let event = Event::default().id(watcher.cursor().to_string()).data(text.as_str());
            Some((Ok(event), Some((watcher, place))))
        }
        Step::End(end) => {
            let (code, reason) = end.frame();
            let text = json!({"type": "end", "code": code, "reason": reason}).to_string();
            Some((Ok(Event::default().event("end").data(text)), None))
        }
    }
}

/// `GET /api/v1/orders/{id}/location`
async fn location(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    match answer(&hub, &id, &asked, &headers).await {
        Err(problem) => refuse(problem, &headers),
        Ok(body) => {
            let mut response = Response::new(Body::from(body));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
    }
}

async fn answer(
    hub: &Arc<Hub>,
    id: &str,
    asked: &Asked,
    headers: &HeaderMap,
) -> Result<String, Problem> {
    let unavailable = || Problem::unavailable(hub.limits.retry_after_s);
    let (order_id, access) = enter(hub, id, headers).await?;
    let partition = partition_of(Topic::TrackingEvents, order_id.as_str().as_bytes());
    let frontier = hub.frontier(partition);
    let order = access.map_err(|denied| denied.problem(hub.limits.retry_after_s))?.order;
    let (events, cursor) = match asked.cursor().map_err(|end| problem_of(end, hub))? {
        None => (Vec::new(), Cursor(frontier)),
        Some(after) => missed(hub, partition, &order_id, after).await?,
    };
    let over = inzira_schemas::states::OrderState::parse(&order.state)
        .is_some_and(inzira_schemas::states::OrderState::is_final);
    let position = match over {
        true => None,
        false => hub.bus.last(&order_id).await.map_err(|error| {
            tracing::warn!(%error, "the last position could not be had");
            unavailable()
        })?,
    };
    let now = hub.clock.now();
    let events: Vec<Box<serde_json::value::RawValue>> = events
        .into_iter()
        .filter_map(|text| serde_json::value::RawValue::from_string(text.to_string()).ok())
        .collect();
    let last = position.as_ref();
    let body = json!({
        "order_id": order_id.as_str(),
        "state": order.state,
        "position": last.map(|position| AgedPosition::of(position, now)),
        "measured_at": last.map(|position| position.measured_at.to_rfc3339()),
        "age_s": last.map(|position| crate::frames::age_s(position, now)),
        "eta_s": last.and_then(|position| position.eta_s),
        "distance_m": last.and_then(|position| position.distance_m),
        "destination": order.destination,
        "cursor": cursor,
        "events": events,
    });
    Ok(body.to_string())
}

/// What came after a cursor, at most a few chunks: the next question brings the rest.
async fn missed(
    hub: &Hub,
    partition: u32,
    order_id: &OrderId,
    after: Cursor,
) -> Result<(Vec<Utf8Bytes>, Cursor), Problem> {
    let problem = |missed: Missed| problem_of(missed.into(), hub);
    if !hub.has_been(partition, after.0).await.map_err(problem)? {
        return Err(problem_of(End::BadCursor, hub));
    }
    let (mut found, mut place) = (Vec::new(), after.0);
    for _ in 0..4 {
        let (events, next) =
            hub.events(partition, order_id.as_str(), place).await.map_err(problem)?;
        let stands = events.is_empty() && next == place;
        found.extend(events.into_iter().map(|entry| entry.frame.text.clone()));
        place = next;
        if stands {
            break;
        }
    }
    Ok((found, Cursor(place)))
}

fn problem_of(end: End, hub: &Hub) -> Problem {
    match end {
        End::Denied => Problem::not_found("order"),
        End::BadCursor => Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_cursor",
            "ask again without the cursor: what follows it is gone, or it is none of ours",
        ),
        _ => Problem::unavailable(hub.limits.retry_after_s),
    }
}

/// A problem as the response to a request.
fn refuse(problem: Problem, headers: &HeaderMap) -> Response {
    if problem.status == StatusCode::SERVICE_UNAVAILABLE {
        tracing::warn!(detail = problem.detail, "a watcher was sent away");
    }
    problem.into_response::<Body>(&access::correlation_id(headers))
}
