//! A log in memory and an archive by hand, so that a test decides what is committed when.
//!
//! In:    events.
//! Out:   a log that reads as the real ones do, versions with files and the offsets they cover.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use async_trait::async_trait;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use inzira_archive::Table;
use inzira_event_log::{
    Appended, Durability, EventLog, Head, LogError, LogReader, NewRecord, Position, Record,
    Transactor,
};
use inzira_schemas::{Event, Micros, SystemClock, Topic, event_id, wire};
use inzira_store::Opened;
use inzira_store::object_store::memory::InMemory;
use inzira_store::object_store::path::Path;
use inzira_store::object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;

use crate::error::QueryError;
use crate::questions::{QueryConfig, Questions};
use crate::repeats::row_keys;
use crate::session::EngineLimits;
use crate::shape::Shape;
use crate::source::{Committed, DataFile, Offsets, Snapshot};
use crate::sql::Limits;

/// Partitions of a topic with their records, in offset order.
type Partitions = BTreeMap<(Topic, u32), Vec<Record>>;

/// A log in memory.
#[derive(Default)]
pub struct MemoryLog {
    partitions: Mutex<Partitions>,
}

impl MemoryLog {
    /// Appends an event to its own topic.
    pub fn say<E: Event>(&self, event: &E) {
        self.put(NewRecord::of(event));
    }

    /// Appends a record.
    pub fn put(&self, new: NewRecord) -> (u32, u64) {
        let partition = new.partition();
        let mut partitions = self.partitions.lock().unwrap();
        let records = partitions.entry((new.topic, partition)).or_default();
        let offset = records.len() as u64;
        records.push(Record {
            topic: new.topic,
            partition,
            offset,
            appended_at_us: 0,
            key: new.key,
            value: new.value,
            headers: new.headers,
        });
        (partition, offset)
    }

    fn ends(&self, topics: &[Topic]) -> Offsets {
        let partitions = self.partitions.lock().unwrap();
        partitions
            .iter()
            .filter(|((topic, _), _)| topics.contains(topic))
            .map(|(key, records)| (*key, records.len() as u64))
            .collect()
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Appended, LogError> {
        Ok(Appended { offsets: records.into_iter().map(|record| self.put(record)).collect() })
    }

    fn reader(&self, _from: &[Position]) -> Result<Box<dyn LogReader>, LogError> {
        Err(LogError::Broken("ask the shared log for its reader".to_owned()))
    }

    async fn transactor(&self, _name: &str) -> Result<Box<dyn Transactor>, LogError> {
        Err(LogError::Broken("a log in memory has no transactor".to_owned()))
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Head>, LogError> {
        let partitions = self.partitions.lock().unwrap();
        Ok((0..topic.partitions())
            .map(|partition| Head {
                partition,
                start: 0,
                end: partitions.get(&(topic, partition)).map_or(0, |records| records.len() as u64),
            })
            .collect())
    }

    fn durability(&self) -> Durability {
        Durability::ProcessKill
    }
}

/// The same log in many hands.
#[derive(Clone, Default)]
pub struct SharedLog(pub Arc<MemoryLog>);

#[async_trait]
impl EventLog for SharedLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Appended, LogError> {
        self.0.append(records).await
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(MemoryReader { log: Arc::clone(&self.0), at: from.to_vec() }))
    }

    async fn transactor(&self, name: &str) -> Result<Box<dyn Transactor>, LogError> {
        self.0.transactor(name).await
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Head>, LogError> {
        self.0.heads(topic).await
    }

    fn durability(&self) -> Durability {
        self.0.durability()
    }
}

struct MemoryReader {
    log: Arc<MemoryLog>,
    at: Vec<Position>,
}

impl LogReader for MemoryReader {
    fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        let until = Instant::now() + wait;
        loop {
            let mut taken = Vec::new();
            let mut bytes = 0;
            {
                let partitions = self.log.partitions.lock().unwrap();
                for position in &mut self.at {
                    let records = partitions.get(&(position.topic, position.partition));
                    let fresh = records.map_or(&[][..], |records| {
                        &records[usize::try_from(position.offset).unwrap().min(records.len())..]
                    });
                    for record in fresh {
                        if bytes >= bytes_max {
                            break;
                        }
                        bytes += record.value.len();
                        position.offset = record.offset + 1;
                        taken.push(record.clone());
                    }
                }
            }
            if !taken.is_empty() || Instant::now() >= until {
                return Ok(taken);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn positions(&self) -> Vec<Position> {
        self.at.clone()
    }
}

/// An archive that commits when told to.
pub struct HandArchive {
    log: SharedLog,
    store: Arc<InMemory>,
    newest: Mutex<HashMap<Table, Snapshot>>,
    committed_keys: Mutex<HashMap<Table, HashSet<u64>>>,
}

impl HandArchive {
    /// An empty archive beside a log.
    pub fn new(log: &SharedLog) -> Arc<Self> {
        Arc::new(Self {
            log: log.clone(),
            store: Arc::new(InMemory::new()),
            newest: Mutex::default(),
            committed_keys: Mutex::default(),
        })
    }

    /// The store that its files are in.
    pub fn opened(&self) -> Opened {
        let store: Arc<dyn ObjectStore> = self.store.clone();
        Opened { store, root: url::Url::parse("memory:///").unwrap() }
    }

    /// Commits what the log holds of a table beyond its newest version, at most `rows_max` of
    /// every partition, a file a date, without repeats.
    pub async fn commit(&self, table: Table, rows_max: usize) {
        let old = self.newest.lock().unwrap().get(&table).cloned();
        let mut next = old.unwrap_or_else(|| Snapshot::empty(table));
        let mut records = Vec::new();
        for ((topic, partition), end) in self.log.0.ends(table.topics()) {
            let from = next.next_of(topic, partition);
            let to = end.min(from.saturating_add(rows_max as u64));
            let partitions = self.log.0.partitions.lock().unwrap();
            let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
            records.extend_from_slice(&partitions[&(topic, partition)][range]);
            next.next.insert((topic, partition), to);
        }
        let (batch, _) = table.decode(&records);
        let batch = self.without_repeats(table, &batch);
        next.version = Some(next.version.map_or(0, |version| version + 1));
        for (date, rows) in by_date(&batch) {
            let file = self.write(table, &date, next.version.unwrap(), &rows).await;
            next.files.push(file);
        }
        self.newest.lock().unwrap().insert(table, next);
    }

    fn without_repeats(&self, table: Table, batch: &RecordBatch) -> RecordBatch {
        let mut all = self.committed_keys.lock().unwrap();
        let seen = all.entry(table).or_default();
        let keep: Vec<bool> = row_keys(table, batch)
            .iter()
            .map(|keys| {
                let new = keys.iter().all(|key| !seen.contains(&key));
                if new {
                    seen.extend(keys.iter());
                }
                new
            })
            .collect();
        filter_record_batch(batch, &BooleanArray::from(keep)).unwrap()
    }

    async fn write(&self, table: Table, date: &str, version: i64, rows: &RecordBatch) -> DataFile {
        let file_rows = rows.project(&(0..rows.num_columns() - 1).collect::<Vec<_>>()).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, file_rows.schema(), None).unwrap();
        writer.write(&file_rows).unwrap();
        writer.close().unwrap();
        let path = format!("{}/event_date={date}/{version:05}.parquet", table.folder());
        let size_bytes = bytes.len() as u64;
        self.store.put(&Path::from(path.clone()), bytes.into()).await.unwrap();
        let shape = Shape::of(table);
        let mut statistics = Statistics::new_unknown(shape.scan.file_schema());
        statistics.num_rows = Precision::Exact(rows.num_rows());
        DataFile { path, size_bytes, event_date: date.to_owned(), statistics: Arc::new(statistics) }
    }
}

fn by_date(batch: &RecordBatch) -> Vec<(String, RecordBatch)> {
    let dates = batch.column_by_name("event_date").unwrap().as_string::<i32>();
    let distinct: std::collections::BTreeSet<String> =
        dates.iter().flatten().map(str::to_owned).collect();
    distinct
        .into_iter()
        .map(|date| {
            let keep: BooleanArray = dates.iter().map(|own| Some(own == Some(&date))).collect();
            (date.clone(), filter_record_batch(batch, &keep).unwrap())
        })
        .collect()
}

#[async_trait]
impl Committed for HandArchive {
    async fn newest(
        &self,
        table: Table,
        known: Option<&Snapshot>,
    ) -> Result<Option<Snapshot>, QueryError> {
        let newest = self.newest.lock().unwrap().get(&table).cloned();
        Ok(newest.filter(|newest| known.is_none_or(|known| known.version != newest.version)))
    }
}

/// Questions over a hand-made archive.
pub async fn questions(
    log: &SharedLog,
    archive: &Arc<HandArchive>,
    config: QueryConfig,
) -> Arc<Questions> {
    let clock = Arc::new(SystemClock);
    let log: Arc<dyn EventLog> = Arc::new(log.clone());
    Questions::over(log, archive.clone(), archive.opened(), config, clock).await.unwrap()
}

/// A small engine, following.
pub fn config() -> QueryConfig {
    let engine = EngineLimits { memory_bytes: 64 << 20, threads: 2, ..EngineLimits::default() };
    QueryConfig { engine, ..QueryConfig::default() }
}

/// The one number that a question answers.
pub async fn number(questions: &Questions, text: &str) -> i64 {
    let answer = questions.sql(text, Limits::default()).await.unwrap();
    let batches = answer.collect().await.unwrap();
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).unwrap();
    let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Int64).unwrap();
    column.as_primitive::<arrow::datatypes::Int64Type>().value(0)
}

/// The answer as lines of CSV.
pub async fn csv(questions: &Questions, text: &str) -> String {
    let mut answer = questions.sql(text, Limits::default()).await.unwrap();
    let mut out = Vec::new();
    crate::format::write(&mut answer, crate::Format::Csv, &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

/// Why a question is not answered.
pub async fn failure(questions: &Questions, text: &str, limits: Limits) -> String {
    match questions.sql(text, limits).await {
        Err(error) => error.to_string(),
        Ok(answer) => answer.collect().await.map(|_| ()).unwrap_err().to_string(),
    }
}

/// An instant of a test: seconds after noon of a day in the past.
pub fn at(seconds: i64) -> Micros {
    Micros::parse_rfc3339("2026-02-01T12:00:00Z").unwrap().plus_secs(seconds)
}

/// A fix of a device; time and sequence make it distinct.
pub fn fix(device: &str, seq: Option<u64>, measured_at: Micros) -> wire::Fix {
    let (lat, lon) = (-1.95, 30.06);
    let id = event_id(&[b"fix", device.as_bytes(), &measured_at.0.to_le_bytes()]);
    wire::Fix {
        envelope: Some(wire::Envelope::by_system(id, "fix.accepted", measured_at, measured_at)),
        driver_id: format!("drv_{device}"),
        device_id: format!("dev_{device}"),
        seq,
        measured_at_us: measured_at.0,
        received_at_us: measured_at.0,
        time_source: "device".to_owned(),
        protocol: "json".to_owned(),
        lat,
        lon,
        h3_r9: inzira_schemas::cell::cell_r9(inzira_schemas::Point { lat, lon }),
        ..Default::default()
    }
}

/// A change of an order.
pub fn order(id: &str, state: &str, at: Micros) -> wire::OrderEvent {
    let event = event_id(&[b"order", id.as_bytes(), state.as_bytes(), &at.0.to_le_bytes()]);
    wire::OrderEvent {
        envelope: Some(wire::Envelope::by_system(event, &format!("order.{state}"), at, at)),
        order_id: id.to_owned(),
        kind: "ride".to_owned(),
        state: state.to_owned(),
        country: "RW".to_owned(),
        currency: "RWF".to_owned(),
        customer_id: format!("cus_{id}"),
        created_at_us: at.0,
        ..Default::default()
    }
}

/// A change of a payment.
pub fn payment(id: &str, order: &str, state: &str, at: Micros, amount: i64) -> wire::PaymentEvent {
    let event = event_id(&[b"payment", id.as_bytes(), state.as_bytes(), &at.0.to_le_bytes()]);
    wire::PaymentEvent {
        envelope: Some(wire::Envelope::by_system(event, &format!("payment.{state}"), at, at)),
        payment_id: id.to_owned(),
        order_id: order.to_owned(),
        attempt: 1,
        provider: "mock".to_owned(),
        state: state.to_owned(),
        currency: "RWF".to_owned(),
        amount_minor: amount,
        requested_at_us: at.0,
        ..Default::default()
    }
}
