//! The live bus within one process.
//!
//! In:    positions.
//! Out:   the newest of each order and driver, under a lock that is held for a few lookups.
//! Keeps: 16 shards; an order until it closes, a driver until its position is 10 minutes older
//!        than the newest; the last 16,000 closed orders, so that none rises again.
//! Never: waits for a watcher: each holds the newest and skips what it did not look at.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use inzira_schemas::{DriverId, Micros, OrderId};
use tokio::sync::watch;

use crate::{BusUnavailable, LiveBus, LivePosition, Watch};

const SHARDS: usize = 16;
/// Closed orders remembered in each shard; the oldest is forgotten beyond.
const CLOSED_MAX: usize = 1_000;
/// A driver this much older than the newest of its shard is dropped at the next sweep.
const FORGET_S: i64 = 600;
/// A shard is swept when it has doubled since the last time, but not below this.
const SWEEP_MIN: usize = 256;

/// The bus of one process.
#[derive(Debug)]
pub struct MemoryBus {
    orders: [Mutex<Orders>; SHARDS],
    drivers: [Mutex<Drivers>; SHARDS],
    hasher: RandomState,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self {
            orders: std::array::from_fn(|_| Mutex::default()),
            drivers: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl MemoryBus {
    fn orders_of(&self, order_id: &OrderId) -> MutexGuard<'_, Orders> {
        lock(&self.orders[self.shard(order_id.as_str())])
    }

    fn drivers_of(&self, driver_id: &DriverId) -> MutexGuard<'_, Drivers> {
        lock(&self.drivers[self.shard(driver_id.as_str())])
    }

    fn shard(&self, id: &str) -> usize {
        usize::try_from(self.hasher.hash_one(id) % (SHARDS as u64)).unwrap_or_default()
    }
}

#[async_trait]
impl LiveBus for MemoryBus {
    async fn publish(&self, positions: &[LivePosition]) -> Result<(), BusUnavailable> {
        for position in positions {
            self.drivers_of(&position.driver_id).put(position);
            if let Some(order_id) = &position.order_id {
                self.orders_of(order_id).put(order_id, position);
            }
        }
        Ok(())
    }

    async fn last(&self, order_id: &OrderId) -> Result<Option<LivePosition>, BusUnavailable> {
        let orders = self.orders_of(order_id);
        Ok(orders.open.get(order_id).and_then(|sender| sender.borrow().clone()))
    }

    async fn watch(&self, order_id: &OrderId) -> Result<Watch, BusUnavailable> {
        Ok(self.orders_of(order_id).watch(order_id))
    }

    async fn near(
        &self,
        cells: &[i64],
        since: Micros,
    ) -> Result<Vec<LivePosition>, BusUnavailable> {
        let mut found = Vec::new();
        for shard in &self.drivers {
            lock(shard).near(cells, since, &mut found);
        }
        Ok(found)
    }

    async fn close(&self, order_id: &OrderId) -> Result<(), BusUnavailable> {
        self.orders_of(order_id).close(order_id);
        Ok(())
    }
}

/// The orders of one shard.
#[derive(Debug, Default)]
struct Orders {
    open: HashMap<OrderId, watch::Sender<Option<LivePosition>>>,
    closed: HashSet<OrderId>,
    closed_in_turn: VecDeque<OrderId>,
    swept_at: usize,
}

impl Orders {
    fn put(&mut self, order_id: &OrderId, position: &LivePosition) {
        if self.closed.contains(order_id) {
            return;
        }
        self.sweep();
        let sender = self.open.entry(order_id.clone()).or_insert_with(|| watch::Sender::new(None));
        sender.send_if_modified(|last| replace_if_newer(last, position));
    }

    fn watch(&mut self, order_id: &OrderId) -> Watch {
        self.sweep();
        let sender = self.open.entry(order_id.clone()).or_insert_with(|| watch::Sender::new(None));
        let mut watch = sender.subscribe();
        // What is known already counts as news to a watcher who has just come.
        watch.mark_changed();
        watch
    }

    fn close(&mut self, order_id: &OrderId) {
        if let Entry::Occupied(open) = self.open.entry(order_id.clone()) {
            open.get().send_replace(None);
            if open.get().receiver_count() == 0 {
                open.remove();
            }
        }
        if self.closed.insert(order_id.clone()) {
            self.closed_in_turn.push_back(order_id.clone());
        }
        if self.closed_in_turn.len() > CLOSED_MAX
            && let Some(oldest) = self.closed_in_turn.pop_front()
        {
            self.closed.remove(&oldest);
        }
    }

    /// Drops entries that hold nothing and that nobody watches any more.
    fn sweep(&mut self) {
        if self.open.len() >= SWEEP_MIN.max(self.swept_at.saturating_mul(2)) {
            self.open.retain(|_, sender| sender.receiver_count() > 0 || sender.borrow().is_some());
            self.swept_at = self.open.len();
        }
    }
}

/// The drivers of one shard, and which of them are in which cell.
#[derive(Debug, Default)]
struct Drivers {
    last: HashMap<DriverId, LivePosition>,
    cells: HashMap<i64, HashSet<DriverId>>,
    newest: Micros,
    swept_at: usize,
}

impl Drivers {
    fn put(&mut self, position: &LivePosition) {
        self.sweep();
        self.newest = self.newest.max(position.measured_at);
        let driver_id = &position.driver_id;
        match self.last.entry(driver_id.clone()) {
            Entry::Occupied(mut last) => {
                if last.get().version >= position.version {
                    return;
                }
                let before = last.insert(position.clone()).h3_r9;
                if before != position.h3_r9 {
                    leave(&mut self.cells, before, driver_id);
                    self.cells.entry(position.h3_r9).or_default().insert(driver_id.clone());
                }
            }
            Entry::Vacant(free) => {
                free.insert(position.clone());
                self.cells.entry(position.h3_r9).or_default().insert(driver_id.clone());
            }
        }
    }

    fn near(&self, cells: &[i64], since: Micros, found: &mut Vec<LivePosition>) {
        let drivers = cells.iter().filter_map(|cell| self.cells.get(cell)).flatten();
        let positions = drivers.filter_map(|driver_id| self.last.get(driver_id));
        found.extend(positions.filter(|position| position.measured_at > since).cloned());
    }

    /// Drops drivers who have long gone home.
    fn sweep(&mut self) {
        if self.last.len() < SWEEP_MIN.max(self.swept_at.saturating_mul(2)) {
            return;
        }
        let since = self.newest.plus_secs(-FORGET_S);
        let cells = &mut self.cells;
        self.last.retain(|driver_id, position| {
            let stays = position.measured_at > since;
            if !stays {
                leave(cells, position.h3_r9, driver_id);
            }
            stays
        });
        self.swept_at = self.last.len();
    }
}

fn leave(cells: &mut HashMap<i64, HashSet<DriverId>>, cell: i64, driver_id: &DriverId) {
    if let Entry::Occupied(mut there) = cells.entry(cell) {
        there.get_mut().remove(driver_id);
        if there.get().is_empty() {
            there.remove();
        }
    }
}

/// True when `position` took the place of an older one.
pub(crate) fn replace_if_newer(last: &mut Option<LivePosition>, position: &LivePosition) -> bool {
    let newer = last.as_ref().is_none_or(|last| position.version > last.version);
    if newer {
        *last = Some(position.clone());
    }
    newer
}

/// What a panic left behind is still whole: each change is one insert or remove.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{self, position};

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_keeps_the_contract() {
        contract::holds(std::sync::Arc::new(MemoryBus::default())).await;
    }

    #[tokio::test]
    async fn watches_that_nobody_holds_any_more_cost_nothing() {
        let bus = MemoryBus::default();
        for _ in 0..100_000 {
            drop(bus.watch(&OrderId::new()).await.unwrap());
        }
        let entries: usize = bus.orders.iter().map(|shard| lock(shard).open.len()).sum();
        assert!(entries <= SHARDS * SWEEP_MIN, "{entries} idle entries");
    }

    #[tokio::test]
    async fn drivers_who_went_home_are_forgotten() {
        let bus = MemoryBus::default();
        for second in 0..100_000 {
            let mut gone = position(None, second);
            gone.driver_id = DriverId::new();
            gone.h3_r9 = second;
            bus.publish(&[gone]).await.unwrap();
        }
        let kept: usize = bus.drivers.iter().map(|shard| lock(shard).last.len()).sum();
        let cells: usize = bus.drivers.iter().map(|shard| lock(shard).cells.len()).sum();
        assert!(kept < 10_000, "{kept} drivers kept");
        assert_eq!(kept, cells);
    }

    #[tokio::test]
    async fn closed_orders_are_remembered_within_bounds() {
        let bus = MemoryBus::default();
        for _ in 0..50_000 {
            bus.close(&OrderId::new()).await.unwrap();
        }
        let kept: usize = bus.orders.iter().map(|shard| lock(shard).closed.len()).sum();
        assert_eq!(kept, SHARDS * CLOSED_MAX);
    }
}
