//! The last word on each order and vehicle.
//!
//! In:    positions as the flow computes them.
//! Out:   the newest of each, to whoever watches; older ones are skipped, never queued.
//! Keeps: the last position of an order until it closes, of a driver for 60 s as matchable.
//! Never: the only copy: everything here can be rebuilt from the log.
//!
//! Two implementations, one contract suite (`contract`): `memory` and `redis`
//! (`order:{orderId}:location`). `open` chooses by URL: `memory:` or `redis://…`.

#[cfg(test)]
mod contract;
pub mod memory;
mod open;
pub mod redis;

pub use open::{OpenError, open};

use async_trait::async_trait;
use inzira_schemas::{DriverId, Micros, OrderId, Point};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A driver whose last position is older than this cannot be matched.
pub const MATCHABLE_S: i64 = 60;

/// The last known position of a vehicle, as published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LivePosition {
    /// Who.
    pub driver_id: DriverId,
    /// For which open order, if any.
    pub order_id: Option<OrderId>,
    /// Latitude, degrees.
    pub lat: f64,
    /// Longitude, degrees.
    pub lon: f64,
    /// 68 % radius, metres.
    pub accuracy_m: f64,
    /// Metres a second.
    pub speed_mps: f64,
    /// Degrees clockwise from north.
    pub bearing_deg: f64,
    /// H3 cell, resolution 9.
    pub h3_r9: i64,
    /// The device's own time of the fix.
    pub measured_at: Micros,
    /// When we received it.
    pub received_at: Micros,
    /// Metres to go on the current leg.
    pub distance_m: Option<f64>,
    /// Seconds to go on the current leg.
    pub eta_s: Option<f64>,
    /// Which way the flow went through this fix: grows with every fix of a driver, whatever
    /// process computed it. A lower one never wins.
    pub version: u64,
}

/// The bus could not be reached. Nothing that was promised is lost; try again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the live bus is unavailable: {0}")]
pub struct BusUnavailable(pub String);

/// A conflating view of one order's position: holds the newest, skips what was not looked at.
pub type Watch = watch::Receiver<Option<LivePosition>>;

/// The last word on each order and vehicle.
#[async_trait]
pub trait LiveBus: Send + Sync + 'static {
    /// Publishes positions, for the driver and for the order where there is one. One whose
    /// `version` is not above the last of that driver or order changes nothing.
    async fn publish(&self, positions: &[LivePosition]) -> Result<(), BusUnavailable>;

    /// The last known position of an order; none once it is closed.
    async fn last(&self, order_id: &OrderId) -> Result<Option<LivePosition>, BusUnavailable>;

    /// The last position of an order and every newer one from now on; none once it is closed.
    /// Ends when the bus is dropped. Costs nothing more when the watch is dropped.
    async fn watch(&self, order_id: &OrderId) -> Result<Watch, BusUnavailable>;

    /// Drivers whose last position lies in one of the cells and was measured after `since`.
    async fn near(&self, cells: &[i64], since: Micros)
    -> Result<Vec<LivePosition>, BusUnavailable>;

    /// Drops what is known of a closed order, for its watchers too. A position that comes after
    /// that, from a worker who has not heard yet, changes nothing.
    async fn close(&self, order_id: &OrderId) -> Result<(), BusUnavailable>;
}

impl LivePosition {
    /// Where it is.
    pub fn point(&self) -> Point {
        Point { lat: self.lat, lon: self.lon }
    }
}
