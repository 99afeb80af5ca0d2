//! A watcher on server-sent events: the same frames, for networks that break WebSockets.
//!
//! In:    a plain GET; `Last-Event-ID` or `?after=`.
//! Out:   `data:` lines; events carry `id: e<offset>`, so that a browser resumes by itself.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::ws::Utf8Bytes;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use inzira_schemas::identity::{Caller, OrderView};
use tokio::sync::mpsc;

use crate::frame::Cursor;
use crate::session::{Line, Session};
use crate::{Place, Shared};

/// Frames that wait for the connection to take them.
const FRAMES_WAITING_MAX: usize = 4;

/// Streams until the watcher goes.
pub(crate) fn serve(
    shared: Arc<Shared>,
    place: Place,
    caller: Caller,
    order: OrderView,
    after: Option<Cursor>,
) -> Response {
    let (out, frames) = mpsc::channel::<Event>(FRAMES_WAITING_MAX);
    tokio::spawn(async move {
        let mut line = EventLine { out: out.clone() };
        let end = Session { shared: &shared, caller, order, after }.run(&mut line).await;
        let (code, reason) = end.code();
        let said = Event::default().event("end").data(format!("{code} {reason}"));
        let last = tokio::time::timeout(Duration::from_secs(1), out.send(said)).await;
        tracing::debug!(sent = last.is_ok(), code, "a stream of events ended");
        drop(place);
    });
    let stream = futures::stream::unfold(frames, |mut frames| async move {
        let event = frames.recv().await?;
        Some((Ok::<_, Infallible>(event), frames))
    });
    let mut response = Sse::new(stream).keep_alive(KeepAlive::default()).into_response();
    // Proxies between must pass each line on as it comes.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

struct EventLine {
    out: mpsc::Sender<Event>,
}

#[async_trait]
impl Line for EventLine {
    async fn send(&mut self, text: Utf8Bytes) -> bool {
        let id = cursor_of(&text).map(str::to_owned);
        let event = Event::default().data(text.as_str());
        let event = match id {
            Some(id) => event.id(id),
            None => event,
        };
        self.out.send(event).await.is_ok()
    }

    async fn gone(&mut self) {
        self.out.closed().await;
    }
}

/// The cursor that a frame ends with.
fn cursor_of(text: &str) -> Option<&str> {
    let at = text.rfind(r#""cursor":""#)? + r#""cursor":""#.len();
    text.get(at..)?.split('"').next()
}
