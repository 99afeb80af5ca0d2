//! People, orders, money, drivers and their phones; the pages; who may see what.
//!
//! In:    HTTP requests; what the payment rail says; who is near, from the live bus.
//! Out:   answers; events of orders and payments in the log, through an outbox; `Identity` for
//!        the other rooms.
//! Keeps: the transactional database (SQLite or Postgres) and the keys of the house.
//! Never: writes an order without its event, money that does not sum to zero, a person's name or
//!        phone in the clear.
//!
//! The way of one booking: `orders/create` writes order, attempt, messages and outbox rows in one
//! transaction → `outbox/relay` appends to the log → `payments/poller` asks the rail and looks →
//! `payments/settle` posts the ledger and steps the order in one transaction → `assignment` binds
//! the nearest free driver → `orders/handover` picks up and delivers against the PIN.
//!
//! ```no_run
//! # async fn example(log: std::sync::Arc<dyn inzira_event_log::EventLog>,
//! #     bus: std::sync::Arc<dyn inzira_live_bus::LiveBus>) -> Result<(), Box<dyn std::error::Error>> {
//! use inzira_api::{Api, ApiConfig};
//! let clock = std::sync::Arc::new(inzira_schemas::SystemClock);
//! let api = Api::open(ApiConfig::default(), log, bus, clock).await?;
//! let router = inzira_api::behind_gateway(api.router(), api.identity());
//! # let _ = router; Ok(()) }
//! ```

mod accounts;
mod api;
mod app;
mod assignment;
mod audit;
mod cache;
mod config;
mod db;
mod districts;
mod drivers;
mod error;
mod http;
mod lease;
mod messages;
mod orders;
mod outbox;
mod payments;
mod secrets;

#[cfg(test)]
mod tests;

pub use accounts::first_logins::{FirstLogin, FirstLogins};
pub use accounts::identity::DOOR_COOKIE;
pub use accounts::phone::Phone;
pub use accounts::tokens::{Claims, TokenVerifier};
pub use api::{Api, OpenError, RunError, verify_audit, verify_ledger};
pub use audit::AuditReport;
pub use config::{ApiConfig, LoginLimits, MatchingConfig, PasswordCost, PaymentsConfig, Prices};
pub use db::DbError;
pub use drivers::devices::links as device_links;
pub use http::gateway::{CSRF_COOKIE, behind_gateway, needs_key};
pub use http::guard::CSRF_HEADER;
pub use orders::tariff;
pub use payments::gateway;
pub use payments::ledger::LedgerReport;
