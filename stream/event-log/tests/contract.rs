//! The contract suite over the embedded log, and over Kafka where one is up.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use inzira_event_log::contract::{self, Opener};
use inzira_event_log::{Access, Durability, LogError, OpenError, open};
use inzira_schemas::Topic;

fn embedded(folder: &Path) -> Box<Opener> {
    let folder = folder.to_owned();
    Box::new(move || {
        let folder = folder.clone();
        async move { open("file:", &folder, Access::ReadWrite).await.expect("the log opens") }
            .boxed()
    })
}

fn kafka_address() -> Option<String> {
    match std::env::var("INZIRA_TEST_KAFKA") {
        Ok(brokers) => Some(brokers),
        Err(_) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            panic!("INZIRA_TEST_KAFKA is not set");
        }
        Err(_) => {
            println!("skipped: INZIRA_TEST_KAFKA is not set (cargo xtask stack up)");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_log_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    contract::all(&*embedded(folder.path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kafka_log_keeps_the_contract() {
    let Some(brokers) = kafka_address() else { return };
    let prefix = format!("test-{}-", ulid::Ulid::new().to_string().to_lowercase());
    let url = format!("kafka://{brokers}?replication=1&prefix={prefix}");
    let opened = url.clone();
    let opener: Box<Opener> = Box::new(move || {
        let url = opened.clone();
        async move {
            open(&url, Path::new("/unused"), Access::ReadWrite).await.expect("the log opens")
        }
        .boxed()
    });
    contract::all(&*opener).await;

    let reading = open(&url, Path::new("/unused"), Access::ReadOnly).await.unwrap();
    assert_eq!(reading.durability(), Durability::ProcessKill);
    let refused = reading.append(vec![contract::record(Topic::Orders, "k", "v")]).await;
    assert!(matches!(refused, Err(LogError::Broken(_))));
    drop(reading);
    delete_topics(&brokers, &prefix).await;
}

/// The suite leaves the cluster as it found it.
async fn delete_topics(brokers: &str, prefix: &str) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    let admin: AdminClient<DefaultClientContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let names: Vec<String> =
        Topic::ALL.iter().map(|topic| format!("{prefix}{}", topic.name())).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    admin.delete_topics(&names, &AdminOptions::new()).await.unwrap();
}

#[tokio::test]
async fn a_topic_without_broker_is_busy_not_broken() {
    let opened = open("kafka://127.0.0.1:1", Path::new("/unused"), Access::ReadOnly).await;
    let error = opened.err().expect("nobody listens there");
    assert!(matches!(error, OpenError::Log(LogError::Busy(_))), "{error:?}");
}

#[tokio::test]
async fn a_reader_in_another_process_needs_a_log_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open("file:", folder.path(), Access::ReadOnly).await;
    assert!(matches!(opened, Err(OpenError::Config(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_sees_what_a_running_writer_commits() {
    let folder = tempfile::tempdir().unwrap();
    let writer = open("file:", folder.path(), Access::ReadWrite).await.unwrap();
    let reading = open("file:", folder.path(), Access::ReadOnly).await.unwrap();
    assert_eq!(writer.durability(), Durability::PowerLoss);
    let from = contract::ends(&reading, &[Topic::GpsFixes, Topic::Orders]).await;
    for round in 0..30 {
        let records = (0..20)
            .map(|key| {
                let topic = if key % 5 == 0 { Topic::Orders } else { Topic::GpsFixes };
                contract::record(topic, &format!("k{key}"), &round.to_string())
            })
            .collect();
        writer.append(records).await.unwrap();
    }
    let found = contract::read(&reading, &from, 600).await;
    assert_eq!(found.len(), 600);
    for topic in [Topic::GpsFixes, Topic::Orders, Topic::Trips] {
        assert_eq!(reading.heads(topic).await.unwrap(), writer.heads(topic).await.unwrap());
    }
    let refused = reading.append(vec![contract::record(Topic::Orders, "k", "v")]).await;
    assert!(matches!(refused, Err(LogError::Broken(_))));
    assert!(reading.transactor("x").await.is_err());
    // The reader ends last, and the log is still whole.
    drop(writer);
    drop(reading);
    let again = open("file:", folder.path(), Access::ReadWrite).await.unwrap();
    assert_eq!(contract::read(&again, &from, 600).await.len(), 600);
}

#[tokio::test]
async fn a_second_writer_is_refused_and_told_who_the_first_is() {
    let folder = tempfile::tempdir().unwrap();
    let first = open("file:", folder.path(), Access::ReadWrite).await.unwrap();
    match open("file:", folder.path(), Access::ReadWrite).await {
        Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, std::process::id()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two writers"),
    }
    drop(first);
    assert!(open("file:", folder.path(), Access::ReadWrite).await.is_ok());
}

/// Two readers far apart in one process, one from the beginning, one at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_from_the_beginning_of_a_long_log_sees_everything() {
    let folder = tempfile::tempdir().unwrap();
    let log = open("file:", folder.path(), Access::ReadWrite).await.unwrap();
    let from = contract::ends(&log, &[Topic::GpsFixes]).await;
    let mut count = 0;
    for round in 0..40 {
        let appends = (0..16).map(|key| {
            let log = Arc::clone(&log);
            async move {
                let key = format!("k{key}");
                let records = (0..4)
                    .map(|step| contract::record(Topic::GpsFixes, &key, &format!("{round}-{step}")))
                    .collect();
                log.append(records).await.unwrap();
            }
        });
        futures::future::join_all(appends).await;
        count += 64;
    }
    drop(log);
    let log = open("file:", folder.path(), Access::ReadWrite).await.unwrap();
    let found = contract::read(&log, &from, count).await;
    assert_eq!(found.len(), count);
    // And from a place in the middle, for each partition another one.
    let middle: Vec<_> = from
        .iter()
        .map(|place| {
            let end = found.iter().filter(|record| record.partition == place.partition).count();
            inzira_event_log::Position { offset: end as u64 / 2, ..*place }
        })
        .collect();
    let rest: usize = middle
        .iter()
        .map(|place| {
            let end = found.iter().filter(|record| record.partition == place.partition).count();
            end - usize::try_from(place.offset).unwrap()
        })
        .sum();
    assert_eq!(contract::read(&log, &middle, rest).await.len(), rest);
}
