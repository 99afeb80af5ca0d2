//! Who is sending: what a request shows, and what `Identity` says to it.
//!
//! In:    headers, and a device id from query or body.
//! Out:   the device.
//! Never: takes a name for a proof: `tid`, topic and the `X-Limit` headers are hints; a device
//!        id counts only when it is long enough to be a secret.

use http::{HeaderMap, header};
use inzira_schemas::identity::{Credential, Device};

use super::answer::Refusal;
use crate::Ingest;
use crate::decode::could_be_secret;

/// What the headers show; a device id of the query or body where they show nothing.
pub(crate) fn shown(headers: &HeaderMap, device_id: Option<&str>) -> Option<Credential> {
    match Credential::of(headers) {
        Some(found @ (Credential::Bearer(_) | Credential::Basic(..))) => Some(found),
        cookie => secret_id(device_id).or(cookie),
    }
}

/// A device id as a proof, when it may be one.
pub(crate) fn secret_id(device_id: Option<&str>) -> Option<Credential> {
    device_id
        .filter(|device_id| could_be_secret(device_id))
        .map(|device_id| Credential::DeviceId(device_id.to_owned()))
}

/// The device behind a proof.
pub(crate) async fn device(
    ingest: &Ingest,
    credential: Option<&Credential>,
    hint: Option<&str>,
) -> Result<Device, Refusal> {
    let credential = credential.ok_or(Refusal::Unauthorized)?;
    ingest.identity.device(credential, hint).await?.ok_or(Refusal::Unauthorized)
}

/// A cookie counts only when our own page sent it: a browser says where a request comes from.
pub(crate) fn own_origin(headers: &HeaderMap, credential: &Credential) -> Result<(), Refusal> {
    if !matches!(credential, Credential::Session(_) | Credential::Share(_)) {
        return Ok(());
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let origin = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, host)| host);
    match (origin, host) {
        (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Refusal::ForeignOrigin),
    }
}

/// The W3C trace of a request, when it has the form of one.
pub(crate) fn traceparent(headers: &HeaderMap) -> String {
    let text = headers.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    if text.len() == 55 && text.bytes().all(plain) { text.to_owned() } else { String::new() }
}
