//! Chooses the log by its URL.
//!
//! In:    `file:` with a folder, or `kafka://host:9092,host:9092`.
//! Out:   an `EventLog`.
//!
//! | URL | Log |
//! |---|---|
//! | `file:` | embedded, in the folder `log` of the data folder |
//! | `file:/var/lib/inzira/log`, `file:///…` | embedded, in that folder |
//! | `kafka://a:9092,b:9092?replication=3` | Kafka; topics are made with that replication (1) |
//! | `kafka://…?prefix=test-` | Kafka; every topic's name begins with the prefix |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use inzira_schemas::SystemClock;

use crate::embedded::EmbeddedLog;
use crate::kafka::{KafkaConfig, KafkaLog};
use crate::{EventLog, LogError};

/// Whether this process writes the log or only reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The one writer of the folder; a second one is refused.
    ReadWrite,
    /// Reads what is committed: `inzira sql`, the SQL process.
    ReadOnly,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Configuration: exit 78.
    #[error("{0}")]
    Config(String),
    /// Another process writes the folder: exit 78 and name it.
    #[error("the log in {folder} is being written by process {pid}")]
    Locked {
        /// The folder.
        folder: String,
        /// The other process; 0 when it has not said.
        pid: u32,
    },
    /// The log itself.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Opens the log that `url` names. `data` is the folder of everything embedded.
pub async fn open(url: &str, data: &Path, access: Access) -> Result<Arc<dyn EventLog>, OpenError> {
    if let Some(folder) = url.strip_prefix("file:") {
        let folder = folder_of(folder, data)?;
        let log = EmbeddedLog::open(&folder, access, Arc::new(SystemClock)).await?;
        return Ok(Arc::new(log));
    }
    if url.starts_with("kafka://") {
        let log = KafkaLog::open(KafkaConfig::parse(url)?, access).await?;
        return Ok(Arc::new(log));
    }
    let shown: String = url.chars().take(80).collect();
    Err(OpenError::Config(format!(
        "the log's address {shown:?} is neither file: nor kafka://host:port"
    )))
}

fn folder_of(path: &str, data: &Path) -> Result<PathBuf, OpenError> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.contains('?') {
        return Err(OpenError::Config("a file: log takes no options".to_owned()));
    }
    Ok(if path.is_empty() { data.join("log") } else { PathBuf::from(path) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_file_address_means_the_log_folder_of_the_data_folder() {
        let data = Path::new("/data");
        assert_eq!(folder_of("", data).unwrap(), Path::new("/data/log"));
        assert_eq!(folder_of("/x/log", data).unwrap(), Path::new("/x/log"));
        assert_eq!(folder_of("///x/log", data).unwrap(), Path::new("/x/log"));
        assert!(folder_of("/x?y=1", data).is_err());
    }

    #[tokio::test]
    async fn an_address_of_no_known_kind_is_a_mistake_of_configuration() {
        let opened = open("redis://x", Path::new("/tmp"), Access::ReadOnly).await;
        assert!(matches!(opened, Err(OpenError::Config(_))));
    }
}
