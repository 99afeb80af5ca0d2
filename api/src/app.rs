//! What every handler and every background task of this room share.
//!
//! In:    what the binary handed to `Api::open`.
//! Out:   one `App` behind an `Arc`.
//! Keeps: the pools, the keys, the clock, the bells that wake the background tasks.
//! Never: global.

use std::sync::Arc;

use inzira_live_bus::LiveBus;
use inzira_schemas::{Clock, Micros};
use tokio::sync::Notify;

use crate::accounts::limiter::Limiter;
use crate::accounts::password::Passwords;
use crate::accounts::tokens::{TokenMint, TokenVerifier};
use crate::cache::Remembered;
use crate::config::ApiConfig;
use crate::db::{Db, DbError, Tx};
use crate::districts::Districts;
use crate::payments::gateway::PaymentGateway;
use crate::secrets::Keys;

/// Shared by handlers and tasks.
pub struct App {
    /// The transactional database.
    pub db: Db,
    /// The keys of the house.
    pub keys: Keys,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who is near.
    pub bus: Arc<dyn LiveBus>,
    /// What the binary configured.
    pub config: ApiConfig,
    /// The payment rail.
    pub rail: Arc<dyn PaymentGateway>,
    /// Password hashing.
    pub passwords: Arc<Passwords>,
    /// Mints access tokens.
    pub mint: TokenMint,
    /// Verifies them.
    pub verifier: TokenVerifier,
    /// Wrong tries of log-ins and codes.
    pub tries: Limiter,
    /// Devices by the keyed hash of their secret.
    pub devices: Remembered<inzira_schemas::identity::Device>,
    /// Live sessions by id.
    pub sessions: Remembered<crate::accounts::sessions::Live>,
    /// Where in the country a point lies.
    pub districts: Districts,
    /// Wakes the background tasks.
    pub bells: Bells,
}

/// One bell a background task. A bell rung while the task works is heard when it is done.
#[derive(Debug, Default)]
pub struct Bells {
    /// The outbox has rows.
    pub outbox: Notify,
    /// A payment attempt is due.
    pub payments: Notify,
    /// An order waits for a driver.
    pub matching: Notify,
    /// The audit inbox has notes.
    pub audit: Notify,
}

impl App {
    /// The present moment.
    pub fn now(&self) -> Micros {
        self.clock.now()
    }

    /// Commits, then wakes whoever may have work now.
    pub async fn commit(&self, tx: Tx) -> Result<(), DbError> {
        tx.commit().await?;
        self.bells.outbox.notify_one();
        self.bells.audit.notify_one();
        Ok(())
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App")
    }
}
