//! Reads committed records from Kafka.
//!
//! One consumer, assigned once with explicit offsets. No group, no split queues, no pausing: each
//! of these can lose a partition for ever. What bounds it is the prefetch; a caller that does not
//! poll stops it.
//!
//! In:    the next offset of each partition.
//! Out:   records in offset order per partition.
//! Keeps: the consumer, with at most 16 MiB fetched ahead.
//! Never: commits an offset; shows a record of an open or aborted transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::config::KafkaConfig;
use super::{fault, topics};
use crate::embedded::check_within;
use crate::{Header, LogError, LogReader, Position, Record};

/// A reader of the Kafka log.
pub struct KafkaReader {
    config: Arc<KafkaConfig>,
    asker: Arc<BaseConsumer>,
    consumer: BaseConsumer,
    from: Vec<Position>,
    failed: Option<LogError>,
}

impl KafkaReader {
    /// Assigns the places.
    pub fn open(
        config: Arc<KafkaConfig>,
        asker: Arc<BaseConsumer>,
        from: &[Position],
    ) -> Result<Self, LogError> {
        let consumer: BaseConsumer =
            config.reader().create().map_err(|error| fault::of_question(&error))?;
        let mut places = TopicPartitionList::with_capacity(from.len());
        for position in from {
            if position.partition >= position.topic.partitions() {
                return Err(LogError::Broken(format!(
                    "{} has no partition {}",
                    position.topic, position.partition
                )));
            }
            places
                .add_partition_offset(
                    &config.name_of(position.topic),
                    i32::try_from(position.partition).unwrap_or(0),
                    Offset::Offset(i64::try_from(position.offset).unwrap_or(i64::MAX)),
                )
                .map_err(|error| fault::of_question(&error))?;
        }
        consumer.assign(&places).map_err(|error| fault::of_question(&error))?;
        Ok(Self { config, asker, consumer, from: from.to_vec(), failed: None })
    }

    /// An offset that the broker does not have: too old, or past the end?
    fn out_of_range(&self) -> LogError {
        for position in self.positions() {
            let heads = match topics::heads(&self.config, &self.asker, position.topic) {
                Ok(heads) => heads,
                Err(error) => return error,
            };
            let head = heads.get(position.partition as usize);
            if let Some(error) = head.and_then(|head| check_within(&position, *head).err()) {
                return error;
            }
        }
        LogError::Broken("the broker has not the offset that was asked for".to_owned())
    }

    fn failure(&self, error: &KafkaError) -> Option<LogError> {
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Some(self.out_of_range()),
            // The library goes on by itself when the brokers are back.
            Some(
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::CoordinatorLoadInProgress,
            ) => {
                tracing::debug!(%error, "reading waits for the brokers");
                None
            }
            _ => Some(LogError::Broken(error.to_string())),
        }
    }
}

impl LogReader for KafkaReader {
    fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let deadline = Instant::now() + wait;
        let mut gathered = Gathered::default();
        let mut failed = None;
        while gathered.bytes.len() < bytes_max.max(1) {
            // Only the first record is waited for.
            let left = match gathered.parts.is_empty() {
                true => deadline.saturating_duration_since(Instant::now()),
                false => Duration::ZERO,
            };
            match self.consumer.poll(left) {
                Some(Ok(message)) => {
                    if let Err(error) = gathered.take(&self.config, &message) {
                        failed = Some(error);
                        break;
                    }
                }
                Some(Err(error)) => {
                    failed = self.failure(&error);
                    if failed.is_some() {
                        break;
                    }
                }
                None if left.is_zero() || Instant::now() >= deadline => break,
                None => {}
            }
        }
        let records = gathered.into_records();
        match failed {
            Some(busy @ LogError::Busy(_)) if records.is_empty() => Err(busy),
            Some(LogError::Busy(_)) | None => Ok(records),
            Some(error) => {
                self.failed = Some(error.clone());
                if records.is_empty() { Err(error) } else { Ok(records) }
            }
        }
    }

    fn positions(&self) -> Vec<Position> {
        let reached = self.consumer.position().ok();
        self.from
            .iter()
            .map(|from| {
                let name = self.config.name_of(from.topic);
                let partition = i32::try_from(from.partition).unwrap_or(0);
                let offset = reached
                    .as_ref()
                    .and_then(|list| list.find_partition(&name, partition))
                    .and_then(|element| match element.offset() {
                        Offset::Offset(offset) => u64::try_from(offset).ok(),
                        _ => None,
                    });
                Position { offset: offset.unwrap_or(from.offset), ..*from }
            })
            .collect()
    }
}

/// Records of one poll: their bytes lie in one piece, which all of them share.
#[derive(Default)]
struct Gathered {
    bytes: BytesMut,
    parts: Vec<Part>,
}

struct Part {
    record: Record,
    key_len: usize,
    value_len: usize,
    header_lens: Vec<usize>,
}

impl Gathered {
    fn take(
        &mut self,
        config: &KafkaConfig,
        message: &BorrowedMessage<'_>,
    ) -> Result<(), LogError> {
        let topic = config.topic_of(message.topic()).ok_or_else(|| {
            LogError::Broken(format!("a record of the topic {:?}", message.topic()))
        })?;
        let key = message.key().unwrap_or_default();
        let value = message.payload().unwrap_or_default();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        let mut headers = Vec::new();
        let mut header_lens = Vec::new();
        if let Some(found) = message.headers() {
            headers.reserve_exact(found.count());
            for header in found.iter() {
                let value = header.value.unwrap_or_default();
                self.bytes.extend_from_slice(value);
                header_lens.push(value.len());
                headers.push(Header { name: header.key.to_owned(), value: Bytes::new() });
            }
        }
        let record = Record {
            topic,
            partition: u32::try_from(message.partition()).unwrap_or(0),
            offset: u64::try_from(message.offset()).unwrap_or(0),
            appended_at_us: message.timestamp().to_millis().unwrap_or(0).saturating_mul(1000),
            key: Bytes::new(),
            value: Bytes::new(),
            headers,
        };
        let (key_len, value_len) = (key.len(), value.len());
        self.parts.push(Part { record, key_len, value_len, header_lens });
        Ok(())
    }

    fn into_records(self) -> Vec<Record> {
        let mut bytes = self.bytes.freeze();
        self.parts
            .into_iter()
            .map(|part| {
                let mut record = part.record;
                record.key = bytes.split_to(part.key_len);
                record.value = bytes.split_to(part.value_len);
                for (header, len) in record.headers.iter_mut().zip(part.header_lens) {
                    header.value = bytes.split_to(len);
                }
                record
            })
            .collect()
    }
}
