//! Stand-ins for the rooms beside this one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use inzira_event_log::{
    Appended, Durability, EventLog, Head, LogError, LogReader, NewRecord, Position, Transactor,
};
use inzira_live_bus::{BusUnavailable, LiveBus, LivePosition, Watch};
use inzira_schemas::{Event, Micros, OrderId, Topic};

/// A log that only remembers what was appended, and can be told to fail.
#[derive(Default)]
pub struct MemoryLog {
    pub records: Mutex<Vec<NewRecord>>,
    pub is_away: AtomicBool,
}

impl MemoryLog {
    pub fn events<E: Event>(&self) -> Vec<E> {
        let records = self.records.lock().unwrap();
        records
            .iter()
            .filter(|record| record.topic == E::TOPIC)
            .map(|record| E::decode(record.value.clone()).unwrap())
            .collect()
    }

    pub fn event_ids(&self) -> Vec<String> {
        let id = |record: &NewRecord| {
            let header = record.headers.iter().find(|header| header.name == "event-id").unwrap();
            String::from_utf8(header.value.to_vec()).unwrap()
        };
        self.records.lock().unwrap().iter().map(id).collect()
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Appended, LogError> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(LogError::Busy("told to be away".into()));
        }
        let offsets = records.iter().map(|record| (record.partition(), 0)).collect();
        self.records.lock().unwrap().extend(records);
        Ok(Appended { offsets })
    }

    fn reader(&self, _: &[Position]) -> Result<Box<dyn LogReader>, LogError> {
        Err(LogError::Broken("no readers here".into()))
    }

    async fn transactor(&self, _: &str) -> Result<Box<dyn Transactor>, LogError> {
        Err(LogError::Broken("no transactors here".into()))
    }

    async fn heads(&self, _: Topic) -> Result<Vec<Head>, LogError> {
        Ok(Vec::new())
    }

    fn durability(&self) -> Durability {
        Durability::ProcessKill
    }
}

/// A bus on which drivers stand where a test put them.
#[derive(Default)]
pub struct MemoryBus(pub Mutex<Vec<LivePosition>>);

#[async_trait]
impl LiveBus for MemoryBus {
    async fn publish(&self, positions: &[LivePosition]) -> Result<(), BusUnavailable> {
        let mut known = self.0.lock().unwrap();
        for position in positions {
            known.retain(|old| old.driver_id != position.driver_id);
            known.push(position.clone());
        }
        Ok(())
    }

    async fn last(&self, order_id: &OrderId) -> Result<Option<LivePosition>, BusUnavailable> {
        let known = self.0.lock().unwrap();
        Ok(known.iter().find(|position| position.order_id.as_ref() == Some(order_id)).cloned())
    }

    async fn watch(&self, _: &OrderId) -> Result<Watch, BusUnavailable> {
        Err(BusUnavailable("nothing to watch here".into()))
    }

    async fn near(
        &self,
        cells: &[i64],
        since: Micros,
    ) -> Result<Vec<LivePosition>, BusUnavailable> {
        let known = self.0.lock().unwrap();
        let is_near = |position: &&LivePosition| {
            cells.contains(&position.h3_r9) && position.measured_at > since
        };
        Ok(known.iter().filter(is_near).cloned().collect())
    }

    async fn close(&self, _: &OrderId) -> Result<(), BusUnavailable> {
        Ok(())
    }
}
