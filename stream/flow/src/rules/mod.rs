//! What the flow does with fixes and orders, as plain functions.
//!
//! In:    a key's state, one fix or order event, the tick.
//! Out:   positions, alerts, trips, handed to an `Outlet`.
//! Never: knows an engine, a thread, the log or the wall clock: `Tick` is all the time there is.

pub mod alerts;
pub mod arriving;
pub mod driver;
pub mod eta;
pub mod fix;
pub mod join;
pub mod offline;
pub mod orders;
pub mod plane;
pub mod repeats;
pub mod smooth;
pub mod speeds;
pub mod trips;

use inzira_schemas::states::TrackingKind;
use inzira_schemas::{Micros, Point};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// The only clock that rules see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The epoch that it closes.
    pub epoch: u64,
    /// The moment of closing; never goes back.
    pub now: Micros,
    /// Everything that reached the log before this has been seen: silence is judged by it, so
    /// that our own lag is never taken for a phone's.
    pub watermark: Micros,
}

/// What state is kept under: 128 bits of the text of a driver or order.
pub type Key = u128;

/// The key of a driver or an order.
pub fn key_of(text: &str) -> Key {
    xxh3_128(text.as_bytes())
}

/// How many key groups there are; written into every snapshot, never changed.
pub const KEY_GROUPS: usize = 256;

/// The key group of a key: its top eight bits.
pub const fn group_of(key: Key) -> usize {
    (key >> 120) as usize
}

/// When the log took something, and where it lies. Sorting by it makes an epoch's batch the same
/// however it was carried, and keeps what happened in order across topics: a fix that came
/// before an order closed is judged before it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Origin {
    /// When the log took it.
    pub arrived: Micros,
    /// Class (orders before fixes before backlog), partition and offset.
    pub place: u64,
}

impl Origin {
    /// A partition has 12 bits of the place, an offset 48.
    pub const fn new(arrived: Micros, class: u8, partition: u32, offset: u64) -> Self {
        let place = ((class as u64) << 60)
            | (((partition as u64) & 0xfff) << 48)
            | (offset & 0xffff_ffff_ffff);
        Self { arrived, place }
    }

    /// Which input.
    pub const fn class(self) -> u8 {
        (self.place >> 60) as u8
    }

    /// The partition.
    pub const fn partition(self) -> u32 {
        ((self.place >> 48) & 0xfff) as u32
    }

    /// The offset.
    pub const fn offset(self) -> u64 {
        self.place & 0xffff_ffff_ffff
    }
}

/// Which part of the way an order is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LegKind {
    /// To the place where goods or passenger wait.
    Pickup,
    /// To the destination.
    Delivery,
}

/// A leg of an order: its kind and how often its target was changed while it was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LegName {
    /// Pickup or delivery.
    pub kind: LegKind,
    /// 1 for the first target, 2 for the next.
    pub number: u8,
}

impl std::fmt::Display for LegName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.kind {
            LegKind::Pickup => "pickup",
            LegKind::Delivery => "delivery",
        })?;
        if self.number > 1 { write!(f, "#{}", self.number) } else { Ok(()) }
    }
}

/// Something happened on the way of an order, as one driver's fixes or silence show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which order.
    pub order: Box<str>,
    /// Which driver.
    pub driver: Box<str>,
    /// Which leg.
    pub leg: LegName,
    /// What.
    pub kind: TrackingKind,
    /// When, by the device's clock (OFFLINE, BACK: by ours).
    pub at: Micros,
    /// Where; `None` when the driver was never seen.
    pub point: Option<Point>,
    /// H3 cell, resolution 9; 0 when unknown.
    pub h3_r9: i64,
    /// Told after the fact.
    pub late: bool,
    /// For canonical order.
    pub origin: Origin,
}

/// A position for one fix, borrowed from state and fix.
#[derive(Debug, Clone, Copy)]
pub struct PositionOut<'a> {
    /// The fix's own event id.
    pub fix_event_id: &'a str,
    /// Who.
    pub driver: &'a str,
    /// Which phone.
    pub device: &'a str,
    /// The open order it belongs to, if any.
    pub order: Option<&'a str>,
    /// Every leg of the driver, open and closed.
    pub legs: &'a [join::Leg],
    /// Device time.
    pub measured_at: Micros,
    /// Our time of receipt.
    pub received_at: Micros,
    /// Where, how fast, how sure.
    pub smoothed: smooth::Smoothed,
    /// H3 cell, resolution 9.
    pub h3_r9: i64,
    /// Metres to go on the leg.
    pub distance_m: Option<f64>,
    /// Seconds to go on the leg.
    pub eta_s: Option<f64>,
    /// It came too late for the live state.
    pub late: bool,
    /// Older than 60 s when it arrived.
    pub stale: bool,
    /// The phone's clock was ahead; the time is that of arrival.
    pub clock_fast: bool,
    /// The newest of its driver: worth showing.
    pub newest: bool,
}

/// A drive that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TripOut {
    /// Deterministic.
    pub trip_id: String,
    /// Empty: no order.
    pub order: Box<str>,
    /// Who.
    pub driver: Box<str>,
    /// First fix.
    pub started_at: Micros,
    /// Last fix.
    pub ended_at: Micros,
    /// Cell of the first fix.
    pub origin_h3_r9: i64,
    /// Cell of the last fix.
    pub destination_h3_r9: i64,
    /// Metres driven.
    pub distance_m: f64,
    /// Seconds in motion.
    pub moving_s: f64,
    /// Seconds at rest.
    pub stopped_s: f64,
    /// Encoded polyline, precision 5.
    pub line: String,
    /// Grows when late data change it.
    pub revision: u32,
}

/// Where the rules of a driver put what they find.
pub trait Outlet {
    /// A position.
    fn position(&mut self, position: &PositionOut<'_>);
    /// Something that the order must hear of.
    fn candidate(&mut self, candidate: Candidate);
    /// A drive that ended.
    fn trip(&mut self, trip: TripOut);
}
