//! Wires the rooms of one process together, runs them, and takes them down in order.
//!
//! In:    a configuration, the roles to run.
//! Out:   a running service, or the first thing that is wrong.
//! Keeps: the order of leaving: door, background work, flow, archive; what was answered is safe.
//! Never: leaves within less than what is needed, nor later than 25 s.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use inzira_api::{Api, ApiConfig, FirstLogins};
use inzira_archive::{ArchiveConfig, ArchiveHandle};
use inzira_event_log::{Access, EventLog};
use inzira_flow::{FlowConfig, FlowHandle};
use inzira_live_bus::LiveBus;
use inzira_query::Questions;
use inzira_schemas::{Clock, Identity, SystemClock};
use inzira_store::Opened;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Board, Stage};
use crate::config::{Config, ConfigError};
use crate::{allow, http, probes};

/// A part that a process can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Takes fixes from devices.
    Ingest,
    /// Smooths, joins, decides.
    Flow,
    /// Sends to watchers.
    FanOut,
    /// Writes Parquet.
    Archive,
    /// Answers questions.
    Query,
    /// Accounts, orders, payments, pages.
    Api,
}

impl Role {
    /// Every role: the default.
    pub const ALL: [Role; 6] =
        [Role::Ingest, Role::Flow, Role::FanOut, Role::Archive, Role::Query, Role::Api];
}

/// The longest a graceful stop may take.
const STOP_MAX: Duration = Duration::from_secs(25);
/// The longest the door waits for requests under way.
const DOOR_MAX: Duration = Duration::from_secs(10);

/// A service that runs.
pub struct Running {
    /// Where the public API is.
    pub http: SocketAddr,
    /// Where health is.
    pub admin: SocketAddr,
    /// Log-ins that this start made, if it was the first.
    pub first_logins: Option<FirstLogins>,
    board: Arc<Board>,
    door: CancellationToken,
    back: CancellationToken,
    rooms: Rooms,
    failed: CancellationToken,
}

/// What must be waited for on leaving, in this order.
#[derive(Default)]
struct Rooms {
    server: Option<JoinHandle<()>>,
    watching: Option<inzira_fan_out::FanOutHandle>,
    api: Option<JoinHandle<Result<(), inzira_api::RunError>>>,
    flow: Option<FlowHandle>,
    archive: Option<ArchiveHandle>,
    admin: Option<JoinHandle<()>>,
    stop_api: CancellationToken,
    stop_flow: CancellationToken,
    stop_archive: CancellationToken,
}

/// The seams, opened.
struct Seams {
    log: Arc<dyn EventLog>,
    bus: Arc<dyn LiveBus>,
    store: Opened,
    clock: Arc<dyn Clock>,
}

/// Starts the roles of this process.
pub async fn start(config: &Config, roles: &[Role], board: Arc<Board>) -> anyhow::Result<Running> {
    allow::check(config)?;
    let roles: BTreeSet<Role> = roles.iter().copied().collect();
    check_roles(config, &roles)?;
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("making {}", config.data.display()))?;
    // Both doors are taken before anything is opened: a taken port is found at once.
    let public = bind("INZIRA_HTTP", config.http).await?;
    let admin = bind("INZIRA_ADMIN", config.admin).await?;
    let mut running = Running {
        http: public.local_addr()?,
        admin: admin.local_addr()?,
        first_logins: None,
        board: board.clone(),
        door: CancellationToken::new(),
        back: CancellationToken::new(),
        rooms: Rooms::default(),
        failed: CancellationToken::new(),
    };
    running.rooms.admin = Some(serve_admin(admin, board.clone(), running.back.clone()));
    let seams = open_seams(config).await?;
    board.add("log", probes::log(seams.log.as_ref()));
    let router = running.open_rooms(config, &roles, &seams).await?;
    running.serve_public(config, public, router);
    board.set(Stage::Running);
    Ok(running)
}

async fn bind(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        ConfigError(vec![format!("{name}: cannot listen on {address}: {error}")]).into()
    })
}

/// An embedded log or bus lives inside one process: the roles that share it must too.
fn check_roles(config: &Config, roles: &BTreeSet<Role>) -> anyhow::Result<()> {
    let shared = [Role::Flow, Role::FanOut, Role::Api];
    let some = shared.iter().any(|role| roles.contains(role));
    let all = shared.iter().all(|role| roles.contains(role));
    if config.get("INZIRA_BUS").starts_with("memory:") && some && !all {
        let wrong = "INZIRA_BUS=memory: lives in one process: run flow, fan-out and api together, \
                     or set INZIRA_BUS=redis://…";
        return Err(ConfigError(vec![wrong.to_owned()]).into());
    }
    if roles.is_empty() {
        bail!("--roles is empty");
    }
    Ok(())
}

async fn open_seams(config: &Config) -> anyhow::Result<Seams> {
    let log_url = config.get("INZIRA_LOG");
    let log = inzira_event_log::open(log_url, &config.data, Access::ReadWrite)
        .await
        .map_err(|error| opening("INZIRA_LOG", &error, is_log_config(&error)))?;
    let bus = inzira_live_bus::open(config.get("INZIRA_BUS")).await.map_err(|error| {
        let is_config = matches!(error, inzira_live_bus::OpenError::Config(_));
        opening("INZIRA_BUS", &error, is_config)
    })?;
    let store = open_store(config).await?;
    Ok(Seams { log, bus, store, clock: Arc::new(SystemClock) })
}

/// Opens the object store of a configuration.
pub async fn open_store(config: &Config) -> anyhow::Result<Opened> {
    inzira_store::open(config.get("INZIRA_STORE"), &config.data).await.map_err(|error| {
        let is_config = matches!(error, inzira_store::OpenError::Config(_));
        opening("INZIRA_STORE", &error, is_config)
    })
}

/// Whether a log refuses for a reason that a person must put right: exit 78.
pub fn is_log_config(error: &inzira_event_log::OpenError) -> bool {
    !matches!(
        error,
        inzira_event_log::OpenError::Log(
            inzira_event_log::LogError::Busy(_) | inzira_event_log::LogError::Unknown(_)
        )
    )
}

fn opening(name: &str, error: &dyn std::error::Error, is_config: bool) -> anyhow::Error {
    let text = format!("{name}: {error}");
    if is_config { ConfigError(vec![text]).into() } else { anyhow::anyhow!(text) }
}

impl Running {
    /// Opens the rooms of the roles and merges their routes.
    async fn open_rooms(
        &mut self,
        config: &Config,
        roles: &BTreeSet<Role>,
        seams: &Seams,
    ) -> anyhow::Result<Router> {
        let has = |role| roles.contains(&role);
        let mut settings = api_config(config);
        settings.documents = documents(roles);
        let api = Api::open(settings, seams.log.clone(), seams.bus.clone(), seams.clock.clone())
            .await
            .context("INZIRA_DB")?;
        self.first_logins = api.first_logins().cloned();
        let identity = api.identity();
        // What others read from the log starts before what writes to it.
        if has(Role::Flow) {
            self.start_flow(config, seams).await?;
        }
        if has(Role::Archive) {
            self.start_archive(config, seams)?;
        }
        let mut router = Router::new();
        if has(Role::Ingest) {
            router = router.merge(inzira_ingest::router(inzira_ingest::Ingest {
                log: seams.log.clone(),
                identity: identity.clone(),
                clock: seams.clock.clone(),
                limits: inzira_ingest::IngestLimits::default(),
            }));
        }
        if has(Role::FanOut) {
            router = router.merge(self.start_fan_out(seams, identity.clone()));
        }
        if has(Role::Query) {
            router = router.merge(self.start_query(seams, identity.clone()).await?);
        }
        if has(Role::Api) {
            router = router.merge(api.router());
            let (stop, api) = (self.rooms.stop_api.clone(), Arc::new(api));
            self.board.add("api", probes::api(&api));
            self.rooms.api = Some(tokio::spawn(async move {
                let outcome = api.run(stop).await;
                api.close().await;
                outcome
            }));
        }
        Ok(http::outer(inzira_api::behind_gateway(router, identity)))
    }

    async fn start_flow(&mut self, config: &Config, seams: &Seams) -> anyhow::Result<()> {
        let flow_config = FlowConfig { workers: config.workers, ..FlowConfig::default() };
        let flow = inzira_flow::start(
            flow_config,
            seams.log.clone(),
            seams.bus.clone(),
            seams.store.clone(),
            seams.clock.clone(),
            self.rooms.stop_flow.clone(),
        )
        .await?;
        self.board.add("flow", probes::flow(flow.watch(), self.failed.clone()));
        self.rooms.flow = Some(flow);
        Ok(())
    }

    fn start_archive(&mut self, config: &Config, seams: &Seams) -> anyhow::Result<()> {
        let archive_config = ArchiveConfig {
            cut_age: Duration::from_secs(config.archive_seconds),
            ..ArchiveConfig::default()
        };
        let archive = inzira_archive::start(
            archive_config,
            seams.log.clone(),
            seams.store.clone(),
            seams.clock.clone(),
            self.rooms.stop_archive.clone(),
        )?;
        self.board.add("archive", probes::archive(archive.watch(), seams.clock.clone()));
        self.rooms.archive = Some(archive);
        Ok(())
    }

    fn start_fan_out(&mut self, seams: &Seams, identity: Arc<dyn Identity>) -> Router {
        let fan_out = inzira_fan_out::FanOut {
            log: seams.log.clone(),
            bus: seams.bus.clone(),
            identity,
            clock: seams.clock.clone(),
            limits: inzira_fan_out::FanOutLimits::default(),
        };
        let (router, handle) = inzira_fan_out::start(fan_out, self.door.clone());
        self.board.add("fan-out", probes::fan_out(handle.watch()));
        self.rooms.watching = Some(handle);
        router
    }

    async fn start_query(
        &mut self,
        seams: &Seams,
        identity: Arc<dyn Identity>,
    ) -> anyhow::Result<Router> {
        let questions = Questions::open(
            seams.log.clone(),
            seams.store.clone(),
            inzira_query::QueryConfig::default(),
            seams.clock.clone(),
        )
        .await?;
        self.board.add("query", probes::query(questions.clone()));
        Ok(inzira_query::router(questions, identity, seams.clock.clone()))
    }

    fn serve_public(&mut self, config: &Config, listener: TcpListener, router: Router) {
        let limits = inzira_ingest::listen::ServeLimits {
            connections_max: config.connections_max,
            drain_max: DOOR_MAX,
            ..inzira_ingest::listen::ServeLimits::default()
        };
        let (stop, failed) = (self.door.clone(), self.failed.clone());
        self.rooms.server = Some(tokio::spawn(async move {
            let drained =
                inzira_ingest::listen::serve(listener, router, limits, stop.clone()).await;
            if drained.cut_off > 0 {
                tracing::warn!(connections = drained.cut_off, "cut off while leaving");
            }
            if !stop.is_cancelled() {
                failed.cancel();
            }
        }));
    }

    /// Ends when a room has failed for good.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Leaves: `/readyz` 503, the door, background work, flow, archive. At most 25 s.
    pub async fn stop(self, wait: Duration) -> anyhow::Result<()> {
        self.board.set(Stage::Draining);
        tokio::time::sleep(wait).await;
        let began = std::time::Instant::now();
        let left = tokio::time::timeout(STOP_MAX, self.leave()).await;
        match left {
            Ok(outcome) => {
                tracing::info!(elapsed_ms = began.elapsed().as_millis() as u64, "left");
                outcome
            }
            Err(_) => {
                bail!("not everything was finished within {STOP_MAX:?}; nothing answered is lost")
            }
        }
    }

    async fn leave(self) -> anyhow::Result<()> {
        let rooms = self.rooms;
        self.door.cancel();
        if let Some(server) = rooms.server {
            server.await?;
        }
        if let Some(watching) = rooms.watching {
            watching.join().await;
        }
        rooms.stop_api.cancel();
        if let Some(api) = rooms.api {
            api.await??;
        }
        rooms.stop_flow.cancel();
        if let Some(flow) = rooms.flow {
            flow.join().await?;
        }
        rooms.stop_archive.cancel();
        if let Some(archive) = rooms.archive {
            archive.join().await?;
        }
        self.back.cancel();
        if let Some(admin) = rooms.admin {
            admin.await?;
        }
        Ok(())
    }
}

fn serve_admin(
    listener: TcpListener,
    board: Arc<Board>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let limits = inzira_ingest::listen::ServeLimits {
        connections_max: 64,
        ..inzira_ingest::listen::ServeLimits::default()
    };
    tokio::spawn(async move {
        inzira_ingest::listen::serve(listener, admin::router(board), limits, stop).await;
    })
}

/// What the rooms beside `api` serve in this process.
fn documents(roles: &BTreeSet<Role>) -> Vec<&'static str> {
    [
        (Role::Ingest, inzira_ingest::OPENAPI),
        (Role::FanOut, inzira_fan_out::OPENAPI),
        (Role::Query, inzira_query::OPENAPI),
    ]
    .into_iter()
    .filter(|(role, _)| roles.contains(role))
    .map(|(_, document)| document)
    .collect()
}

/// What the api room is told.
pub fn api_config(config: &Config) -> ApiConfig {
    let list = |name: &str| config.optional(name).into_iter().collect::<Vec<_>>();
    let mut api = ApiConfig {
        data: config.data.clone(),
        database: config.get("INZIRA_DB").to_owned(),
        public_url: config.public_url(),
        secure_cookies: config.public_url().starts_with("https://"),
        gateway_keys: list("INZIRA_GATEWAY_KEY"),
        internal_keys: list("INTERNAL_API_KEY"),
        tiles: config.optional("INZIRA_TILES"),
        ..ApiConfig::default()
    };
    api.payments.provider = config.get("PAYMENT_PROVIDER").to_owned();
    api
}
