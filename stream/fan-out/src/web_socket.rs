//! A watcher on a WebSocket: small buffers, a first frame that may carry the token.
//!
//! In:    an upgraded connection.
//! Out:   text frames; a close code and reason for every end.
//! Never: takes a message of over 4 KiB, holds more than 64 KiB that a watcher has not taken.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use inzira_schemas::OrderId;
use inzira_schemas::identity::Credential;
use serde::Deserialize;
use tokio::time::timeout;

use crate::frame::Cursor;
use crate::routes::{self, Refusal};
use crate::session::{End, Line, Session};
use crate::{Place, Shared};

/// The library's defaults (128 KiB each, an endless write buffer) are wrong for many watchers.
const READ_BUFFER_BYTES: usize = 1 << 10;
const WRITE_BUFFER_MAX_BYTES: usize = 64 << 10;
const MESSAGE_MAX_BYTES: usize = 4 << 10;
/// How long a close may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// `{"type":"auth","token":"…"}`.
#[derive(Deserialize)]
struct Auth {
    token: String,
}

/// Upgrades and watches.
pub(crate) fn serve(
    upgrade: WebSocketUpgrade,
    shared: Arc<Shared>,
    place: Place,
    credentials: Vec<Credential>,
    order_id: OrderId,
    after: Result<Option<Cursor>, ()>,
) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_MAX_BYTES)
        .max_message_size(MESSAGE_MAX_BYTES)
        .max_frame_size(MESSAGE_MAX_BYTES)
        .on_upgrade(move |socket| async move {
            let (out, back) = socket.split();
            let mut line = SocketLine { out, back };
            let end = watch(&shared, &mut line, credentials, &order_id, after).await;
            line.close(end).await;
            drop(place);
        })
}

async fn watch(
    shared: &Arc<Shared>,
    line: &mut SocketLine,
    mut credentials: Vec<Credential>,
    order_id: &OrderId,
    after: Result<Option<Cursor>, ()>,
) -> End {
    let Ok(after) = after else { return End::BadCursor };
    if credentials.is_empty() {
        let Ok(Some(token)) = timeout(shared.limits.auth_max, line.first_token()).await else {
            return End::NotAllowed;
        };
        credentials = vec![Credential::Bearer(token.clone()), Credential::Share(token)];
    }
    match routes::admitted(shared, &credentials, order_id).await {
        Ok((caller, order)) => Session { shared, caller, order, after }.run(line).await,
        Err(Refusal::Unavailable) => End::Unavailable,
        Err(Refusal::NotAllowed) => End::NotAllowed,
    }
}

struct SocketLine {
    out: SplitSink<WebSocket, Message>,
    back: SplitStream<WebSocket>,
}

impl SocketLine {
    async fn first_token(&mut self) -> Option<String> {
        loop {
            match self.back.next().await?.ok()? {
                Message::Text(text) => {
                    return serde_json::from_str::<Auth>(&text).ok().map(|auth| auth.token);
                }
                Message::Close(_) | Message::Binary(_) => return None,
                Message::Ping(_) | Message::Pong(_) => {}
            }
        }
    }

    async fn close(&mut self, end: End) {
        let (code, reason) = end.code();
        let frame = CloseFrame { code, reason: reason.into() };
        let said = async {
            if self.out.send(Message::Close(Some(frame))).await.is_ok() {
                // The other side answers with its own close; then the line may go.
                while let Some(Ok(_)) = self.back.next().await {}
            }
        };
        if timeout(CLOSE_MAX, said).await.is_err() {
            tracing::debug!("a watcher did not answer the close");
        }
    }
}

#[async_trait]
impl Line for SocketLine {
    async fn send(&mut self, text: Utf8Bytes) -> bool {
        self.out.send(Message::Text(text)).await.is_ok()
    }

    async fn gone(&mut self) {
        while let Some(Ok(message)) = self.back.next().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
        }
    }
}
