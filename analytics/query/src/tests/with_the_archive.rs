//! The real archive, the embedded log and the store on disk under the questions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inzira_archive::{ArchiveConfig, ArchiveHandle, Table};
use inzira_event_log::{Access, EventLog, NewRecord};
use inzira_schemas::{Clock, SystemClock};
use inzira_store::Opened;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::questions::{Mode, QueryConfig, Questions};
use crate::testing::{at, config, fix, number, order, payment};

struct House {
    folder: TempDir,
    log: Arc<dyn EventLog>,
    store: Opened,
    stop: CancellationToken,
    archive: Option<ArchiveHandle>,
}

impl House {
    async fn open() -> Self {
        Self::open_on("file:", "file:").await
    }

    async fn open_on(log: &str, store: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = inzira_event_log::open(log, folder.path(), Access::ReadWrite).await.unwrap();
        let store = inzira_store::open(store, folder.path()).await.unwrap();
        Self { folder, log, store, stop: CancellationToken::new(), archive: None }
    }

    fn start_archive(&mut self) {
        let config =
            ArchiveConfig { cut_age: Duration::from_millis(200), ..ArchiveConfig::default() };
        self.stop = CancellationToken::new();
        let (log, store, stop) = (self.log.clone(), self.store.clone(), self.stop.clone());
        let clock = Arc::new(SystemClock);
        self.archive = Some(inzira_archive::start(config, log, store, clock, stop).unwrap());
    }

    async fn stop_archive(&mut self) {
        self.stop.cancel();
        if let Some(archive) = self.archive.take() {
            archive.join().await.unwrap();
        }
    }

    async fn questions(&self, mode: Mode) -> Arc<Questions> {
        let config = QueryConfig { mode, ..config() };
        let (log, store) = (self.log.clone(), self.store.clone());
        Questions::open(log, store, config, Arc::new(SystemClock)).await.unwrap()
    }
}

const COUNT: &str = "SELECT count(*) FROM fixes";
const DISTINCT: &str = "SELECT count(DISTINCT event_id) FROM fixes";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_seen_once_while_the_archive_commits_and_restarts() {
    let house = House::open().await;
    while_the_archive_commits_and_restarts(house, 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_holds_on_kafka_and_a_bucket() {
    let (Some(kafka), Some(s3)) = (service("INZIRA_TEST_KAFKA"), service("INZIRA_TEST_S3")) else {
        return;
    };
    let own = format!("query-{}", SystemClock.now().0);
    let (bucket, options) = s3.split_once('?').unwrap_or((&s3, ""));
    let store = format!("{bucket}/{own}?{options}");
    let house = House::open_on(&format!("kafka://{kafka}?prefix={own}-"), &store).await;
    while_the_archive_commits_and_restarts(house, 1_000).await;
}

/// The address of a real service; says so when there is none.
fn service(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok();
    if address.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set");
        println!("skipped: {variable} is not set (cargo xtask stack up)");
    }
    address
}

async fn while_the_archive_commits_and_restarts(mut house: House, restart_every: u64) {
    house.start_archive();
    let ask = house.questions(Mode::Follow).await;
    let (mut said, mut slowest) = (0_u64, Duration::ZERO);
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        let mut records: Vec<NewRecord> = (said..said + 50)
            .map(|n| NewRecord::of(&fix(&format!("{}", n % 17), Some(n), at(n as i64))))
            .collect();
        // A phone that did not hear the answer sends its last fix again, or an early one.
        records.push(records[49].clone());
        if said > 50 {
            records.push(NewRecord::of(&fix("3", Some(3), at(3))));
        }
        house.log.append(records).await.unwrap();
        let answered = Instant::now();
        said += 50;
        ask.caught_up(SystemClock.now()).await;
        slowest = slowest.max(answered.elapsed());
        let expected = i64::try_from(said).unwrap();
        assert_eq!(number(&ask, COUNT).await, expected);
        assert_eq!(number(&ask, DISTINCT).await, expected);
        if said.is_multiple_of(restart_every) {
            house.stop_archive().await;
            house.start_archive();
        }
    }
    // Another process, which reads once, sees the same; so do the files alone in the end.
    let once = house.questions(Mode::Once).await;
    assert_eq!(number(&once, COUNT).await, i64::try_from(said).unwrap());
    house.stop_archive().await;
    let version = inzira_archive::committed(&house.store, Table::Fixes).await.unwrap().unwrap();
    assert_eq!(version.rows(), said);
    assert_eq!(number(&once, COUNT).await, i64::try_from(said).unwrap());
    assert!(version.version > 1, "the archive committed {} times", version.version);
    println!(
        "said={said} versions={} certainly_seen_after_max_ms={:.0}",
        version.version,
        slowest.as_secs_f64() * 1e3
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_of_the_folder_in_another_process_sees_orders_and_money() {
    let mut house = House::open().await;
    house.start_archive();
    for n in 0..20_i64 {
        let id = format!("ord_{n}");
        let events = vec![
            NewRecord::of(&order(&id, "confirmed", at(n))),
            NewRecord::of(&payment(&format!("pay_{n}"), &id, "captured", at(n), 100)),
        ];
        house.log.append(events).await.unwrap();
        if n == 10 {
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }
    let log = inzira_event_log::open("file:", house.folder.path(), Access::ReadOnly).await.unwrap();
    let store = inzira_store::open("file:", house.folder.path()).await.unwrap();
    let config = QueryConfig { mode: Mode::Once, ..config() };
    let ask = Questions::open(log, store, config, Arc::new(SystemClock)).await.unwrap();
    assert_eq!(number(&ask, "SELECT count(*) FROM orders WHERE paid_at IS NOT NULL").await, 20);
    let paid = "SELECT sum(amount_minor) FROM payments JOIN orders USING (order_id) \
                WHERE captured_at IS NOT NULL";
    assert_eq!(number(&ask, paid).await, 2_000);
    house.stop_archive().await;
    assert_eq!(number(&ask, paid).await, 2_000);
}

/// Bounds that the archive wrote choose the files, to the microsecond.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_outside_the_asked_time_are_not_read() {
    let mut house = House::open().await;
    house.start_archive();
    for part in 0..4_i64 {
        let records =
            (0..10_i64).map(|n| NewRecord::of(&fix("a", None, at(part * 1_000 + n)))).collect();
        house.log.append(records).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    house.stop_archive().await;
    let ask = house.questions(Mode::Once).await;
    let edge = at(2_000).to_rfc3339();
    let asked = format!("FROM fixes WHERE measured_at >= TIMESTAMP '{edge}'");
    assert_eq!(number(&ask, &format!("SELECT count(*) {asked}")).await, 20);
    let plan = crate::testing::csv(&ask, &format!("EXPLAIN SELECT lat {asked}")).await;
    let all = crate::testing::csv(&ask, "EXPLAIN SELECT lat FROM fixes").await;
    let files = |plan: &str| plan.matches(".parquet").count();
    assert!(files(&plan) < files(&all), "{} of {} files\n{plan}", files(&plan), files(&all));
}
