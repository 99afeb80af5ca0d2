//! `GET /api/v1/tracking/stream`: our own bodies over a WebSocket, one answer a message.
//!
//! In:    text (JSON) or binary (protobuf, or JSON) messages, each a body of its own.
//! Out:   for each, in order, the reply of the route, or `{"status","code","detail"}` of the
//!        refusal; only after what it holds is durable.
//! Keeps: one message at a time; the next is not read before the last is answered.
//! Never: goes on for a device that was revoked: each message asks again.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use inzira_schemas::identity::Credential;
use serde_json::json;

use super::answer::{Correlation, Refusal};
use super::server::Draining;
use super::tracking::{keep, pause};
use super::{Door, who};
use crate::decode::Protocol;

/// Pings without any sign of life before the line is taken for dead.
const SILENT_PINGS_MAX: u32 = 3;
/// How long a phone may take to read an answer.
const SEND_MAX: Duration = Duration::from_secs(15);

/// The route.
pub(crate) async fn stream(
    State(door): State<Arc<Door>>,
    draining: Option<Extension<Draining>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let limits = &door.shared.ingest.limits;
    match admit(&door, &headers).await {
        Err(refusal) => refusal.into_response(&Correlation::of(&headers), limits.retry_after_s),
        Ok(credential) => {
            let bytes_max = limits.wire_bytes_max;
            let draining = draining.map(|Extension(draining)| draining).unwrap_or_default();
            // The library's defaults hold 256 KiB a connection and let writes grow for ever.
            upgrade
                .read_buffer_size(4 * 1024)
                .write_buffer_size(0)
                .max_write_buffer_size(64 * 1024)
                .max_message_size(bytes_max)
                .max_frame_size(bytes_max)
                .on_upgrade(move |socket| {
                    let traceparent = who::traceparent(&headers);
                    Line { door, credential, traceparent, draining }.run(socket)
                })
        }
    }
}

async fn admit(door: &Door, headers: &HeaderMap) -> Result<Credential, Refusal> {
    let credential = Credential::of(headers).ok_or(Refusal::Unauthorized)?;
    who::own_origin(headers, &credential)?;
    who::device(&door.shared.ingest, Some(&credential), None).await?;
    Ok(credential)
}

struct Line {
    door: Arc<Door>,
    credential: Credential,
    traceparent: String,
    draining: Draining,
}

impl Line {
    async fn run(self, mut socket: WebSocket) {
        let ping_every = self.door.shared.ingest.limits.stream_ping;
        let mut silent = 0;
        let close = loop {
            let message = tokio::select! {
                () = self.draining.0.cancelled() => break Some((1001, "the service is restarting")),
                message = tokio::time::timeout(ping_every, socket.recv()) => message,
            };
            match message {
                Err(_) if silent >= SILENT_PINGS_MAX => break Some((1001, "no sign of life")),
                Err(_) => {
                    silent += 1;
                    if send(&mut socket, Message::Ping(Bytes::new())).await.is_err() {
                        break None;
                    }
                }
                Ok(Some(Ok(Message::Text(text)))) => {
                    silent = 0;
                    if let Err(end) = self.answer(&mut socket, text.into(), Protocol::Json).await {
                        break end;
                    }
                }
                Ok(Some(Ok(Message::Binary(bytes)))) => {
                    silent = 0;
                    let protocol = match bytes.first() {
                        Some(b'{' | b'[') => Protocol::Json,
                        _ => Protocol::Protobuf,
                    };
                    if let Err(end) = self.answer(&mut socket, bytes, protocol).await {
                        break end;
                    }
                }
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => silent = 0,
                Ok(None | Some(Ok(Message::Close(_)) | Err(_))) => break None,
            }
        };
        if let Some((code, reason)) = close {
            let frame = CloseFrame { code, reason: reason.into() };
            let _ = send(&mut socket, Message::Close(Some(frame))).await;
        }
    }

    /// Keeps one message and answers it. `Err` ends the line, with a close code if it is ours.
    async fn answer(
        &self,
        socket: &mut WebSocket,
        source: Bytes,
        protocol: Protocol,
    ) -> Result<(), Option<(u16, &'static str)>> {
        let ingest = &self.door.shared.ingest;
        let text = match self.keep(source, protocol).await {
            Ok(reply) => reply,
            Err(Refusal::Unauthorized) => return Err(Some((4401, "the device is not known"))),
            Err(refusal) => {
                let problem = refusal.problem(ingest.limits.retry_after_s);
                json!({
                    "status": problem.status.as_u16(),
                    "code": problem.code,
                    "detail": problem.detail,
                    "retry_after_s": problem.retry_after_s,
                })
                .to_string()
            }
        };
        send(socket, Message::Text(text.into())).await.map_err(|()| None)
    }

    async fn keep(&self, source: Bytes, protocol: Protocol) -> Result<String, Refusal> {
        let ingest = &self.door.shared.ingest;
        let device = who::device(ingest, Some(&self.credential), None).await?;
        let _room = self.door.known.take(source.len(), ingest.limits.room_wait).await?;
        let traceparent = self.traceparent.clone();
        let reply = keep(&self.door, device.clone(), protocol, source, traceparent).await?;
        drop(_room);
        pause(&self.door, &device, &reply).await;
        Ok(serde_json::to_string(&reply).unwrap_or_default())
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), ()> {
    match tokio::time::timeout(SEND_MAX, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(()),
    }
}
