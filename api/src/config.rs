//! What the room can be told, each with its default.
//!
//! In:    the binary's configuration.
//! Out:   one struct, read once.
//! Never: read from the environment here.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything that `Api::open` needs to be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Folder of everything embedded; the keys live in `keys/` below it.
    pub data: PathBuf,
    /// `sqlite:`, `sqlite:PATH` or `postgres://…`. Holds a password: never print it.
    #[serde(skip_serializing)]
    pub database: String,
    /// Connections to Postgres.
    pub postgres_connections: u32,
    /// How the outside reaches us (`https://inzira.rw`): share links, device links, QR codes.
    pub public_url: String,
    /// Cookies carry `Secure`: true wherever TLS is.
    pub secure_cookies: bool,
    /// Header of the external gateway key.
    pub gateway_header: String,
    /// Header of the internal gateway key.
    pub internal_header: String,
    /// External gateway keys, current and next; empty: the one made at the first start.
    #[serde(skip_serializing)]
    pub gateway_keys: Vec<String>,
    /// Internal gateway keys, current and next; empty: the one made at the first start.
    #[serde(skip_serializing)]
    pub internal_keys: Vec<String>,
    /// A tile address for the pages, if there is one.
    pub tiles: Option<String>,
    /// What other rooms of the process serve: parts of an OpenAPI document, JSON.
    #[serde(skip)]
    pub documents: Vec<&'static str>,
    /// How dear a password hash is.
    pub passwords: PasswordCost,
    /// Tries and times of logging in.
    pub logins: LoginLimits,
    /// Tariffs, commission, tax.
    pub prices: Prices,
    /// Which rail, and how patient.
    pub payments: PaymentsConfig,
    /// How drivers are found.
    pub matching: MatchingConfig,
}

/// Argon2id parameters.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Hashes at once; two cores do not bear more.
    pub at_once: usize,
    /// How many may wait behind those; more get 429.
    pub waiting_max: usize,
}

/// Tries and times.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginLimits {
    /// Wrong tries a phone within the window, then 429.
    pub tries_per_phone: u32,
    /// Wrong tries an address within the window (a carrier's NAT holds many), then 429.
    pub tries_per_address: u32,
    /// The window, seconds.
    pub window_s: i64,
    /// Life of an access token, seconds.
    pub access_s: i64,
    /// Life of a session, seconds.
    pub session_s: i64,
    /// Life of a code sent by SMS, seconds.
    pub code_s: i64,
    /// Life of a share link when nothing is asked for, seconds.
    pub share_s: i64,
    /// The longest life of a share link, seconds.
    pub share_max_s: i64,
}

/// Shares of the price.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// Commission in hundredths of a per cent of the gross.
    pub commission_basis_points: u32,
    /// Tax in hundredths of a per cent of the gross, contained in it.
    pub tax_basis_points: u32,
    /// How long a quote binds, seconds.
    pub quote_s: i64,
}

/// The rail and its patience.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaymentsConfig {
    /// `MOCK`; the others come with their adapters.
    pub provider: String,
    /// After how long the mock rail confirms, milliseconds.
    pub mock_delay_ms: i64,
    /// When an attempt is given up, seconds.
    pub expires_s: i64,
    /// Attempts an order.
    pub attempts_max: i64,
    /// Attempts looked at in one turn of the poller.
    pub batch_max: i64,
}

/// How a driver is found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatchingConfig {
    /// How far from the pickup, metres.
    pub radius_m: f64,
    /// Between two rounds for one order, milliseconds.
    pub round_ms: i64,
    /// How long to look before `confirmed_no_driver`, seconds.
    pub give_up_s: i64,
    /// Orders looked at in one turn.
    pub batch_max: i64,
    /// Pause between turns when nothing happens.
    #[serde(with = "millis")]
    pub idle_pause: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            data: PathBuf::from("./inzira-data"),
            database: "sqlite:".to_owned(),
            postgres_connections: 20,
            public_url: "http://127.0.0.1:8000".to_owned(),
            secure_cookies: false,
            gateway_header: "x-inzira-key".to_owned(),
            internal_header: "x-internal-key".to_owned(),
            gateway_keys: Vec::new(),
            internal_keys: Vec::new(),
            tiles: None,
            documents: Vec::new(),
            passwords: PasswordCost::default(),
            logins: LoginLimits::default(),
            prices: Prices::default(),
            payments: PaymentsConfig::default(),
            matching: MatchingConfig::default(),
        }
    }
}

impl Default for PasswordCost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, at_once: 2, waiting_max: 8 }
    }
}

impl Default for LoginLimits {
    fn default() -> Self {
        Self {
            tries_per_phone: 5,
            tries_per_address: 50,
            window_s: 15 * 60,
            access_s: 15 * 60,
            session_s: 24 * 3600,
            code_s: 10 * 60,
            share_s: 24 * 3600,
            share_max_s: 7 * 24 * 3600,
        }
    }
}

impl Default for Prices {
    fn default() -> Self {
        Self { commission_basis_points: 1_500, tax_basis_points: 0, quote_s: 15 * 60 }
    }
}

impl Default for PaymentsConfig {
    fn default() -> Self {
        Self {
            provider: "MOCK".to_owned(),
            mock_delay_ms: 1_000,
            expires_s: 15 * 60,
            attempts_max: 3,
            batch_max: 200,
        }
    }
}

impl Default for MatchingConfig {
    fn default() -> Self {
        Self {
            radius_m: 5_000.0,
            round_ms: 2_000,
            give_up_s: 120,
            batch_max: 200,
            idle_pause: Duration::from_millis(250),
        }
    }
}

mod millis {
    use super::Duration;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
