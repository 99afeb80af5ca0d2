//! `POST /api/v1/tracking/location`: our own JSON and protobuf.
//!
//! In:    one fix, an array, one a line, or protobuf; gzip or zstd; a device's secret.
//! Out:   `{"accepted":n,"repeated":n,"set_aside":n}`, with `reasons` when any were set aside.
//! Never: 4xx for a bad fix in a body that can be read.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Request as HttpRequest, header};
use inzira_schemas::identity::{Credential, Device};

use super::answer::{Correlation, Refusal, counts};
use super::{Door, body, who};
use crate::decode::{BodyError, Decoded, Protocol, json, protobuf};
use crate::intake::{Reply, Request, take_in};

/// The route.
pub(crate) async fn location(
    State(door): State<Arc<Door>>,
    request: HttpRequest<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    match taken(&door, &parts.headers, body).await {
        Ok(reply) => counts(&reply),
        Err(refusal) => refusal.into_response(
            &Correlation::of(&parts.headers),
            door.shared.ingest.limits.retry_after_s,
        ),
    }
}

async fn taken(door: &Door, headers: &HeaderMap, body: Body) -> Result<Reply, Refusal> {
    let credential = Credential::of(headers).ok_or(Refusal::Unauthorized)?;
    who::own_origin(headers, &credential)?;
    let device = who::device(&door.shared.ingest, Some(&credential), None).await?;
    let mut taken = body::take(door, &door.known, headers, body).await?;
    if let Some(refusal) = taken.unreadable.take() {
        return Err(refusal);
    }
    let protocol = protocol_of(headers);
    let traceparent = who::traceparent(headers);
    let reply = keep(door, device.clone(), protocol, taken.bytes.clone(), traceparent).await?;
    // The body is let go before the pause.
    drop(taken);
    pause(door, &device, &reply).await;
    Ok(reply)
}

/// Decodes and keeps one of our own bodies.
pub(crate) async fn keep(
    door: &Door,
    device: Device,
    protocol: Protocol,
    source: Bytes,
    traceparent: String,
) -> Result<Reply, Refusal> {
    let fixes_max = door.shared.ingest.limits.fixes_max;
    let decoded = decode(source.clone(), move |source| match protocol {
        Protocol::Protobuf => protobuf::decode(source, fixes_max),
        _ => json::decode(source, fixes_max),
    })
    .await?;
    let request =
        Request { device, protocol, decoded: Ok(decoded), source, secret: None, traceparent };
    Ok(take_in(&door.shared, request).await?)
}

/// Runs a decoder, off the event loop when the body is large.
pub(crate) async fn decode(
    source: Bytes,
    decoder: impl FnOnce(&[u8]) -> Result<Decoded, BodyError> + Send + 'static,
) -> Result<Decoded, BodyError> {
    const INLINE_BYTES_MAX: usize = 128 * 1024;
    if source.len() <= INLINE_BYTES_MAX {
        return decoder(&source);
    }
    tokio::task::spawn_blocking(move || decoder(&source))
        .await
        .unwrap_or(Err(BodyError::NotReadable("readable")))
}

/// Holds the answer to a device that sends more than its pace.
pub(crate) async fn pause(door: &Door, device: &Device, reply: &Reply) {
    let fixes =
        usize::try_from(reply.accepted + reply.repeated + reply.set_aside).unwrap_or(usize::MAX);
    let (ingest, memory) = (&door.shared.ingest, &door.shared.memory);
    let delay = memory.delay(&device.device_id, fixes, ingest.clock.now(), ingest.limits.pace);
    if !delay.is_zero() {
        metrics::counter!("inzira_ingest_paced_total").increment(1);
        tokio::time::sleep(delay).await;
    }
}

fn protocol_of(headers: &HeaderMap) -> Protocol {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let text = text.unwrap_or_default().to_ascii_lowercase();
    match text.split(';').next().unwrap_or_default().trim() {
        "application/x-protobuf" | "application/protobuf" | "application/vnd.google.protobuf" => {
            Protocol::Protobuf
        }
        _ => Protocol::Json,
    }
}
