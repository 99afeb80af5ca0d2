//! Shows positions on the live bus as they are computed, before they are committed.
//!
//! In:    positions from the workers.
//! Out:   the newest of each driver and order, to the bus.
//! Keeps: what the bus has not taken yet, one position a driver and order, at most 200,000.
//! Never: makes a worker wait: a newer position replaces one that waits, beyond the limit new
//!        ones are counted and left out (the next fix of that driver comes in seconds).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inzira_live_bus::{LiveBus, LivePosition};
use inzira_schemas::{DriverId, OrderId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::rules::PositionOut;
use crate::stages::drivers::Show;

const WAITING_MAX: usize = 200_000;
/// Positions that go to the bus in one call.
const CHUNK: usize = 500;
const BUS_PATIENCE: Duration = Duration::from_secs(2);

type Waiting = HashMap<(DriverId, Option<OrderId>), LivePosition>;

/// The way of positions to the live bus.
#[derive(Debug, Default)]
pub struct FastLane {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    left_out: AtomicU64,
}

impl Show for FastLane {
    fn show(&self, position: &PositionOut<'_>) {
        if !position.newest {
            return;
        }
        let Ok(driver_id) = DriverId::parse(position.driver) else { return };
        let mut open = position.legs.iter().filter(|leg| leg.closed_at.is_none()).peekable();
        if open.peek().is_none() {
            self.offer(live(position, driver_id, None));
            return;
        }
        for leg in open {
            if let Ok(order_id) = OrderId::parse(&leg.order) {
                self.offer(live(position, driver_id.clone(), Some(order_id)));
            }
        }
    }
}

impl FastLane {
    fn offer(&self, position: LivePosition) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (position.driver_id.clone(), position.order_id.clone());
        let full = waiting.len() >= WAITING_MAX;
        match waiting.get_mut(&key) {
            Some(known) if known.version >= position.version => {}
            Some(known) => *known = position,
            None if full => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
            None => {
                waiting.insert(key, position);
            }
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Brings waiting positions to the bus until told to stop.
    pub async fn run(self: Arc<Self>, bus: Arc<dyn LiveBus>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.arrived.notified() => {}
                () = stop.cancelled() => return,
            }
            let taken =
                std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            let positions: Vec<LivePosition> = taken.into_values().collect();
            for chunk in positions.chunks(CHUNK) {
                publish(bus.as_ref(), chunk).await;
            }
            let left_out = self.left_out.swap(0, Ordering::Relaxed);
            if left_out > 0 {
                metrics::counter!("flow_live_left_out_total").increment(left_out);
            }
        }
    }
}

/// The bus is never the only copy: what it does not take now is replaced by the next fix.
async fn publish(bus: &dyn LiveBus, chunk: &[LivePosition]) {
    let outcome = tokio::time::timeout(BUS_PATIENCE, bus.publish(chunk)).await;
    let failed = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer within 2 s".to_owned(),
    };
    metrics::counter!("flow_live_failed_total").increment(chunk.len() as u64);
    tracing::warn!(reason = failed, positions = chunk.len(), "the live bus took no positions");
}

fn live(
    position: &PositionOut<'_>,
    driver_id: DriverId,
    order_id: Option<OrderId>,
) -> LivePosition {
    let of_order = match &order_id {
        Some(order_id) => position.order == Some(order_id.as_str()),
        None => false,
    };
    LivePosition {
        driver_id,
        order_id,
        lat: position.smoothed.point.lat,
        lon: position.smoothed.point.lon,
        accuracy_m: position.smoothed.accuracy_m,
        speed_mps: position.smoothed.speed_mps,
        bearing_deg: position.smoothed.bearing_deg,
        h3_r9: position.h3_r9,
        measured_at: position.measured_at,
        received_at: position.received_at,
        distance_m: position.distance_m.filter(|_| of_order),
        eta_s: position.eta_s.filter(|_| of_order),
        version: u64::try_from(position.measured_at.0).unwrap_or(0),
    }
}
