//! Appends: many records handed over, one answer when all are delivered.
//!
//! In:    records; a full queue of the library is waited for.
//! Out:   the place of each record.
//! Keeps: one idempotent producer and the thread that polls it.
//! Never: answers before every record of the call is acknowledged by all in-sync replicas.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header as KafkaHeader, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::config::KafkaConfig;
use super::fault;
use crate::{Appended, LogError, NewRecord, OpenError};

/// While the library's queue is full we look again after this long.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// A queue that stays full so long means that no broker takes anything.
const FULL_WAIT_MAX: Duration = Duration::from_secs(5);

/// A producer whose deliveries find their call.
pub type Deliverer = ThreadedProducer<Deliveries, NoCustomPartitioner>;

/// Hands each delivery report to the call that waits for it, and counts lost connections.
#[derive(Debug, Default)]
pub struct Deliveries {
    disconnects: Arc<AtomicUsize>,
}

impl Deliveries {
    /// One that counts into `disconnects`.
    pub fn counting(disconnects: Arc<AtomicUsize>) -> Self {
        Self { disconnects }
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, reason, "producer");
        self.disconnects.fetch_add(1, Ordering::SeqCst);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        ticket.call.delivered(ticket.index, outcome);
    }
}

/// Which record of which call a delivery report is about.
#[derive(Debug)]
pub struct Ticket {
    call: Arc<Call>,
    index: usize,
}

/// One call that waits for its records.
#[derive(Debug)]
pub struct Call {
    waiting: AtomicUsize,
    found: Mutex<Found>,
}

#[derive(Debug)]
struct Found {
    offsets: Vec<(u32, u64)>,
    error: Option<KafkaError>,
    done: Option<oneshot::Sender<()>>,
}

impl Call {
    /// A call of so many records; the receiver hears when the last one is reported.
    pub fn of(records: usize) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (done, heard) = oneshot::channel();
        let found = Found { offsets: vec![(0, 0); records], error: None, done: Some(done) };
        let call = Self { waiting: AtomicUsize::new(records), found: Mutex::new(found) };
        (Arc::new(call), heard)
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delivered(&self, index: usize, outcome: Result<(i32, i64), KafkaError>) {
        let mut found = self.found();
        match outcome {
            Ok((partition, offset)) => {
                found.offsets[index] =
                    (u32::try_from(partition).unwrap_or(0), u64::try_from(offset).unwrap_or(0));
            }
            Err(error) => {
                found.error.get_or_insert(error);
            }
        }
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(done) = found.done.take()
        {
            let _ = done.send(());
        }
    }

    /// These records were never handed over.
    pub fn not_sent(&self, records: usize, error: KafkaError) {
        for _ in 0..records {
            self.delivered(0, Err(error.clone()));
        }
    }

    /// The first error, or the places.
    pub fn outcome(&self) -> Result<Vec<(u32, u64)>, KafkaError> {
        let mut found = self.found();
        match found.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut found.offsets)),
        }
    }
}

/// Hands over one record. `Err(true)` means that the queue is full: try again.
pub fn hand_over(
    producer: &Deliverer,
    name: &str,
    record: &NewRecord,
    call: &Arc<Call>,
    index: usize,
) -> Result<(), Refused> {
    let mut kafka_record =
        BaseRecord::with_opaque_to(name, Box::new(Ticket { call: Arc::clone(call), index }))
            .partition(i32::try_from(record.partition()).unwrap_or(0))
            .key(&record.key[..])
            .payload(&record.value[..]);
    if !record.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for header in &record.headers {
            headers =
                headers.insert(KafkaHeader { key: &header.name, value: Some(&header.value[..]) });
        }
        kafka_record = kafka_record.headers(headers);
    }
    match producer.send(kafka_record) {
        Ok(()) => Ok(()),
        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Err(Refused::Full),
        Err((error, _)) => Err(Refused::Failed(error)),
    }
}

/// Why a record was not taken.
#[derive(Debug)]
pub enum Refused {
    /// The queue is full.
    Full,
    /// Anything else.
    Failed(KafkaError),
}

/// The producer behind `append`.
pub struct Appender {
    producer: Arc<Deliverer>,
    /// A fatal error ends the producer for good: the process must reopen.
    dead: OnceLock<LogError>,
}

impl Appender {
    /// Makes the producer; it connects by itself.
    pub fn open(config: &KafkaConfig) -> Result<Self, OpenError> {
        let producer: Deliverer = config
            .producer()
            .create_with_context(Deliveries::default())
            .map_err(|error| OpenError::Config(error.to_string()))?;
        Ok(Self { producer: Arc::new(producer), dead: OnceLock::new() })
    }

    /// Hands all records over in order, then waits for all of them.
    pub async fn append(
        &self,
        config: &KafkaConfig,
        records: &[NewRecord],
    ) -> Result<Appended, LogError> {
        if let Some(dead) = self.dead.get() {
            return Err(dead.clone());
        }
        if records.is_empty() {
            return Ok(Appended { offsets: Vec::new() });
        }
        let (call, done) = Call::of(records.len());
        for (index, record) in records.iter().enumerate() {
            let name = config.name_of(record.topic);
            if let Err(error) = self.hand_over(&name, record, &call, index).await {
                call.not_sent(records.len() - index, error.clone());
                if index == 0 {
                    return Err(self.refused(&error));
                }
                break;
            }
        }
        // The library reports every record within its message timeout.
        let _ = done.await;
        let offsets = call.outcome().map_err(|error| self.noted(fault::of_delivery(&error)))?;
        Ok(Appended { offsets })
    }

    async fn hand_over(
        &self,
        name: &str,
        record: &NewRecord,
        call: &Arc<Call>,
        index: usize,
    ) -> Result<(), KafkaError> {
        let started = Instant::now();
        loop {
            match hand_over(&self.producer, name, record, call, index) {
                Ok(()) => return Ok(()),
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Full) if started.elapsed() > FULL_WAIT_MAX => {
                    return Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                }
                Err(Refused::Full) => tokio::time::sleep(FULL_PAUSE).await,
            }
        }
    }

    /// Nothing of the call was handed over.
    fn refused(&self, error: &KafkaError) -> LogError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => {
                LogError::Busy("no broker takes records".to_owned())
            }
            _ => self.noted(match fault::of_delivery(error) {
                LogError::Unknown(what) => LogError::Busy(what),
                other => other,
            }),
        }
    }

    fn noted(&self, error: LogError) -> LogError {
        if let LogError::Poisoned(_) = error {
            let _ = self.dead.set(error.clone());
        }
        error
    }
}
