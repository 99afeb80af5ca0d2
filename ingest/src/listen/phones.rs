//! The routes of other people's apps: `/osmand`, `/owntracks`, `/gpslogger`.
//!
//! In:    what the apps send, wherever they put it.
//! Out:   2xx to every known sender once what it sent is durable, whatever it was: an app that
//!        is refused keeps the message at the head of its queue and sends nothing else, for ever.
//! Never: 2xx to an unknown sender; 4xx to a known one but for size.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request as HttpRequest, header};
use inzira_schemas::identity::{Credential, Device};

use super::answer::{Correlation, Refusal, empty, no_messages};
use super::tracking::{decode, pause};
use super::{Door, body, who};
use crate::decode::{BodyError, Decoded, PhoneRequest, Protocol, gpslogger, osmand, owntracks};
use crate::intake::{Request, take_in};

/// `GET|POST /osmand`.
pub(crate) async fn osmand(door: State<Arc<Door>>, request: HttpRequest<Body>) -> Response {
    answer(door, request, Protocol::Osmand, empty).await
}

/// `GET|POST /gpslogger`.
pub(crate) async fn gpslogger(door: State<Arc<Door>>, request: HttpRequest<Body>) -> Response {
    answer(door, request, Protocol::GpsLogger, empty).await
}

/// `POST /owntracks`.
pub(crate) async fn owntracks(door: State<Arc<Door>>, request: HttpRequest<Body>) -> Response {
    answer(door, request, Protocol::OwnTracks, no_messages).await
}

async fn answer(
    State(door): State<Arc<Door>>,
    request: HttpRequest<Body>,
    protocol: Protocol,
    thanks: fn() -> Response,
) -> Response {
    let (parts, body) = request.into_parts();
    match taken(&door, &parts, body, protocol).await {
        Ok(()) => thanks(),
        Err(refusal) => refusal.into_response(
            &Correlation::of(&parts.headers),
            door.shared.ingest.limits.retry_after_s,
        ),
    }
}

async fn taken(door: &Door, parts: &Parts, body: Body, protocol: Protocol) -> Result<(), Refusal> {
    let headers = &parts.headers;
    let query = parts.uri.query().unwrap_or_default();
    let query_id = osmand::device_id_of(query);
    let early = who::shown(headers, query_id.as_deref());
    // OwnTracks cannot prove itself inside the body; the others may.
    if early.is_none() && protocol == Protocol::OwnTracks {
        return Err(Refusal::Unauthorized);
    }
    let known = match &early {
        Some(credential) => {
            who::own_origin(headers, credential)?;
            let hint = hint_of(headers, query, query_id.as_deref(), None);
            Some(who::device(&door.shared.ingest, Some(credential), hint.as_deref()).await?)
        }
        None => None,
    };
    let room = if known.is_some() { &door.known } else { &door.strangers };
    let taken = body::take(door, room, headers, body).await?;
    let decoded = if taken.unreadable.is_none() {
        read(door, parts, &taken.bytes, protocol).await
    } else {
        Err(BodyError::NotReadable("what its Content-Encoding says"))
    };
    if let Err(too_many @ BodyError::TooMany(_)) = decoded {
        return Err(too_many.into());
    }
    let in_body = decoded.as_ref().ok().and_then(|decoded| decoded.device_id.clone());
    let body_hint = decoded.as_ref().ok().and_then(|decoded| decoded.hint.clone());
    let proof = early.or_else(|| who::secret_id(in_body.as_deref()));
    let device = match (known, body_hint) {
        (Some(device), None) => device,
        (_, body_hint) => {
            let hint = hint_of(headers, query, query_id.as_deref(), body_hint);
            who::device(&door.shared.ingest, proof.as_ref(), hint.as_deref()).await?
        }
    };
    keep(door, parts, &device, proof, decoded, &taken.bytes, protocol).await?;
    Ok(())
}

async fn read(
    door: &Door,
    parts: &Parts,
    body: &Bytes,
    protocol: Protocol,
) -> Result<Decoded, BodyError> {
    let items_max = door.shared.ingest.limits.fixes_max;
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let content_type =
        content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    decode(body.clone(), move |body| {
        let request = PhoneRequest { query: &query, content_type: &content_type, body, items_max };
        match protocol {
            Protocol::OwnTracks => owntracks::decode(body, items_max),
            Protocol::GpsLogger => gpslogger::decode(request),
            _ => osmand::decode(request),
        }
    })
    .await
}

async fn keep(
    door: &Door,
    parts: &Parts,
    device: &Device,
    proof: Option<Credential>,
    decoded: Result<Decoded, BodyError>,
    body: &Bytes,
    protocol: Protocol,
) -> Result<(), Refusal> {
    let in_query = body.is_empty();
    let source = if in_query {
        Bytes::copy_from_slice(parts.uri.query().unwrap_or_default().as_bytes())
    } else {
        body.clone()
    };
    let secret = match proof {
        Some(Credential::DeviceId(secret)) => Some(secret),
        _ => None,
    };
    let traceparent = who::traceparent(&parts.headers);
    let request =
        Request { device: device.clone(), protocol, decoded, source, secret, traceparent };
    let reply = take_in(&door.shared, request).await?;
    pause(door, device, &reply).await;
    Ok(())
}

/// Which of the sender's devices: `X-Limit-D`, `?d=`, what the body says, an id that is no
/// secret, `X-Limit-U`.
fn hint_of(
    headers: &HeaderMap,
    query: &str,
    query_id: Option<&str>,
    from_body: Option<String>,
) -> Option<String> {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let in_query = || {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == "d").map(|(_, value)| value.into_owned())
    };
    header("x-limit-d")
        .or_else(in_query)
        .or(from_body)
        .or_else(|| query_id.map(str::to_owned))
        .or_else(|| header("x-limit-u"))
        .map(|hint| hint.chars().take(128).collect())
}
