//! Personal data stays home: every outbound endpoint is checked against an allow-list at start.
//!
//! In:    `INZIRA_ALLOW` and the endpoints of the configuration.
//! Out:   nothing, or what is refused and why (exit 78).
//! Never: lets a name through because it could not be resolved.

use std::net::{IpAddr, ToSocketAddrs};

use crate::config::{Config, ConfigError};

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    address: IpAddr,
    bits: u8,
}

/// Where the process may connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowList {
    ranges: Vec<Range>,
    names: Vec<String>,
}

const LOOPBACK: &[&str] = &["127.0.0.0/8", "::1/128"];
const PRIVATE: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

impl AllowList {
    /// Reads `loopback,private,41.186.0.0/16,kafka.inzira.rw`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut list = Self { ranges: Vec::new(), names: Vec::new() };
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "loopback" => list.ranges.extend(LOOPBACK.iter().filter_map(|r| Range::parse(r))),
                "private" => list.ranges.extend(PRIVATE.iter().filter_map(|r| Range::parse(r))),
                _ => match Range::parse(word) {
                    Some(range) => list.ranges.push(range),
                    None if is_name(word) => list.names.push(word.to_ascii_lowercase()),
                    None => {
                        let wrong = format!("INZIRA_ALLOW: {word:?} is no range and no host name");
                        return Err(ConfigError(vec![wrong]));
                    }
                },
            }
        }
        Ok(list)
    }

    /// Whether every address of `host` lies inside.
    fn admits(&self, host: &str, port: u16) -> Result<(), String> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if self.names.iter().any(|name| name == &host.to_ascii_lowercase()) {
            return Ok(());
        }
        let addresses: Vec<IpAddr> = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => (host, port)
                .to_socket_addrs()
                .map_err(|error| format!("{host} does not resolve: {error}"))?
                .map(|address| address.ip())
                .collect(),
        };
        match addresses.iter().find(|ip| !self.ranges.iter().any(|range| range.contains(**ip))) {
            Some(outside) => Err(format!("{host} is {outside}, outside INZIRA_ALLOW")),
            None if addresses.is_empty() => Err(format!("{host} has no address")),
            None => Ok(()),
        }
    }
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, bits.parse().ok()?),
            None => {
                let address: IpAddr = text.parse().ok()?;
                (address, if address.is_ipv4() { 32 } else { 128 })
            }
        };
        let most = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        (bits <= most).then_some(Self { address, bits })
    }

    fn contains(self, other: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
            IpAddr::V6(ip) => u128::from(ip),
        };
        let other = other.to_canonical();
        self.address.is_ipv4() == other.is_ipv4()
            && (self.bits == 0
                || bits(self.address) >> (128 - u32::from(self.bits))
                    == bits(other) >> (128 - u32::from(self.bits)))
    }
}

fn is_name(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
        && word.chars().any(|c| c.is_ascii_alphabetic())
}

/// Checks every endpoint that the configuration names.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    let list = AllowList::parse(config.get("INZIRA_ALLOW"))?;
    let mut wrong = Vec::new();
    for name in ["INZIRA_LOG", "INZIRA_DB", "INZIRA_BUS", "INZIRA_STORE", "INZIRA_TILES"] {
        for (host, port) in endpoints(config.get(name)) {
            if let Err(why) = list.admits(&host, port) {
                wrong.push(format!("{name}: {why}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(ConfigError(wrong)) }
}

/// The hosts that a setting makes the process connect to; none for embedded ones.
fn endpoints(setting: &str) -> Vec<(String, u16)> {
    if let Some(brokers) = setting.strip_prefix("kafka://") {
        let brokers = brokers.split(['?', '/']).next().unwrap_or_default();
        return brokers.split(',').map(|broker| host_and_port(broker, 9092)).collect();
    }
    let Ok(url) = url::Url::parse(setting) else { return Vec::new() };
    match url.scheme() {
        "s3" => url
            .query_pairs()
            .filter(|(name, _)| name == "endpoint")
            .filter_map(|(_, endpoint)| url::Url::parse(&endpoint).ok())
            .filter_map(|endpoint| host_of(&endpoint))
            .collect(),
        "postgres" | "postgresql" | "redis" | "rediss" | "http" | "https" => {
            host_of(&url).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn host_of(url: &url::Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default().unwrap_or(443)))
}

fn host_and_port(text: &str, default_port: u16) -> (String, u16) {
    match text.rsplit_once(':') {
        Some((host, port)) => (host.to_owned(), port.parse().unwrap_or(default_port)),
        None => (text.to_owned(), default_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pairs: &[(&str, &str)]) -> Result<(), ConfigError> {
        let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        check(&Config::load(None, env).unwrap())
    }

    #[test]
    fn everything_embedded_connects_to_nobody() {
        assert_eq!(checked(&[]), Ok(()));
    }

    #[test]
    fn an_address_abroad_is_refused_wherever_it_stands() {
        for (name, value) in [
            ("INZIRA_LOG", "kafka://127.0.0.1:9092,8.8.8.8:9092"),
            ("INZIRA_DB", "postgres://u:p@8.8.8.8/db"),
            ("INZIRA_BUS", "redis://8.8.8.8"),
            ("INZIRA_STORE", "s3://b?endpoint=http://8.8.8.8:9000&region=x"),
            ("INZIRA_TILES", "https://8.8.8.8/{z}/{x}/{y}.png"),
        ] {
            let error = checked(&[(name, value)]).unwrap_err();
            assert!(error.to_string().contains("8.8.8.8"), "{name}: {error}");
        }
    }

    #[test]
    fn a_name_passes_when_listed_and_an_unresolvable_one_never() {
        let bus = ("INZIRA_BUS", "redis://bus.example.invalid:6379");
        assert!(checked(&[bus]).is_err());
        assert_eq!(checked(&[bus, ("INZIRA_ALLOW", "bus.example.invalid")]), Ok(()));
    }

    #[test]
    fn ranges_hold_their_rim() {
        let list = AllowList::parse("172.16.0.0/12").unwrap();
        assert!(list.admits("172.31.255.255", 1).is_ok());
        assert!(list.admits("172.32.0.0", 1).is_err());
        assert!(AllowList::parse("not a range!").is_err());
    }
}
