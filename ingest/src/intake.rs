//! The story of one request: judge, stamp, keep, and only then say so.
//!
//! In:    a decoded body and the device that sent it.
//! Out:   how many fixes were accepted, repeated and set aside.
//! Never: says anything before the log did; remembers a fix that is not durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use inzira_event_log::{LogError, NewRecord};
use inzira_schemas::Micros;
use inzira_schemas::identity::Device;
use metrics::{counter, histogram};
use serde::Serialize;

use crate::Ingest;
use crate::accept::memory::{DeviceState, FixKeys, Memory};
use crate::accept::stamp::{self, Arrival};
use crate::accept::{self, Checked, Timing};
use crate::decode::{BodyError, Decoded, Item, Protocol, Reason, pieces};

/// Requests with more items than this are prepared off the event loop.
const ITEMS_INLINE_MAX: usize = 1_000;

/// What became of the fixes of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// Fixes that are durable now.
    pub accepted: u64,
    /// Fixes that this process had seen before.
    pub repeated: u64,
    /// Items that were set aside.
    pub set_aside: u64,
    /// Why, when any were.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<&'static str, u64>,
}

/// Everything that the requests of one process share.
pub struct Shared {
    pub ingest: Ingest,
    pub memory: Memory,
}

/// One request, read.
#[derive(Debug, Clone)]
pub struct Request {
    pub device: Device,
    pub protocol: Protocol,
    pub decoded: Result<Decoded, BodyError>,
    /// The bytes that it was decoded from: the body, or the query where there is none.
    pub source: Bytes,
    /// A secret that may stand in the bytes and must not get into the log.
    pub secret: Option<String>,
    pub traceparent: String,
}

/// What is to be written, and what is to be remembered once it is.
struct Prepared {
    records: Vec<NewRecord>,
    keys: Vec<FixKeys>,
    state: DeviceState,
    reply: Reply,
    heartbeats: u64,
    others: u64,
}

/// Takes a request in. An error means that nothing of it may be acknowledged.
pub async fn take_in(shared: &Arc<Shared>, request: Request) -> Result<Reply, LogError> {
    let received_at = shared.ingest.clock.now();
    let device_id = request.device.device_id.clone();
    let protocol = request.protocol;
    let items = request.decoded.as_ref().map_or(1, |decoded| decoded.entries.len());
    let mut prepared = if items > ITEMS_INLINE_MAX {
        let shared = Arc::clone(shared);
        tokio::task::spawn_blocking(move || prepare(&shared, &request, received_at))
            .await
            .map_err(|error| LogError::Broken(format!("preparing a request: {error}")))?
    } else {
        prepare(shared, &request, received_at)
    };
    let records = std::mem::take(&mut prepared.records);
    if !records.is_empty() {
        shared.ingest.log.append(records).await?;
    }
    shared.memory.remember(&device_id, &prepared.keys, prepared.state);
    count(protocol, &prepared, shared.ingest.clock.now().seconds_since(received_at));
    Ok(prepared.reply)
}

fn prepare(shared: &Shared, request: &Request, received_at: Micros) -> Prepared {
    let mut state = shared.memory.state(&request.device.device_id);
    state.last_seen = received_at;
    let mut prepared = Prepared {
        records: Vec::new(),
        keys: Vec::new(),
        state,
        reply: Reply::default(),
        heartbeats: 0,
        others: 0,
    };
    let arrival = Arrival {
        device: &request.device,
        protocol: request.protocol,
        received_at,
        traceparent: &request.traceparent,
    };
    match &request.decoded {
        Ok(decoded) => judge_all(shared, request, decoded, arrival, &mut prepared),
        Err(_) => {
            prepared.set_aside(Reason::Unreadable);
            prepared.keep_bytes(shared, request, &request.source, Reason::Unreadable, arrival);
        }
    }
    prepared
}

fn judge_all(
    shared: &Shared,
    request: &Request,
    decoded: &Decoded,
    arrival: Arrival<'_>,
    prepared: &mut Prepared,
) {
    let (mut fixes, mut bad) = (Vec::with_capacity(decoded.entries.len()), Vec::new());
    let excesses_us = excesses_us(decoded, arrival.received_at);
    let timing = Timing {
        received_at: arrival.received_at,
        stamps_arrival: request.protocol.stamps_arrival(),
        ahead_us: prepared.state.clock.offset_us(&excesses_us),
    };
    prepared.state.clock.learn(&excesses_us);
    for entry in &decoded.entries {
        match &entry.item {
            Item::Fix(raw) => match accept::judge(raw, timing) {
                Ok(fix) => fixes.push(fix),
                Err(reason) => bad.push((entry.piece, reason)),
            },
            Item::Bad(reason) => bad.push((entry.piece, *reason)),
            Item::Heartbeat => prepared.heartbeats += 1,
            Item::Other => prepared.others += 1,
        }
    }
    stamp_fixes(shared, fixes, arrival, prepared);
    keep_bad(shared, request, decoded, bad, arrival, prepared);
}

fn excesses_us(decoded: &Decoded, received_at: Micros) -> Vec<i64> {
    let time = |item: &Item| match item {
        Item::Fix(raw) => accept::excess_us(raw.measured_at, received_at),
        _ => None,
    };
    decoded.entries.iter().filter_map(|entry| time(&entry.item)).collect()
}

fn stamp_fixes(
    shared: &Shared,
    fixes: Vec<Checked>,
    arrival: Arrival<'_>,
    prepared: &mut Prepared,
) {
    let device_id = &arrival.device.device_id;
    let keys: Vec<FixKeys> = fixes.iter().map(|fix| FixKeys::of(device_id, fix)).collect();
    let repeats = shared.memory.repeats(device_id, &keys);
    prepared.records.reserve(fixes.len());
    for ((fix, keys), repeat) in fixes.iter().zip(keys).zip(repeats) {
        if repeat {
            prepared.reply.repeated += 1;
            continue;
        }
        let record = stamp::fix_record(fix, arrival, &mut prepared.state.near);
        prepared.records.push(record);
        prepared.keys.push(keys);
        prepared.reply.accepted += 1;
    }
}

fn keep_bad(
    shared: &Shared,
    request: &Request,
    decoded: &Decoded,
    bad: Vec<(usize, Reason)>,
    arrival: Arrival<'_>,
    prepared: &mut Prepared,
) {
    if bad.is_empty() {
        return;
    }
    let pieces = pieces(decoded.shape, &request.source, shared.ingest.limits.fixes_max);
    let mut last = None;
    for (piece, reason) in bad {
        prepared.set_aside(reason);
        // A piece of several bad items is kept once.
        if last != Some((piece, reason)) {
            let bytes = pieces.get(piece).copied().unwrap_or(&request.source);
            prepared.keep_bytes(shared, request, bytes, reason, arrival);
        }
        last = Some((piece, reason));
    }
}

impl Prepared {
    fn set_aside(&mut self, reason: Reason) {
        self.reply.set_aside += 1;
        *self.reply.reasons.entry(reason.as_str()).or_default() += 1;
    }

    fn keep_bytes(
        &mut self,
        shared: &Shared,
        request: &Request,
        bytes: &[u8],
        reason: Reason,
        arrival: Arrival<'_>,
    ) {
        let bytes_max = shared.ingest.limits.dead_letter_bytes_max;
        let bytes = without(bytes, request.secret.as_deref());
        self.records.push(stamp::set_aside_record(&bytes, reason, arrival, bytes_max));
    }
}

/// The bytes with every occurrence of the secret struck out.
fn without<'a>(bytes: &'a [u8], secret: Option<&str>) -> std::borrow::Cow<'a, [u8]> {
    let Some(secret) = secret.map(str::as_bytes).filter(|secret| !secret.is_empty()) else {
        return bytes.into();
    };
    let mut rest = bytes;
    let mut out = Vec::new();
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b"***");
        rest = &rest[at + secret.len()..];
    }
    if out.is_empty() && rest.len() == bytes.len() {
        return bytes.into();
    }
    out.extend_from_slice(rest);
    out.into()
}

fn count(protocol: Protocol, prepared: &Prepared, took_s: f64) {
    let protocol = protocol.as_str();
    let results = [
        ("accepted", prepared.reply.accepted),
        ("repeated", prepared.reply.repeated),
        ("set_aside", prepared.reply.set_aside),
        ("heartbeat", prepared.heartbeats),
        ("other", prepared.others),
    ];
    for (result, n) in results.into_iter().filter(|(_, n)| *n > 0) {
        counter!("inzira_events_ingested_total", "result" => result, "protocol" => protocol)
            .increment(n);
    }
    for (reason, n) in &prepared.reply.reasons {
        counter!("inzira_dlq_records_total", "reason" => *reason).increment(*n);
    }
    histogram!("inzira_e2e_latency_seconds", "stage" => "ingest_log").record(took_s);
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn a_secret_does_not_get_into_a_dead_letter() {
        assert_eq!(without(b"id=s3cret&lat=x", Some("s3cret")).as_ref(), b"id=***&lat=x");
        assert_eq!(without(b"s3crets3cret", Some("s3cret")).as_ref(), b"******");
        assert_eq!(without(b"abc", Some("s3cret")).as_ref(), b"abc");
        assert_eq!(without(b"abc", None).as_ref(), b"abc");
    }
}
