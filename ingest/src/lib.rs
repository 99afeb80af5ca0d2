//! Device to event log: the door that phones send their fixes to.
//!
//! In:    requests of phones: our JSON and protobuf, OsmAnd (Traccar Client 9 and 10, the OsmAnd
//!        app), OwnTracks, GPSLogger; over HTTP, and our own over WebSocket too.
//! Out:   `fix.accepted` on `gps.fixes` and `gps.backlog`; what was set aside on `deadletter`;
//!        an answer to the phone.
//! Keeps: the repeats, clocks and cells of devices seen lately, in bounded memory, as a help: the
//!        flow and the archive know every repeat without it.
//! Never: answers 2xx before the log has said that everything in the request is durable; answers
//!        4xx to a known sender for a bad fix, which would block the phone's queue for ever.
//!
//! `listen` takes the bytes, `decode` makes fixes of them, `accept` judges and stamps them,
//! `intake` is the story of one request.

pub mod accept;
pub mod decode;
pub mod listen;

mod intake;

use std::sync::Arc;
use std::time::Duration;

use inzira_event_log::EventLog;
use inzira_schemas::Clock;
use inzira_schemas::identity::Identity;

pub use accept::memory::Pace;
pub use listen::router;

/// What this room serves, as a part of an OpenAPI 3.1 document: JSON with `paths` and `components`.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// What the ingest room needs.
#[derive(Clone)]
pub struct Ingest {
    /// Where accepted fixes go.
    pub log: Arc<dyn EventLog>,
    /// Who knows the devices.
    pub identity: Arc<dyn Identity>,
    /// When something arrived.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: IngestLimits,
}

/// Bounds of the ingest room, and what happens at each.
#[derive(Debug, Clone, PartialEq)]
pub struct IngestLimits {
    /// Largest body as sent; above it 413.
    pub wire_bytes_max: usize,
    /// Largest body after inflating; above it 413.
    pub inflated_bytes_max: usize,
    /// Most fixes in one request; above it 413.
    pub fixes_max: usize,
    /// Bodies held at once for known senders, in bytes; when there is no room 503.
    pub in_flight_bytes_max: usize,
    /// The same for senders whose secret stands inside the body, who are not known yet.
    pub stranger_bytes_max: usize,
    /// How long a request waits for such room.
    pub room_wait: Duration,
    /// How fast one device is let on; beyond it answers are delayed, never refused.
    pub pace: Pace,
    /// About how many fixes are remembered to know repeats.
    pub fixes_remembered: usize,
    /// About how many devices are remembered.
    pub devices_remembered: usize,
    /// A dead letter keeps this much of a body.
    pub dead_letter_bytes_max: usize,
    /// Seconds in `Retry-After` of a 503.
    pub retry_after_s: u32,
    /// WebSockets of devices that stay silent for so long are pinged, and closed after three.
    pub stream_ping: Duration,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            wire_bytes_max: 1 << 20,
            inflated_bytes_max: 16 << 20,
            fixes_max: 20_000,
            in_flight_bytes_max: 256 << 20,
            stranger_bytes_max: 64 << 20,
            room_wait: Duration::from_secs(2),
            pace: Pace::default(),
            fixes_remembered: 500_000,
            devices_remembered: 100_000,
            dead_letter_bytes_max: 64 << 10,
            retry_after_s: 5,
            stream_ping: Duration::from_secs(30),
        }
    }
}
