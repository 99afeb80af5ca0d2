//! Transactions over several topics, by the one holder of a name.
//!
//! The library retries a commit inside, and a retried end of a transaction can arrive late and end
//! the next one. So a commit that saw a lost connection or took longer than COMMIT_WAIT_MAX is
//! `Unknown` and this transactor is dead: its successor's first act fences whatever is still on
//! the way, and then reads back what was committed.
//!
//! In:    records.
//! Out:   all of them visible, or none, or unknown.
//! Keeps: one transactional producer.
//! Never: reports a commit that it is not sure of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use tokio::task::spawn_blocking;

use super::config::{KafkaConfig, MESSAGE_WAIT_MAX};
use super::fault;
use super::producer::{Call, Deliverer, Deliveries, Refused, hand_over};
use crate::record::size_checked;
use crate::{LogError, NewRecord, Transactor};

/// Taking over waits for the end of the transaction of the holder before.
const TAKE_OVER_WAIT_MAX: Duration = Duration::from_secs(30);

/// A commit that takes longer is not trusted.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(10);

/// A step of the protocol that asks to be retried is retried this long.
const STEP_WAIT_MAX: Duration = Duration::from_secs(10);
const STEP_PAUSE: Duration = Duration::from_millis(50);

/// The one transactor of a name on Kafka.
pub struct KafkaTransactor {
    config: Arc<KafkaConfig>,
    held: Arc<Held>,
    dead: Option<LogError>,
}

struct Held {
    producer: Deliverer,
    disconnects: Arc<AtomicUsize>,
}

impl KafkaTransactor {
    /// Takes the name over: an earlier holder is fenced, its open transaction aborted.
    pub async fn open(config: Arc<KafkaConfig>, name: &str) -> Result<Self, LogError> {
        let disconnects = Arc::new(AtomicUsize::new(0));
        let producer: Deliverer = config
            .transactor(name)
            .create_with_context(Deliveries::counting(Arc::clone(&disconnects)))
            .map_err(|error| LogError::Broken(error.to_string()))?;
        let held = Arc::new(Held { producer, disconnects });
        let taking = Arc::clone(&held);
        spawn_blocking(move || {
            retried(TAKE_OVER_WAIT_MAX, || taking.producer.init_transactions(TAKE_OVER_WAIT_MAX))
        })
        .await
        .map_err(|error| LogError::Broken(error.to_string()))?
        .map_err(|error| match meaning(&error) {
            Meaning::Fenced => LogError::Fenced(error.to_string()),
            _ => fault::of_question(&error),
        })?;
        Ok(Self { config, held, dead: None })
    }
}

#[async_trait]
impl Transactor for KafkaTransactor {
    async fn transact(&mut self, records: Vec<NewRecord>) -> Result<(), LogError> {
        if let Some(dead) = &self.dead {
            return Err(dead.clone());
        }
        size_checked(&records)?;
        if records.is_empty() {
            return Ok(());
        }
        // Whoever stops waiting leaves the outcome unknown: the next call must not go on from it.
        self.dead = Some(LogError::Unknown("an earlier transaction was given up".to_owned()));
        let (config, held) = (Arc::clone(&self.config), Arc::clone(&self.held));
        let outcome = spawn_blocking(move || held.transact(&config, &records))
            .await
            .unwrap_or_else(|error| Err(LogError::Unknown(error.to_string())));
        self.dead = match &outcome {
            Err(error @ (LogError::Fenced(_) | LogError::Unknown(_))) => Some(error.clone()),
            _ => None,
        };
        outcome
    }
}

impl Drop for KafkaTransactor {
    /// Closing a producer can wait for the network: not on the caller's thread.
    fn drop(&mut self) {
        let held = Arc::clone(&self.held);
        let _ = std::thread::Builder::new()
            .name("transactor-drop".to_owned())
            .spawn(move || drop(held));
    }
}

impl Held {
    fn transact(&self, config: &KafkaConfig, records: &[NewRecord]) -> Result<(), LogError> {
        let disconnects = self.disconnects.load(Ordering::SeqCst);
        retried(STEP_WAIT_MAX, || self.producer.begin_transaction())
            .map_err(|error| self.after(&error))?;
        let (call, _done) = Call::of(records.len());
        for (index, record) in records.iter().enumerate() {
            if let Err(error) = self.send(config, record, &call, index) {
                return Err(self.abort(&error));
            }
        }
        let started = Instant::now();
        let committed =
            retried(COMMIT_WAIT_MAX, || self.producer.commit_transaction(COMMIT_WAIT_MAX));
        let took = started.elapsed();
        if let Err(error) = committed {
            return Err(match meaning(&error) {
                Meaning::Abort => self.abort(&error),
                Meaning::Fenced => LogError::Fenced(error.to_string()),
                _ => LogError::Unknown(error.to_string()),
            });
        }
        if self.disconnects.load(Ordering::SeqCst) != disconnects || took > COMMIT_WAIT_MAX {
            return Err(LogError::Unknown(format!(
                "the commit lost a connection or was slow ({} ms)",
                took.as_millis()
            )));
        }
        Ok(())
    }

    fn send(
        &self,
        config: &KafkaConfig,
        record: &NewRecord,
        call: &Arc<Call>,
        index: usize,
    ) -> Result<(), KafkaError> {
        let name = config.name_of(record.topic);
        let started = Instant::now();
        loop {
            match hand_over(&self.producer, &name, record, call, index) {
                Ok(()) => return Ok(()),
                Err(Refused::Full) if started.elapsed() < MESSAGE_WAIT_MAX => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(Refused::Full) => {
                    return Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                }
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
    }

    /// Undoes the open transaction. Nothing of it is visible when this says `Busy`.
    fn abort(&self, cause: &KafkaError) -> LogError {
        if let Meaning::Fenced = meaning(cause) {
            return LogError::Fenced(cause.to_string());
        }
        match retried(STEP_WAIT_MAX, || self.producer.abort_transaction(STEP_WAIT_MAX)) {
            Ok(()) => match fault::of_delivery(cause) {
                LogError::Broken(what) => LogError::Broken(what),
                _ => LogError::Busy(format!("the transaction was undone: {cause}")),
            },
            Err(error) => self.after(&error),
        }
    }

    /// A step failed and nothing more can be said about this producer.
    fn after(&self, error: &KafkaError) -> LogError {
        match (meaning(error), self.producer.client().fatal_error()) {
            (Meaning::Fenced, _) => LogError::Fenced(error.to_string()),
            (_, Some((code, what))) if fault::is_fence(code) => LogError::Fenced(what),
            _ => LogError::Unknown(error.to_string()),
        }
    }
}

enum Meaning {
    Retry,
    Abort,
    Fenced,
    Fatal,
}

fn meaning(error: &KafkaError) -> Meaning {
    match error {
        _ if error.rdkafka_error_code().is_some_and(fault::is_fence) => Meaning::Fenced,
        KafkaError::Transaction(inner) if fault::is_fence(inner.code()) => Meaning::Fenced,
        KafkaError::Transaction(inner) if inner.is_fatal() => Meaning::Fatal,
        KafkaError::Transaction(inner) if inner.txn_requires_abort() => Meaning::Abort,
        KafkaError::Transaction(inner) if inner.is_retriable() => Meaning::Retry,
        _ => Meaning::Fatal,
    }
}

/// Repeats a step as long as it asks for it and time is left.
fn retried(wait_max: Duration, mut step: impl FnMut() -> KafkaResult<()>) -> KafkaResult<()> {
    let started = Instant::now();
    loop {
        match step() {
            Err(error)
                if matches!(meaning(&error), Meaning::Retry) && started.elapsed() < wait_max =>
            {
                tracing::debug!(%error, "a step of a transaction is retried");
                std::thread::sleep(STEP_PAUSE);
            }
            outcome => return outcome,
        }
    }
}
