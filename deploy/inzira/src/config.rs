//! The configuration: defaults, then one TOML file, then the environment, read once.
//!
//! In:    `inzira.toml` (or `--config FILE`) and environment variables of the same names.
//! Out:   one `Config`, or a list of everything that is wrong with it (exit 78).
//! Never: ignores a key it does not know; prints a secret.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A key of the configuration.
pub struct Key {
    /// Its name, in the file and in the environment.
    pub name: &'static str,
    /// What holds when nobody says otherwise; empty: unset.
    pub default: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
    /// What it is for, in a line.
    pub help: &'static str,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default, secret: false, help }
}

const fn secret(name: &'static str, help: &'static str) -> Key {
    Key { name, default: "", secret: true, help }
}

/// Every key there is.
pub const KEYS: &[Key] = &[
    key("INZIRA_DATA", "./inzira-data", "folder of everything embedded"),
    key("INZIRA_LOG", "file:", "event log: file: or kafka://host:9092,host:9092"),
    key("INZIRA_DB", "sqlite:", "database: sqlite: or postgres://…"),
    key("INZIRA_BUS", "memory:", "live bus: memory: or redis://…"),
    key("INZIRA_STORE", "file:", "objects: file: or s3://bucket?endpoint=http://…&region=…"),
    key("INZIRA_HTTP", "127.0.0.1:8000", "public API, pages, WebSocket"),
    key("INZIRA_PGWIRE", "127.0.0.1:5433", "SQL for engineers"),
    key("INZIRA_ADMIN", "127.0.0.1:9090", "/livez /readyz /startupz /metrics"),
    key(
        "INZIRA_PUBLIC_URL",
        "",
        "address that links and QR codes carry; default http://INZIRA_HTTP",
    ),
    key("INZIRA_TILES", "", "map tiles: a PMTiles file or a tile URL on our own host"),
    key(
        "INZIRA_ALLOW",
        "loopback,private",
        "where the service may connect to: loopback, private, CIDR ranges, host names",
    ),
    key("INZIRA_WORKERS", "2", "timely workers of the flow"),
    key(
        "INZIRA_CONNECTIONS_MAX",
        "15000",
        "open connections at once; further ones wait to be accepted",
    ),
    key("INZIRA_ARCHIVE_SECONDS", "5", "age at which a batch is committed to the archive"),
    key("INZIRA_DRAIN_WAIT_SECONDS", "0", "wait between /readyz turning 503 and closing the door"),
    key("INZIRA_LOG_LEVEL", "info", "log filter: error, warn, info, debug, or target=level,…"),
    key("PAYMENT_PROVIDER", "MOCK", "payment rail: MOCK (others are refused until they are built)"),
    secret(
        "INZIRA_GATEWAY_KEY",
        "key that programs outside send as x-inzira-key; made at first start if unset",
    ),
    secret(
        "INTERNAL_API_KEY",
        "key between our own services, x-internal-key; made at first start if unset",
    ),
    secret(
        "JWT_SECRET",
        "Ed25519 private key (PKCS 8 PEM) that signs tokens; made at first start if unset",
    ),
    secret("AWS_ACCESS_KEY_ID", "object store key id"),
    secret("AWS_SECRET_ACCESS_KEY", "object store key"),
];

/// Environment names that begin with `INZIRA_` but are not ours to judge.
const PASSED_OVER: &[&str] =
    &["INZIRA_TEST_", "INZIRA_BIN", "INZIRA_CONFIG", "INZIRA_LOGIN", "INZIRA_PASSWORD"];

/// Everything that is wrong with a configuration. Exit 78.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad configuration: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody said otherwise.
    Default,
    /// The TOML file.
    File,
    /// The environment.
    Environment,
}

/// The configuration of one process.
#[derive(Debug, Clone)]
pub struct Config {
    values: BTreeMap<&'static str, (String, Source)>,
    /// Folder of everything embedded.
    pub data: PathBuf,
    /// Public API, pages, WebSocket.
    pub http: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
    /// Timely workers.
    pub workers: usize,
    /// Open connections at once.
    pub connections_max: u32,
    /// Seconds until a batch is committed to the archive.
    pub archive_seconds: u64,
    /// Seconds between `/readyz` 503 and the closing of the door.
    pub drain_wait_seconds: u64,
}

impl Config {
    /// Reads the file (if there is one) and the environment.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut wrong = Vec::new();
        let mut values: BTreeMap<&'static str, (String, Source)> =
            KEYS.iter().map(|key| (key.name, (key.default.to_owned(), Source::Default))).collect();
        if let Some(path) = file {
            for (name, value) in read_file(path)? {
                match find(&name) {
                    Some(key) => drop(values.insert(key.name, (value, Source::File))),
                    None => wrong.push(unknown(&name, &path.display().to_string())),
                }
            }
        }
        for (name, value) in environment {
            match find(&name) {
                Some(_) if value.is_empty() => {}
                Some(key) => drop(values.insert(key.name, (value, Source::Environment))),
                None if !name.starts_with("INZIRA_") => {}
                None if PASSED_OVER.iter().any(|ours| name.starts_with(ours)) => {}
                None => wrong.push(unknown(&name, "the environment")),
            }
        }
        Self::typed(values, wrong)
    }

    fn typed(
        values: BTreeMap<&'static str, (String, Source)>,
        mut wrong: Vec<String>,
    ) -> Result<Self, ConfigError> {
        fn parsed<T: std::str::FromStr>(
            values: &BTreeMap<&'static str, (String, Source)>,
            name: &'static str,
            what: &str,
            wrong: &mut Vec<String>,
        ) -> Option<T> {
            let text = values.get(name).map_or("", |(text, _)| text.as_str());
            let value = text.parse().ok();
            if value.is_none() {
                wrong.push(format!("{name} is {text:?}, not {what}"));
            }
            value
        }
        let http = parsed(&values, "INZIRA_HTTP", "an address like 127.0.0.1:8000", &mut wrong);
        let admin = parsed(&values, "INZIRA_ADMIN", "an address like 127.0.0.1:9090", &mut wrong);
        let workers: Option<usize> = parsed(&values, "INZIRA_WORKERS", "a number", &mut wrong);
        if workers.is_some_and(|workers| !(1..=64).contains(&workers)) {
            wrong.push("INZIRA_WORKERS must be 1 to 64".to_owned());
        }
        let connections = parsed(&values, "INZIRA_CONNECTIONS_MAX", "a number", &mut wrong);
        let archive = parsed(&values, "INZIRA_ARCHIVE_SECONDS", "whole seconds", &mut wrong);
        let drain = parsed(&values, "INZIRA_DRAIN_WAIT_SECONDS", "whole seconds", &mut wrong);
        let provider = values.get("PAYMENT_PROVIDER").map_or("", |(text, _)| text.as_str());
        if provider != "MOCK" {
            wrong.push(format!("PAYMENT_PROVIDER is {provider:?}; only MOCK is built so far"));
        }
        match (http, admin, workers, connections, archive, drain) {
            (
                Some(http),
                Some(admin),
                Some(workers),
                Some(connections),
                Some(archive),
                Some(drain),
            ) if wrong.is_empty() => {
                let data = values.get("INZIRA_DATA").map_or("", |(text, _)| text.as_str()).into();
                Ok(Self {
                    values,
                    data,
                    http,
                    admin,
                    workers,
                    connections_max: connections,
                    archive_seconds: archive,
                    drain_wait_seconds: drain,
                })
            }
            _ => Err(ConfigError(wrong)),
        }
    }

    /// The value of a key; empty when unset.
    pub fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |(text, _)| text.as_str())
    }

    /// The value of a key, or nothing when unset.
    pub fn optional(&self, name: &str) -> Option<String> {
        Some(self.get(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Says otherwise, as a command's own option does.
    pub fn with(mut self, name: &'static str, value: &str) -> Result<Self, ConfigError> {
        self.values.insert(name, (value.to_owned(), Source::Environment));
        Self::typed(self.values, Vec::new())
    }

    /// The address that links carry.
    pub fn public_url(&self) -> String {
        match self.get("INZIRA_PUBLIC_URL") {
            "" => format!("http://{}", self.http),
            url => url.trim_end_matches('/').to_owned(),
        }
    }

    /// The effective configuration as TOML, each line with its source; secrets hidden.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for key in KEYS {
            let Some((value, source)) = self.values.get(key.name) else { continue };
            let shown = match (key.secret, value.is_empty()) {
                (true, false) => "\"(hidden)\"".to_owned(),
                _ => toml::Value::String(without_password(value)).to_string(),
            };
            let from = match source {
                Source::Default => "default",
                Source::File => "file",
                Source::Environment => "environment",
            };
            text.push_str(&format!("# {}\n{} = {shown} # {from}\n", key.help, key.name));
        }
        text
    }
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn unknown(name: &str, place: &str) -> String {
    let close = KEYS
        .iter()
        .map(|key| key.name)
        .filter(|known| known.starts_with(name) || name.starts_with(known) || one_off(known, name))
        .collect::<Vec<_>>();
    match close.as_slice() {
        [] => format!("{place} sets {name}, which is no key (see `inzira config`)"),
        close => {
            format!("{place} sets {name}, which is no key; did you mean {}?", close.join(" or "))
        }
    }
}

/// Same length but for one letter more, less or other.
fn one_off(a: &str, b: &str) -> bool {
    let same_head = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let same_tail = a.bytes().rev().zip(b.bytes().rev()).take_while(|(x, y)| x == y).count();
    a.len().abs_diff(b.len()) <= 1 && same_head + same_tail + 1 >= a.len().max(b.len())
}

fn read_file(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let wrong = |what: String| ConfigError(vec![format!("{}: {what}", path.display())]);
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        wrong(error.to_string().lines().collect::<Vec<_>>().join(" "))
    })?;
    table
        .into_iter()
        .map(|(name, value)| match value {
            toml::Value::String(text) => Ok((name, text)),
            toml::Value::Integer(number) => Ok((name, number.to_string())),
            toml::Value::Boolean(truth) => Ok((name, truth.to_string())),
            _ => Err(wrong(format!("{name} must be text or a number"))),
        })
        .collect()
}

/// A URL's password is a secret wherever it stands.
fn without_password(value: &str) -> String {
    match url::Url::parse(value) {
        Ok(mut url) if url.password().is_some() => {
            let hidden = url.set_password(Some("hidden"));
            if hidden.is_ok() { url.to_string() } else { "(hidden)".to_owned() }
        }
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn with_nothing_set_everything_is_embedded() {
        let config = Config::load(None, env(&[("PATH", "/bin")])).unwrap();
        assert_eq!(config.get("INZIRA_LOG"), "file:");
        assert_eq!(config.public_url(), "http://127.0.0.1:8000");
    }

    #[test]
    fn an_unknown_key_refuses_and_names_the_likely_one() {
        let error = Config::load(None, env(&[("INZIRA_HTPP", "x")])).unwrap_err();
        assert!(error.to_string().contains("did you mean INZIRA_HTTP?"), "{error}");
    }

    #[test]
    fn every_wrong_value_is_named_at_once() {
        let wrong = env(&[("INZIRA_HTTP", "here"), ("INZIRA_WORKERS", "0")]);
        let error = Config::load(None, wrong).unwrap_err();
        assert_eq!(error.0.len(), 2, "{error}");
    }

    #[test]
    fn secrets_and_passwords_are_not_shown() {
        let set = env(&[("JWT_SECRET", "s3cret"), ("INZIRA_DB", "postgres://u:pw123@h/db")]);
        let shown = Config::load(None, set).unwrap().shown();
        assert!(!shown.contains("s3cret") && !shown.contains("pw123"), "{shown}");
        assert!(shown.contains("postgres://u:hidden@h/db"));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inzira.toml");
        std::fs::write(&path, "INZIRA_WORKERS = 3\nINZIRA_DATA = \"/x\"\n").unwrap();
        let config = Config::load(Some(&path), env(&[("INZIRA_WORKERS", "4")])).unwrap();
        assert_eq!((config.workers, config.data), (4, PathBuf::from("/x")));
        std::fs::write(&path, "INZIRA_WROKERS = 3\n").unwrap();
        assert!(Config::load(Some(&path), env(&[])).is_err());
    }
}
