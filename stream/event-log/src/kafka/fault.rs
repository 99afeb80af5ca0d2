//! What Kafka's errors mean for the caller.
//!
//! In:    an error of the library.
//! Out:   a `LogError` that says what to do next.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::LogError;

/// A newer producer with the same transactional id has taken over.
pub fn is_fence(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// A record was handed over and no good answer came: it may be written.
pub fn of_delivery(error: &KafkaError) -> LogError {
    match error.rdkafka_error_code() {
        Some(code) if is_fence(code) => LogError::Fenced(error.to_string()),
        Some(
            Code::MessageSizeTooLarge
            | Code::InvalidRecord
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::InvalidTopic,
        ) => LogError::Broken(error.to_string()),
        Some(Code::Fatal) => LogError::Poisoned(error.to_string()),
        _ => LogError::Unknown(error.to_string()),
    }
}

/// Nothing was asked to be written.
pub fn of_question(error: &KafkaError) -> LogError {
    let code = match error {
        // The library's own question leaves these out.
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::NotCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            // A broker that was killed and is back: leaders are told of one after the other.
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::ReplicaNotAvailable
            | Code::Resolve,
        ) => LogError::Busy(error.to_string()),
        _ => LogError::Broken(error.to_string()),
    }
}
