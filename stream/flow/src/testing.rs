//! A log, a bus and a store in memory, for the tests of this room.
//!
//! Keeps: records in order per partition; one holder of a transactor name; faults to come.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use inzira_event_log::{
    Appended, Durability, EventLog, Head, LogError, LogReader, NewRecord, Position, Record,
    Transactor,
};
use inzira_live_bus::{BusUnavailable, LiveBus, LivePosition, Watch};
use inzira_schemas::{Clock, DriverId, Micros, OrderId, Topic};
use inzira_store::Opened;

/// What the next transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written; the caller may try again.
    Busy,
    /// It is written, but the caller hears that this is unknown.
    UnknownWritten,
    /// It is not written, and the caller hears that this is unknown.
    UnknownNotWritten,
    /// It is written, and the process "dies" before it hears of it.
    DieWritten,
    /// It is not written, and the process "dies".
    DieNotWritten,
}

#[derive(Debug, Default)]
struct State {
    partitions: BTreeMap<(Topic, u32), Vec<Record>>,
    holders: HashMap<String, u64>,
    faults: VecDeque<(u32, Fault)>,
    transactions: u32,
    /// So that no two records come at the same moment.
    appended: i64,
}

/// A log in memory.
#[derive(Debug)]
pub struct MemoryLog {
    state: Arc<(Mutex<State>, Condvar)>,
    holder: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl MemoryLog {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { state: Arc::default(), holder: AtomicU64::new(0), clock })
    }

    /// From now on the transaction after `skip` others goes wrong in this way.
    pub fn fault_after(&self, skip: u32, fault: Fault) {
        let mut state = self.state.0.lock().unwrap();
        let at = state.transactions + skip;
        state.faults.push_back((at, fault));
    }

    /// Every record of a topic, by partition and offset.
    pub fn all(&self, topic: Topic) -> Vec<Record> {
        let state = self.state.0.lock().unwrap();
        state
            .partitions
            .iter()
            .filter(|((t, _), _)| *t == topic)
            .flat_map(|(_, r)| r.clone())
            .collect()
    }

    pub fn append_now(&self, records: Vec<NewRecord>) {
        let now = self.clock.now();
        write(&mut self.state.0.lock().unwrap(), records, now);
        self.state.1.notify_all();
    }
}

fn write(state: &mut State, records: Vec<NewRecord>, now: Micros) {
    for record in records {
        let partition = record.partition();
        let kept = state.partitions.entry((record.topic, partition)).or_default();
        state.appended += 1;
        kept.push(Record {
            topic: record.topic,
            partition,
            offset: kept.len() as u64,
            appended_at_us: now.0 + state.appended,
            key: record.key,
            value: record.value,
            headers: record.headers,
        });
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Appended, LogError> {
        self.append_now(records);
        Ok(Appended { offsets: Vec::new() })
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(MemoryReader { state: self.state.clone(), positions: from.to_vec(), first: 0 }))
    }

    async fn transactor(&self, name: &str) -> Result<Box<dyn Transactor>, LogError> {
        let holder = self.holder.fetch_add(1, Ordering::SeqCst) + 1;
        self.state.0.lock().unwrap().holders.insert(name.to_owned(), holder);
        let clock = self.clock.clone();
        Ok(Box::new(MemoryTransactor {
            state: self.state.clone(),
            name: name.to_owned(),
            holder,
            clock,
        }))
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Head>, LogError> {
        let state = self.state.0.lock().unwrap();
        let end =
            |partition| state.partitions.get(&(topic, partition)).map_or(0, |r| r.len() as u64);
        Ok((0..topic.partitions())
            .map(|partition| Head { partition, start: 0, end: end(partition) })
            .collect())
    }

    fn durability(&self) -> Durability {
        Durability::ProcessKill
    }
}

struct MemoryReader {
    state: Arc<(Mutex<State>, Condvar)>,
    positions: Vec<Position>,
    first: usize,
}

impl LogReader for MemoryReader {
    fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        let (lock, changed) = &*self.state;
        let mut state = lock.lock().unwrap();
        for attempt in 0..2 {
            let (mut found, mut bytes) = (Vec::new(), 0);
            let count = self.positions.len().max(1);
            self.first = (self.first + 1) % count;
            for step in 0..self.positions.len() {
                let position = &mut self.positions[(self.first + step) % count];
                let Some(kept) = state.partitions.get(&(position.topic, position.partition)) else {
                    continue;
                };
                while bytes < bytes_max
                    && let Some(record) = kept.get(position.offset as usize)
                {
                    bytes += record.value.len() + 32;
                    found.push(record.clone());
                    position.offset += 1;
                }
            }
            if !found.is_empty() || attempt == 1 {
                return Ok(found);
            }
            state = changed.wait_timeout(state, wait).unwrap().0;
        }
        Ok(Vec::new())
    }

    fn positions(&self) -> Vec<Position> {
        self.positions.clone()
    }
}

struct MemoryTransactor {
    state: Arc<(Mutex<State>, Condvar)>,
    name: String,
    holder: u64,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Transactor for MemoryTransactor {
    async fn transact(&mut self, records: Vec<NewRecord>) -> Result<(), LogError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut state = self.state.0.lock().unwrap();
        if state.holders.get(&self.name) != Some(&self.holder) {
            return Err(LogError::Fenced(self.name.clone()));
        }
        let number = state.transactions;
        state.transactions += 1;
        let due = state.faults.front().is_some_and(|(at, _)| *at <= number);
        let fault = if due { state.faults.pop_front().map(|(_, fault)| fault) } else { None };
        let written =
            !matches!(fault, Some(Fault::Busy | Fault::UnknownNotWritten | Fault::DieNotWritten));
        if written {
            write(&mut state, records, self.clock.now());
            self.state.1.notify_all();
        }
        match fault {
            None => Ok(()),
            Some(Fault::Busy) => Err(LogError::Busy("asked to be".to_owned())),
            Some(Fault::UnknownWritten | Fault::UnknownNotWritten) => {
                self.holder = 0;
                Err(LogError::Unknown("asked to be".to_owned()))
            }
            Some(Fault::DieWritten | Fault::DieNotWritten) => {
                Err(LogError::Poisoned("died".to_owned()))
            }
        }
    }
}

/// A bus that remembers what it was given.
#[derive(Debug, Default)]
pub struct MemoryBus {
    pub orders: Mutex<HashMap<OrderId, LivePosition>>,
    pub drivers: Mutex<HashMap<DriverId, LivePosition>>,
    pub closed: Mutex<Vec<OrderId>>,
}

#[async_trait]
impl LiveBus for MemoryBus {
    async fn publish(&self, positions: &[LivePosition]) -> Result<(), BusUnavailable> {
        for position in positions {
            if let Some(order) = &position.order_id {
                self.orders.lock().unwrap().insert(order.clone(), position.clone());
            }
            self.drivers.lock().unwrap().insert(position.driver_id.clone(), position.clone());
        }
        Ok(())
    }

    async fn last(&self, order_id: &OrderId) -> Result<Option<LivePosition>, BusUnavailable> {
        Ok(self.orders.lock().unwrap().get(order_id).cloned())
    }

    async fn watch(&self, _: &OrderId) -> Result<Watch, BusUnavailable> {
        Err(BusUnavailable("not for watching".to_owned()))
    }

    async fn near(&self, _: &[i64], _: Micros) -> Result<Vec<LivePosition>, BusUnavailable> {
        Ok(Vec::new())
    }

    async fn close(&self, order_id: &OrderId) -> Result<(), BusUnavailable> {
        self.closed.lock().unwrap().push(order_id.clone());
        Ok(())
    }
}

/// A store in memory.
pub fn memory_store() -> Opened {
    Opened {
        store: Arc::new(inzira_store::object_store::memory::InMemory::new()),
        root: url::Url::parse("memory:///").unwrap(),
    }
}
