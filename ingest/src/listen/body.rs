//! Takes the body of a request, within bounds, and inflates it.
//!
//! In:    a stream of bytes, `Content-Length` and `Content-Encoding`.
//! Out:   the bytes, with their share of the room for bodies, which is given back on drop.
//! Never: reads past the limit, inflates past the limit, or holds more bodies than there is
//!        room for.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Door;
use super::answer::Refusal;
use super::timed_body::BodyTimedOut;

const KIB: usize = 1024;
/// Bodies that inflate from more than this are inflated off the event loop.
const INFLATE_INLINE_BYTES_MAX: usize = 16 * KIB;

/// Room for bodies, counted in KiB.
pub(crate) struct Room {
    kib: Arc<Semaphore>,
    kib_max: usize,
}

impl Room {
    pub fn new(bytes: usize) -> Self {
        let kib_max = (bytes / KIB).max(1);
        Self { kib: Arc::new(Semaphore::new(kib_max)), kib_max }
    }

    /// Waits for room; gives up after `wait`.
    pub async fn take(
        &self,
        bytes: usize,
        wait: Duration,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        let kib = (bytes / KIB + 1).min(self.kib_max);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let taken = tokio::time::timeout(wait, Arc::clone(&self.kib).acquire_many_owned(kib)).await;
        taken.ok().and_then(Result::ok).ok_or(Refusal::NoRoom)
    }
}

/// A body and its room.
pub(crate) struct Taken {
    pub bytes: Bytes,
    /// Why the encoding could not be undone, if so: the bytes are as sent.
    pub unreadable: Option<Refusal>,
    _room: [Option<OwnedSemaphorePermit>; 2],
}

/// Reads and inflates a body.
pub(crate) async fn take(
    door: &Door,
    room: &Room,
    headers: &HeaderMap,
    body: Body,
) -> Result<Taken, Refusal> {
    let limits = &door.shared.ingest.limits;
    let wire_max = limits.wire_bytes_max;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > wire_max) {
        return Err(too_large(wire_max));
    }
    let wire_room = room.take(announced.unwrap_or(wire_max), limits.room_wait).await?;
    let wire = read(body, wire_max).await?;
    let encoding = match encoding(headers) {
        Ok(Some(encoding)) => encoding,
        Ok(None) => {
            return Ok(Taken { bytes: wire, unreadable: None, _room: [Some(wire_room), None] });
        }
        Err(unsupported) => {
            let unreadable = Some(unsupported);
            return Ok(Taken { bytes: wire, unreadable, _room: [Some(wire_room), None] });
        }
    };
    // A slot bounds what is inflated but has no room yet.
    let slot = Arc::clone(&door.inflating).acquire_owned();
    let _slot = tokio::time::timeout(limits.room_wait, slot).await.map_err(|_| Refusal::NoRoom)?;
    let inflated_max = limits.inflated_bytes_max;
    let inflated = if wire.len() > INFLATE_INLINE_BYTES_MAX {
        let wire = wire.clone();
        tokio::task::spawn_blocking(move || inflate(encoding, &wire, inflated_max))
            .await
            .map_err(|_| Refusal::BrokenOff)?
    } else {
        inflate(encoding, &wire, inflated_max)
    };
    match inflated {
        Ok(bytes) if bytes.len() > inflated_max => Err(too_large(inflated_max)),
        Ok(bytes) => {
            let more = room.take(bytes.len(), limits.room_wait).await?;
            Ok(Taken {
                bytes: bytes.into(),
                unreadable: None,
                _room: [Some(wire_room), Some(more)],
            })
        }
        Err(_) => {
            let what = "the body is not what Content-Encoding says".to_owned();
            let unreadable = Some(Refusal::NotReadable(what));
            Ok(Taken { bytes: wire, unreadable, _room: [Some(wire_room), None] })
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Encoding {
    Gzip,
    Zstd,
}

fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Refusal> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(None) };
    match value.to_str().unwrap_or("?").trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
        "zstd" => Ok(Some(Encoding::Zstd)),
        _ => Err(Refusal::UnsupportedEncoding),
    }
}

/// At most one byte more than `bytes_max`.
fn inflate(encoding: Encoding, wire: &[u8], bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::with_capacity(wire.len().saturating_mul(4).min(bytes_max));
    match encoding {
        Encoding::Gzip => {
            flate2::read::MultiGzDecoder::new(wire).take(limit).read_to_end(&mut bytes)?;
        }
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(wire)?;
            // A window of 16 MiB: what a frame may make us hold beside its output.
            decoder.window_log_max(24)?;
            decoder.take(limit).read_to_end(&mut bytes)?;
        }
    }
    Ok(bytes)
}

async fn read(mut body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn broken(error: axum::Error) -> Refusal {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if cause.is::<BodyTimedOut>() {
            return Refusal::TooSlow;
        }
        source = cause.source();
    }
    Refusal::BrokenOff
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::TooLarge(format!("more than {bytes_max} bytes"))
}
