//! A log in memory, events to put into it, stores that fail on demand, and a reader of Delta
//! tables that shares no code with the archive.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use inzira_archive::{ArchiveConfig, ArchiveHandle, Health, Table};
use inzira_event_log::{
    Appended, Durability, EventLog, Head, LogError, LogReader, NewRecord, Position, Record,
    Transactor,
};
use inzira_schemas::{Micros, SystemClock, Topic, event_id, wire};
use inzira_store::Opened;
use inzira_store::object_store::path::Path;
use inzira_store::object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload,
    PutResult,
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use tokio_util::sync::CancellationToken;

type Partitions = BTreeMap<(Topic, u32), Vec<Record>>;

/// A log in memory.
#[derive(Default, Clone)]
pub struct MemoryLog(Arc<Mutex<Partitions>>);

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Appended, LogError> {
        let mut log = self.0.lock().unwrap();
        let offsets = records
            .into_iter()
            .map(|new| {
                let partition = new.partition();
                let records = log.entry((new.topic, partition)).or_default();
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
            })
            .collect();
        Ok(Appended { offsets })
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(MemoryReader { log: self.0.clone(), positions: from.to_vec() }))
    }

    async fn transactor(&self, _: &str) -> Result<Box<dyn Transactor>, LogError> {
        Err(LogError::Broken("this log has no transactions".to_owned()))
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Head>, LogError> {
        let log = self.0.lock().unwrap();
        Ok((0..topic.partitions())
            .map(|partition| Head {
                partition,
                start: 0,
                end: log.get(&(topic, partition)).map_or(0, |records| records.len() as u64),
            })
            .collect())
    }

    fn durability(&self) -> Durability {
        Durability::ProcessKill
    }
}

struct MemoryReader {
    log: Arc<Mutex<Partitions>>,
    positions: Vec<Position>,
}

impl LogReader for MemoryReader {
    fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        let until = Instant::now() + wait;
        loop {
            let mut found = Vec::new();
            let mut bytes = 0;
            {
                let log = self.log.lock().unwrap();
                for position in &mut self.positions {
                    let Some(records) = log.get(&(position.topic, position.partition)) else {
                        continue;
                    };
                    while bytes < bytes_max
                        && let Some(record) = records.get(position.offset as usize)
                    {
                        bytes += record.value.len() + 64;
                        found.push(record.clone());
                        position.offset += 1;
                    }
                }
            }
            if !found.is_empty() || Instant::now() >= until {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn positions(&self) -> Vec<Position> {
        self.positions.clone()
    }
}

/// An accepted fix of a driver, `second` seconds into 2026-03-01 UTC.
pub fn fix(driver: &str, second: i64, seq: Option<u64>) -> wire::Fix {
    let measured_at = Micros::parse_rfc3339("2026-03-01T00:00:00Z").unwrap().plus_secs(second);
    let id = event_id(&[b"fix", driver.as_bytes(), &measured_at.0.to_le_bytes()]);
    wire::Fix {
        envelope: Some(wire::Envelope::by_system(id, "fix.accepted", measured_at, measured_at)),
        driver_id: format!("drv_{driver}"),
        device_id: format!("dev_{driver}"),
        seq,
        measured_at_us: measured_at.0,
        received_at_us: measured_at.0 + 1_000,
        time_source: "device".to_owned(),
        protocol: "json".to_owned(),
        lat: -1.95 + second as f64 * 1e-5,
        lon: 30.06,
        h3_r9: 618_000_000_000_000_000 - (second % 7),
        ..Default::default()
    }
}

/// The id of an event.
pub fn id_of(envelope: Option<&wire::Envelope>) -> String {
    envelope.map(|envelope| envelope.event_id.clone()).unwrap_or_default()
}

/// A folder as a store.
pub async fn disk(folder: &std::path::Path) -> Opened {
    inzira_store::open(&format!("file:{}", folder.display()), folder).await.unwrap()
}

/// Cuts fast, so that tests are short.
pub fn quick() -> ArchiveConfig {
    ArchiveConfig {
        cut_age: Duration::from_millis(60),
        progress_age: Duration::from_millis(200),
        retry_first: Duration::from_millis(10),
        retry_last: Duration::from_millis(100),
        stop_within: Duration::from_secs(2),
        ..ArchiveConfig::default()
    }
}

/// A running archive and how to stop it.
pub struct Running {
    pub handle: ArchiveHandle,
    pub stop: CancellationToken,
}

/// Starts an archive.
pub fn run(config: ArchiveConfig, log: &MemoryLog, store: &Opened) -> Running {
    run_on(config, Arc::new(log.clone()), store)
}

/// Starts an archive on any log.
pub fn run_on(config: ArchiveConfig, log: Arc<dyn EventLog>, store: &Opened) -> Running {
    let stop = CancellationToken::new();
    let handle =
        inzira_archive::start(config, log, store.clone(), Arc::new(SystemClock), stop.clone())
            .unwrap();
    Running { handle, stop }
}

impl Running {
    /// Stops it and waits.
    pub async fn finish(self) {
        self.stop.cancel();
        self.handle.join().await.unwrap();
    }

    /// Waits until `enough` of the health.
    pub async fn until(&self, enough: impl Fn(&Health) -> bool) {
        let started = Instant::now();
        while !enough(&self.handle.health()) {
            assert!(started.elapsed() < Duration::from_secs(30), "{:#?}", self.handle.health());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Rows that a health counts for one table.
pub fn rows(health: &Health, table: Table) -> u64 {
    health.tables.iter().filter(|one| one.table == table).map(|one| one.rows).sum()
}

/// One row as the independent reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub event_id: String,
    pub event_date: String,
    pub file: String,
}

/// Reads a table by its log's JSON and the Parquet row reader: none of the archive's code.
pub async fn read(store: &Opened, table: &str) -> Vec<Row> {
    let folder = format!("tables/{table}");
    let log = Path::from(format!("{folder}/_delta_log"));
    let listed: Vec<ObjectMeta> = store.store.list(Some(&log)).try_collect().await.unwrap();
    let mut commits: Vec<Path> = listed
        .into_iter()
        .map(|object| object.location)
        .filter(|path| path.as_ref().ends_with(".json"))
        .collect();
    commits.sort();
    let mut live: BTreeMap<String, String> = BTreeMap::new();
    for commit in commits {
        let bytes = store.store.get(&commit).await.unwrap().bytes().await.unwrap();
        for line in std::str::from_utf8(&bytes).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(path) = action["add"]["path"].as_str() {
                let date = action["add"]["partitionValues"]["event_date"].as_str().unwrap();
                live.insert(path.to_owned(), date.to_owned());
            }
            if let Some(path) = action["remove"]["path"].as_str() {
                live.remove(path);
            }
        }
    }
    let mut rows = Vec::new();
    for (file, event_date) in live {
        let path = Path::from(format!("{folder}/{file}"));
        let bytes = store.store.get(&path).await.unwrap().bytes().await.unwrap();
        let reader = SerializedFileReader::new(bytes).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            let event_id = row.unwrap().get_string(0).unwrap().clone();
            rows.push(Row { event_id, event_date: event_date.clone(), file: file.clone() });
        }
    }
    rows.sort();
    rows
}

/// The ids of a table's rows, sorted.
pub async fn ids(store: &Opened, table: &str) -> Vec<String> {
    read(store, table).await.into_iter().map(|row| row.event_id).collect()
}

/// A store that can be away, or do a commit and not say so.
pub struct Flaky {
    inner: Arc<dyn ObjectStore>,
    /// Every put fails and does nothing.
    pub away: AtomicBool,
    /// So many commits are done but answered with an error.
    pub unheard_commits: AtomicU64,
}

impl Flaky {
    /// Over another store.
    pub fn over(opened: &Opened) -> (Arc<Flaky>, Opened) {
        let flaky = Arc::new(Flaky {
            inner: opened.store.clone(),
            away: AtomicBool::new(false),
            unheard_commits: AtomicU64::new(0),
        });
        let root = opened.root.clone();
        (flaky.clone(), Opened { store: flaky, root })
    }

    fn failure(what: &str) -> StoreError {
        StoreError::Generic { store: "flaky", source: what.to_owned().into() }
    }
}

impl fmt::Debug for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flaky")
    }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flaky")
    }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Self::failure("away"));
        }
        let done = self.inner.put_opts(location, payload, options).await?;
        let is_commit = location.as_ref().contains("_delta_log");
        let unheard = self.unheard_commits.load(Ordering::SeqCst);
        if is_commit && unheard > 0 {
            self.unheard_commits.store(unheard - 1, Ordering::SeqCst);
            return Err(Self::failure("done, but nobody heard"));
        }
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>, StoreError> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> Result<GetResult, StoreError> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> Result<Vec<bytes::Bytes>, StoreError> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path, StoreError>>,
    ) -> BoxStream<'static, Result<Path, StoreError>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta, StoreError>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult, StoreError> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> Result<(), StoreError> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The S3 store that `INZIRA_TEST_S3` names, in a folder of its own; says so when there is none.
pub async fn s3() -> Option<Opened> {
    let Ok(url) = std::env::var("INZIRA_TEST_S3") else {
        assert!(std::env::var("CI").is_err(), "INZIRA_TEST_S3 must be set in CI");
        println!("skipped: INZIRA_TEST_S3 is not set (cargo xtask stack up)");
        return None;
    };
    let data = tempfile::tempdir().unwrap();
    let opened = inzira_store::open(&url, data.path()).await.unwrap();
    let folder = format!("test-{:016x}", rand::random::<u64>());
    let store = inzira_store::object_store::prefix::PrefixStore::new(
        opened.store.clone(),
        Path::from(folder),
    );
    Some(Opened { store: Arc::new(store), root: opened.root })
}
