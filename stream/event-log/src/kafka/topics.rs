//! The topics on the cluster: made once, checked at every start, asked for their ends.
//!
//! In:    our topics with their fixed partition counts.
//! Out:   topics that exist with a leader for each partition; heads.
//! Never: changes a topic that is there.

use std::time::{Duration, Instant};

use inzira_schemas::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;

use super::config::KafkaConfig;
use super::{ASK_WAIT_MAX, fault};
use crate::{Access, Head, LogError, OpenError, RECORD_BYTES_MAX, kept_for};

/// Making topics is tried again for this long: it is slow on a busy broker, and it is harmless to
/// ask twice.
const CREATE_WAIT_MAX: Duration = Duration::from_secs(60);

/// New topics have leaders within this time, or the start fails.
const LEADERS_WAIT_MAX: Duration = Duration::from_secs(30);

/// Makes what is absent (a writer) and checks partition counts.
pub async fn prepare(config: &KafkaConfig, access: Access) -> Result<(), OpenError> {
    let asked = config.clone();
    let missing = on_a_thread(move || missing(&asked)).await?;
    if access == Access::ReadWrite && !missing.is_empty() {
        create(config, &missing).await?;
    }
    let asked = config.clone();
    on_a_thread(move || wait_for_leaders(&asked, access)).await
}

async fn on_a_thread<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    spawn_blocking(question).await.map_err(|error| LogError::Broken(error.to_string()))?
}

fn missing(config: &KafkaConfig) -> Result<Vec<Topic>, OpenError> {
    let asker: BaseConsumer =
        config.asker().create().map_err(|error| OpenError::Config(error.to_string()))?;
    let metadata = asker
        .fetch_metadata(None, ASK_WAIT_MAX)
        .map_err(|error| OpenError::Log(fault::of_question(&error)))?;
    let there = |topic: &Topic| {
        let name = config.name_of(*topic);
        metadata.topics().iter().any(|found| found.name() == name)
    };
    Ok(Topic::ALL.into_iter().filter(|topic| !there(topic)).collect())
}

async fn create(config: &KafkaConfig, topics: &[Topic]) -> Result<(), OpenError> {
    let admin: AdminClient<DefaultClientContext> =
        config.admin().create().map_err(|error| OpenError::Config(error.to_string()))?;
    let record_bytes = (RECORD_BYTES_MAX + 65_536).to_string();
    let named: Vec<(Topic, String, String)> = topics
        .iter()
        .map(|topic| {
            let kept_ms = kept_for(*topic)
                .map_or(-1, |kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
            (*topic, config.name_of(*topic), kept_ms.to_string())
        })
        .collect();
    let new: Vec<NewTopic<'_>> = named
        .iter()
        .map(|(topic, name, kept_ms)| {
            let partitions = i32::try_from(topic.partitions()).unwrap_or(1);
            NewTopic::new(name, partitions, TopicReplication::Fixed(config.replication))
                .set("cleanup.policy", "delete")
                .set("retention.ms", kept_ms)
                .set("retention.bytes", "-1")
                .set("max.message.bytes", &record_bytes)
                .set("message.timestamp.type", "LogAppendTime")
        })
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(CREATE_WAIT_MAX / 2))
        .operation_timeout(Some(CREATE_WAIT_MAX / 2));
    let started = Instant::now();
    let made = loop {
        let error = match admin.create_topics(&new, &options).await {
            Ok(made) => break made,
            Err(error) => fault::of_question(&error),
        };
        match error {
            LogError::Busy(what) if started.elapsed() < CREATE_WAIT_MAX => {
                tracing::info!(what, "making topics is tried again");
            }
            other => return Err(other.into()),
        }
    };
    for outcome in made {
        match outcome {
            // Another process was faster, or the broker still works on it: leaders are awaited.
            Ok(_)
            | Err((_, RDKafkaErrorCode::TopicAlreadyExists | RDKafkaErrorCode::RequestTimedOut)) => {
            }
            Err((name, code)) => {
                return Err(OpenError::Config(format!("topic {name} cannot be made: {code}")));
            }
        }
    }
    Ok(())
}

fn wait_for_leaders(config: &KafkaConfig, access: Access) -> Result<(), OpenError> {
    let asker: BaseConsumer =
        config.asker().create().map_err(|error| OpenError::Config(error.to_string()))?;
    let started = Instant::now();
    loop {
        let metadata = asker
            .fetch_metadata(None, ASK_WAIT_MAX)
            .map_err(|error| OpenError::Log(fault::of_question(&error)))?;
        let absent = absent(config, &metadata)?;
        match absent {
            None => return Ok(()),
            Some(what) if access == Access::ReadOnly => return Err(OpenError::Config(what)),
            Some(what) if started.elapsed() > LEADERS_WAIT_MAX => {
                return Err(LogError::Busy(what).into());
            }
            Some(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// What is not there yet; an error when a topic is there with another count.
fn absent(config: &KafkaConfig, metadata: &Metadata) -> Result<Option<String>, OpenError> {
    for topic in Topic::ALL {
        let name = config.name_of(topic);
        let found = metadata.topics().iter().find(|found| found.name() == name);
        let Some(found) = found.filter(|found| !found.partitions().is_empty()) else {
            return Ok(Some(format!("topic {name} is not there")));
        };
        if found.partitions().len() != topic.partitions() as usize {
            return Err(OpenError::Config(format!(
                "topic {name} has {} partitions, it must have {}",
                found.partitions().len(),
                topic.partitions()
            )));
        }
        if let Some(partition) = found.partitions().iter().find(|found| found.leader() < 0) {
            return Ok(Some(format!("{name}/{} has no leader", partition.id())));
        }
    }
    Ok(None)
}

/// The ends of a topic: `end` is the last stable offset, which a reader of committed records
/// reaches; behind an open transaction it stands still.
pub fn heads(
    config: &KafkaConfig,
    asker: &BaseConsumer,
    topic: Topic,
) -> Result<Vec<Head>, LogError> {
    let starts = offsets(config, asker, topic, Offset::Beginning)?;
    let ends = offsets(config, asker, topic, Offset::End)?;
    Ok((0u32..)
        .zip(starts.into_iter().zip(ends))
        .map(|(partition, (start, end))| Head { partition, start, end })
        .collect())
}

/// Leaders move; a question that finds them moving is asked again for a while.
fn offsets(
    config: &KafkaConfig,
    asker: &BaseConsumer,
    topic: Topic,
    which: Offset,
) -> Result<Vec<u64>, LogError> {
    let started = Instant::now();
    loop {
        match offsets_once(config, asker, topic, which) {
            Err(LogError::Busy(what)) if started.elapsed() < ASK_WAIT_MAX => {
                tracing::debug!(what, %topic, "asking for the ends again");
                std::thread::sleep(Duration::from_millis(100));
            }
            answer => return answer,
        }
    }
}

/// One question for all partitions: the protocol's -2 and -1 are offsets, not times.
fn offsets_once(
    config: &KafkaConfig,
    asker: &BaseConsumer,
    topic: Topic,
    which: Offset,
) -> Result<Vec<u64>, LogError> {
    let name = config.name_of(topic);
    let mut asked = TopicPartitionList::with_capacity(topic.partitions() as usize);
    for partition in 0..topic.partitions() {
        asked
            .add_partition_offset(&name, i32::try_from(partition).unwrap_or(0), which)
            .map_err(|error| fault::of_question(&error))?;
    }
    let answer =
        asker.offsets_for_times(asked, ASK_WAIT_MAX).map_err(|error| fault::of_question(&error))?;
    let mut offsets = vec![0; topic.partitions() as usize];
    for element in answer.elements() {
        element.error().map_err(|error| fault::of_question(&error))?;
        let slot = usize::try_from(element.partition()).ok().and_then(|at| offsets.get_mut(at));
        let (Some(slot), Offset::Offset(offset)) = (slot, element.offset()) else {
            return Err(LogError::Busy(format!("{name} does not say its ends")));
        };
        *slot = u64::try_from(offset).unwrap_or(0);
    }
    Ok(offsets)
}
