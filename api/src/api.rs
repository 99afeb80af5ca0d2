//! The room as the binary sees it: open, serve, run, check.
//!
//! In:    configuration, the log, the live bus, a clock.
//! Out:   a router, an `Identity`, background work that ends on a token.
//! Never: starts with keys that do not belong to the database.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use inzira_event_log::EventLog;
use inzira_live_bus::LiveBus;
use inzira_schemas::Clock;
use inzira_schemas::identity::Identity;
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use crate::accounts::first_logins::{self, FirstLogins};
use crate::accounts::identity::HouseIdentity;
use crate::accounts::limiter::Limiter;
use crate::accounts::password::Passwords;
use crate::accounts::phone::Phone;
use crate::accounts::tokens::{TokenMint, TokenVerifier};
use crate::app::{App, Bells};
use crate::assignment;
use crate::audit::{self, AuditReport};
use crate::cache::Remembered;
use crate::config::ApiConfig;
use crate::db::{Actor, Db, DbError};
use crate::districts::Districts;
use crate::error::ApiError;
use crate::http::routes;
use crate::outbox::{self, relay};
use crate::payments::gateway::PaymentGateway;
use crate::payments::ledger::{self, LedgerReport};
use crate::payments::{mock::MockRail, poller};
use crate::secrets::{Keys, KeysError};

/// Devices and sessions are remembered so long: a revocation is seen within five seconds.
const REMEMBERED: Duration = Duration::from_secs(3);
/// The poller looks at least so often.
const POLL_LONGEST: Duration = Duration::from_secs(1);

/// Why the room could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Configuration: exit 78.
    #[error("{0}")]
    Config(String),
    /// The keys: exit 78.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The database.
    #[error(transparent)]
    Db(DbError),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<DbError> for OpenError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Config(text) => OpenError::Config(text),
            other => OpenError::Db(other),
        }
    }
}

impl From<ApiError> for OpenError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Db(error) => error.into(),
            ApiError::Keys(error) => error.into(),
            other => OpenError::Other(other.to_string()),
        }
    }
}

/// A background task ended by itself: the process should end.
#[derive(Debug, thiserror::Error)]
#[error("the background task {0} ended by itself")]
pub struct RunError(pub &'static str);

/// The room.
#[derive(Clone)]
pub struct Api {
    pub(crate) app: Arc<App>,
    log: Arc<dyn EventLog>,
    first_logins: Option<FirstLogins>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

impl Api {
    /// Opens keys and database, migrates, and makes the first log-ins of an empty database.
    pub async fn open(
        config: ApiConfig,
        log: Arc<dyn EventLog>,
        bus: Arc<dyn LiveBus>,
        clock: Arc<dyn Clock>,
    ) -> Result<Api, OpenError> {
        let rail = rail(&config, &clock)?;
        Self::open_with(config, log, bus, clock, rail).await
    }

    /// The same with a rail of the caller's.
    pub async fn open_with(
        config: ApiConfig,
        log: Arc<dyn EventLog>,
        bus: Arc<dyn LiveBus>,
        clock: Arc<dyn Clock>,
        rail: Arc<dyn PaymentGateway>,
    ) -> Result<Api, OpenError> {
        let (db, keys) = open_store(&config).await?;
        let passwords = Passwords::new(config.passwords)?;
        let first_logins = first_logins::make(&db, &keys, &passwords, clock.now()).await?;
        let mint = TokenMint::new(&keys, config.logins.access_s)?;
        let verifier = TokenVerifier::from_public_pem(&keys.public_pem()?)?;
        let app = App {
            tries: Limiter::new(config.logins.window_s),
            devices: Remembered::new(REMEMBERED),
            sessions: Remembered::new(REMEMBERED),
            districts: Districts::built_in(),
            bells: Bells::default(),
            db,
            keys,
            clock,
            bus,
            config,
            rail,
            passwords,
            mint,
            verifier,
        };
        Ok(Api { app: Arc::new(app), log, first_logins })
    }

    /// Every route of this room at its full path. Put `behind_gateway` round the whole public
    /// router.
    pub fn router(&self) -> Router {
        routes::router(&self.app)
    }

    /// Who is calling, for every room.
    pub fn identity(&self) -> Arc<dyn Identity> {
        Arc::new(HouseIdentity(Arc::clone(&self.app)))
    }

    /// The first log-ins, when this start made them: print and store them with mode 0600.
    pub fn first_logins(&self) -> Option<&FirstLogins> {
        self.first_logins.as_ref()
    }

    /// The public key that verifies access tokens, PEM.
    pub fn token_public_pem(&self) -> Result<String, OpenError> {
        Ok(self.app.keys.public_pem()?)
    }

    /// The newest message to a phone, opened: what a sender would say, until one is connected.
    pub async fn newest_message_to(&self, phone: &str) -> Result<Option<String>, OpenError> {
        Ok(crate::messages::newest_to(&self.app, &Phone::parse(phone)?).await?)
    }

    /// For `/readyz`: the database answers; how many outbox rows wait.
    pub async fn ready(&self) -> Result<i64, String> {
        if !self.app.db.is_up().await {
            return Err("the database does not answer".to_owned());
        }
        outbox::waiting(&self.app.db).await.map_err(|error| error.to_string())
    }

    /// Outbox relay, payment polling, matching, audit chain: until `stop`, then the outbox is
    /// carried to its end. An error means that one of them ended by itself.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), RunError> {
        let app = &self.app;
        let relay = relay::run(Arc::clone(app), Arc::clone(&self.log), stop.clone());
        let tasks = [
            ("outbox relay", tokio::spawn(relay)),
            ("payments", tokio::spawn(poll_payments(Arc::clone(app), stop.clone()))),
            ("matching", tokio::spawn(assignment::run(Arc::clone(app), stop.clone()))),
            ("audit chain", tokio::spawn(audit::run(Arc::clone(app), stop.clone()))),
        ];
        let mut ended = Ok(());
        let mut waiting: futures::stream::FuturesUnordered<_> =
            tasks.into_iter().map(|(name, task)| async move { (name, task.await) }).collect();
        while let Some((name, result)) = futures::StreamExt::next(&mut waiting).await {
            if result.is_err() || !stop.is_cancelled() {
                tracing::error!(task = name, "a background task ended by itself");
                ended = Err(RunError(name));
                stop.cancel();
            }
        }
        ended
    }

    /// Closes the database; call it last.
    pub async fn close(&self) {
        self.app.db.close().await;
    }
}

async fn open_store(config: &ApiConfig) -> Result<(Db, Keys), OpenError> {
    let keys = Keys::open(&config.data.join("keys"))?;
    let db = Db::open(&config.database, &config.data, config.postgres_connections).await?;
    check_keys(&db, &keys).await?;
    Ok((db, keys))
}

/// Keys of another house would write what this one cannot read.
async fn check_keys(db: &Db, keys: &Keys) -> Result<(), OpenError> {
    let ours = keys.lookup_hash("key check", "inzira");
    let mut tx = db.begin(&Actor::system()).await?;
    sqlx::query("INSERT INTO meta (name, value) VALUES ('key check', $1) ON CONFLICT DO NOTHING")
        .bind(ours.clone())
        .execute(tx.conn())
        .await
        .map_err(DbError::Sql)?;
    let row = sqlx::query("SELECT value FROM meta WHERE name = 'key check'")
        .fetch_one(tx.conn())
        .await
        .map_err(DbError::Sql)?;
    let theirs: String = row.try_get(0).map_err(DbError::Sql)?;
    tx.commit().await?;
    if theirs != ours {
        return Err(OpenError::Config(
            "the keys in the data folder do not belong to this database; restore keys/keys.json"
                .to_owned(),
        ));
    }
    Ok(())
}

fn rail(config: &ApiConfig, clock: &Arc<dyn Clock>) -> Result<Arc<dyn PaymentGateway>, OpenError> {
    match config.payments.provider.as_str() {
        "MOCK" => Ok(Arc::new(MockRail::new(config.payments.mock_delay_ms, Arc::clone(clock)))),
        other => Err(OpenError::Config(format!(
            "PAYMENT_PROVIDER {other:?} has no adapter yet; MOCK has"
        ))),
    }
}

async fn poll_payments(app: Arc<App>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = poller::turn(&app).await {
            tracing::warn!(error = %error, "payments wait");
        }
        let wait = poller::next_in(&app, POLL_LONGEST).await.unwrap_or(POLL_LONGEST);
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.bells.payments.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// `inzira audit verify`: walks the chain; the report names the first bad index.
pub async fn verify_audit(config: &ApiConfig) -> Result<AuditReport, OpenError> {
    let (db, keys) = open_store(config).await?;
    Ok(audit::verify(&db, &keys).await?)
}

/// `inzira ledger verify`: sums every entry; the report names the first bad thing.
pub async fn verify_ledger(config: &ApiConfig) -> Result<LedgerReport, OpenError> {
    let (db, _) = open_store(config).await?;
    Ok(ledger::verify(&db).await?)
}
