//! Chooses the bus by its URL.

use std::sync::Arc;

use crate::LiveBus;
use crate::memory::MemoryBus;
use crate::redis::RedisBus;

/// Why a bus could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Configuration: exit 78.
    #[error("{0}")]
    Config(String),
    /// It is not there.
    #[error("{0}")]
    Unavailable(String),
}

/// Opens the bus that `url` names: `memory:` or `redis://…`.
pub async fn open(url: &str) -> Result<Arc<dyn LiveBus>, OpenError> {
    if url == "memory:" {
        return Ok(Arc::new(MemoryBus::default()));
    }
    if url.starts_with("redis://") {
        return Ok(Arc::new(RedisBus::connect(url).await?));
    }
    // The URL may hold a password: it is not repeated.
    Err(OpenError::Config("not a live bus: use memory: or redis://host:port".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_a_bus_is_a_fault_of_configuration_and_keeps_its_secret() {
        for url in ["", "memory", "http://user:hunter2@host", "redis://:hunter2@"] {
            let Err(error) = open(url).await else { panic!("{url} was opened") };
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_redis_that_is_not_there_is_unavailable() {
        let Err(error) = open("redis://127.0.0.1:1").await else { panic!("opened") };
        assert!(matches!(error, OpenError::Unavailable(_)), "{error}");
    }
}
