//! The settings of every Kafka client that we make, in one place.
//!
//! In:    `kafka://host:9092,host:9092?replication=3&prefix=test-`.
//! Out:   client configurations.

use std::time::Duration;

use inzira_schemas::Topic;
use rdkafka::ClientConfig;

use crate::{CALL_BYTES_MAX, OpenError, RECORD_BYTES_MAX};

/// A record that no broker took within this time is `Unknown`. Shorter than the transaction's.
pub const MESSAGE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Brokers abort a transaction that lasts longer.
pub const TRANSACTION_WAIT_MAX: Duration = Duration::from_secs(15);

/// Where the cluster is, and how its topics are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// Copies of each partition.
    pub replication: i32,
    /// In front of every topic's name: several houses on one cluster, or one test beside another.
    pub prefix: String,
}

impl KafkaConfig {
    /// Reads the address.
    pub fn parse(url: &str) -> Result<Self, OpenError> {
        let wrong = |what: &str| OpenError::Config(format!("the log's address {url:?}: {what}"));
        let rest = url.strip_prefix("kafka://").ok_or_else(|| wrong("it is not kafka://"))?;
        let (brokers, options) = rest.split_once('?').unwrap_or((rest, ""));
        let brokers = brokers.trim_end_matches('/');
        let named = |broker: &str| {
            broker
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if !brokers.split(',').all(named) {
            return Err(wrong("brokers are host:port, separated by commas"));
        }
        let mut config =
            Self { brokers: brokers.to_owned(), replication: 1, prefix: String::new() };
        for (name, value) in url::form_urlencoded::parse(options.as_bytes()) {
            match &*name {
                "replication" => {
                    let copies = value.parse().ok().filter(|copies| (1..=9).contains(copies));
                    config.replication = copies.ok_or_else(|| wrong("replication is 1 to 9"))?;
                }
                "prefix" => {
                    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                    if value.len() > 64 || !value.chars().all(plain) {
                        return Err(wrong("a prefix has letters, digits, - _ . (64 at most)"));
                    }
                    config.prefix = value.into_owned();
                }
                other => return Err(wrong(&format!("there is no option {other:?}"))),
            }
        }
        Ok(config)
    }

    /// A topic's name on this cluster.
    pub fn name_of(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }

    /// The topic of a name on this cluster.
    pub fn topic_of(&self, name: &str) -> Option<Topic> {
        name.strip_prefix(self.prefix.as_str())?.parse().ok()
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "inzira")
            .set("broker.address.family", "any")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true");
        client
    }

    /// For making topics.
    pub fn admin(&self) -> ClientConfig {
        self.client()
    }

    /// For questions about offsets, as a reader of committed records sees them.
    pub fn asker(&self) -> ClientConfig {
        let mut client = self.client();
        client.set("isolation.level", "read_committed");
        client
    }

    /// For `append`.
    pub fn producer(&self) -> ClientConfig {
        let mut client = self.client();
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", "2")
            .set("batch.size", "1000000")
            .set("message.max.bytes", (RECORD_BYTES_MAX + 65_536).to_string())
            .set("message.timeout.ms", MESSAGE_WAIT_MAX.as_millis().to_string())
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", (4 * CALL_BYTES_MAX / 1024).to_string());
        client
    }

    /// For the one transactor of a name.
    pub fn transactor(&self, name: &str) -> ClientConfig {
        let mut client = self.producer();
        client
            .set("transactional.id", format!("{}inzira-{name}", self.prefix))
            .set("transaction.timeout.ms", TRANSACTION_WAIT_MAX.as_millis().to_string());
        client
    }

    /// For one reader. The group is only a name that the library wants: nothing is committed to
    /// it and nobody joins it.
    pub fn reader(&self) -> ClientConfig {
        let mut client = self.client();
        client
            .set("group.id", format!("{}inzira-reader", self.prefix))
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("check.crcs", "true")
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.message.max.bytes", "1048576")
            .set("fetch.error.backoff.ms", "50");
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_brokers_replication_and_prefix() {
        let config = KafkaConfig::parse("kafka://a:1,b:2?replication=3&prefix=test-x-").unwrap();
        assert_eq!(config.brokers, "a:1,b:2");
        assert_eq!(config.replication, 3);
        assert_eq!(config.name_of(Topic::Orders), "test-x-orders");
        assert_eq!(config.topic_of("test-x-orders"), Some(Topic::Orders));
        assert_eq!(config.topic_of("orders"), None);
    }

    #[test]
    fn a_wrong_address_is_refused_by_name() {
        for url in ["kafka://", "kafka://a", "kafka://a:b", "kafka://a:1?x=1", "kafka://a:1,"] {
            assert!(KafkaConfig::parse(url).is_err(), "{url}");
        }
        assert!(KafkaConfig::parse("kafka://a:1?replication=0").is_err());
        assert!(KafkaConfig::parse("kafka://a:1?prefix=a/b").is_err());
    }
}
