//! The event log on Kafka.
//!
//! In:    records, from many tasks at once.
//! Out:   an answer when all in-sync replicas have them; readers of committed records.
//! Keeps: nothing of its own: one producer, one client for questions.
//! Never: joins a consumer group, pauses or splits partitions; guesses the outcome of a commit.

mod config;
mod fault;
mod producer;
mod reader;
mod topics;
mod transactor;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use inzira_schemas::Topic;
use rdkafka::consumer::BaseConsumer;
use tokio::task::spawn_blocking;

pub use self::config::KafkaConfig;
use self::producer::Appender;
use self::reader::KafkaReader;
use self::transactor::KafkaTransactor;
use crate::record::size_checked;
use crate::{
    Access, Appended, Durability, EventLog, Head, LogError, LogReader, NewRecord, OpenError,
    Position, Transactor,
};

/// A question to the brokers is given up after this long, with `Busy`.
const ASK_WAIT_MAX: Duration = Duration::from_secs(10);

/// The log on a Kafka cluster.
pub struct KafkaLog {
    config: Arc<KafkaConfig>,
    asker: Arc<BaseConsumer>,
    appender: Option<Appender>,
}

impl KafkaLog {
    /// Connects; a writer makes the topics that are absent. Topics with other partition counts
    /// than ours are refused: an order's events must stay in one partition.
    pub async fn open(config: KafkaConfig, access: Access) -> Result<Self, OpenError> {
        let config = Arc::new(config);
        topics::prepare(&config, access).await?;
        let asker: BaseConsumer =
            config.asker().create().map_err(|error| OpenError::Config(error.to_string()))?;
        let appender = match access {
            Access::ReadWrite => Some(Appender::open(&config)?),
            Access::ReadOnly => None,
        };
        Ok(Self { config, asker: Arc::new(asker), appender })
    }

    fn writable(&self) -> Result<&Appender, LogError> {
        self.appender
            .as_ref()
            .ok_or_else(|| LogError::Broken("the log is open for reading only".to_owned()))
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Appended, LogError> {
        let appender = self.writable()?;
        size_checked(&records)?;
        appender.append(&self.config, &records).await
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn LogReader>, LogError> {
        let reader = KafkaReader::open(Arc::clone(&self.config), Arc::clone(&self.asker), from)?;
        Ok(Box::new(reader))
    }

    async fn transactor(&self, name: &str) -> Result<Box<dyn Transactor>, LogError> {
        self.writable()?;
        let transactor = KafkaTransactor::open(Arc::clone(&self.config), name).await?;
        Ok(Box::new(transactor))
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Head>, LogError> {
        let (config, asker) = (Arc::clone(&self.config), Arc::clone(&self.asker));
        spawn_blocking(move || topics::heads(&config, &asker, topic))
            .await
            .map_err(|error| LogError::Broken(error.to_string()))?
    }

    fn durability(&self) -> Durability {
        Durability::ProcessKill
    }
}
