//! The operators' door: health and metrics, on its own port.
//!
//! In:    what each room says of itself.
//! Out:   `/livez` (alive), `/startupz` (started), `/readyz` (may take requests; 503 with the
//!        reason while starting, draining or broken), `/metrics` (Prometheus text).
//! Never: stands on the public port; asks a room more often than once a second, or waits longer
//!        than that for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::{BoxFuture, join_all};
use http::{StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// What a room says of itself.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// Whether it does its work.
    pub ready: bool,
    /// Whether the process takes no requests while it does not. An archive that is behind is shown
    /// and turns nobody away: what was answered waits in the log.
    pub needed: bool,
    /// Figures and, when not ready, the reason.
    pub detail: Value,
}

/// Asks one room.
pub type Probe = Box<dyn Fn() -> BoxFuture<'static, Health> + Send + Sync>;

/// Where the process stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Opening logs, replaying.
    Starting,
    /// Taking requests.
    Running,
    /// Finishing what it has.
    Draining,
}

/// How long an answer of the rooms is kept.
const CACHE: Duration = Duration::from_secs(1);
/// A room that has not answered by then is not ready.
const PATIENCE: Duration = Duration::from_secs(1);

/// The rooms' health, shared by the admin routes and the process that fills it.
pub struct Board {
    stage: AtomicU8,
    probes: std::sync::Mutex<Vec<(&'static str, Arc<Probe>)>>,
    cached: Mutex<Option<(Instant, bool, Value)>>,
    metrics: Option<PrometheusHandle>,
}

impl Board {
    /// A board of a process that is starting.
    pub fn new(metrics: Option<PrometheusHandle>) -> Arc<Self> {
        Arc::new(Self {
            stage: AtomicU8::new(Stage::Starting as u8),
            probes: std::sync::Mutex::new(Vec::new()),
            cached: Mutex::new(None),
            metrics,
        })
    }

    /// Adds a room.
    pub fn add(&self, name: &'static str, probe: Probe) {
        if let Ok(mut probes) = self.probes.lock() {
            probes.push((name, Arc::new(probe)));
        }
    }

    /// Moves to another stage; `/readyz` follows at once.
    pub fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    fn stage(&self) -> &'static str {
        match self.stage.load(Ordering::SeqCst) {
            stage if stage == Stage::Running as u8 => "running",
            stage if stage == Stage::Draining as u8 => "draining",
            _ => "starting",
        }
    }

    /// Asks every room at once; those who ask meanwhile wait for the same answer.
    async fn rooms(&self) -> (bool, Value) {
        let mut cached = self.cached.lock().await;
        if let Some((at, ready, rooms)) = cached.as_ref()
            && at.elapsed() < CACHE
        {
            return (*ready, rooms.clone());
        }
        let probes = self.probes.lock().map(|probes| probes.clone()).unwrap_or_default();
        let asked = probes.into_iter().map(|(name, probe)| async move {
            let silent = |_| Health {
                ready: false,
                needed: true,
                detail: json!({"error": format!("no answer within {PATIENCE:?}")}),
            };
            (name, tokio::time::timeout(PATIENCE, probe()).await.unwrap_or_else(silent))
        });
        let rooms: BTreeMap<&str, Health> = join_all(asked).await.into_iter().collect();
        let ready = rooms.values().all(|health| health.ready || !health.needed);
        let rooms = json!(rooms);
        *cached = Some((Instant::now(), ready, rooms.clone()));
        (ready, rooms)
    }
}

/// The admin routes.
pub fn router(board: Arc<Board>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/startupz", get(startup))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(board)
}

async fn startup(State(board): State<Arc<Board>>) -> Response {
    match board.stage() {
        "starting" => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        _ => "started\n".into_response(),
    }
}

async fn ready(State(board): State<Arc<Board>>) -> Response {
    let stage = board.stage();
    let (rooms_ready, rooms) = board.rooms().await;
    let ready = stage == "running" && rooms_ready;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"ready": ready, "stage": stage, "rooms": rooms}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn metrics(State(board): State<Arc<Board>>) -> Response {
    let text = board.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::ServiceExt;

    async fn status_of(board: &Arc<Board>, path: &str) -> StatusCode {
        let request = axum::extract::Request::get(path).body(axum::body::Body::empty()).unwrap();
        router(board.clone()).oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn ready_only_while_running_and_all_rooms_are() {
        let board = Board::new(None);
        assert_eq!(status_of(&board, "/livez").await, StatusCode::OK);
        assert_eq!(status_of(&board, "/startupz").await, StatusCode::SERVICE_UNAVAILABLE);
        board.set(Stage::Running);
        assert_eq!(status_of(&board, "/readyz").await, StatusCode::OK);
        board.set(Stage::Draining);
        assert_eq!(status_of(&board, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        for (needed, status) in [(true, StatusCode::SERVICE_UNAVAILABLE), (false, StatusCode::OK)] {
            let broken = Board::new(None);
            broken.set(Stage::Running);
            let health = Health { ready: false, needed, detail: json!("poisoned") };
            broken.add("log", Box::new(move || Box::pin(std::future::ready(health.clone()))));
            assert_eq!(status_of(&broken, "/readyz").await, status);
        }
    }

    #[tokio::test]
    async fn a_room_that_does_not_answer_is_not_ready() {
        let board = Board::new(None);
        board.set(Stage::Running);
        board.add("api", Box::new(|| Box::pin(std::future::pending())));
        assert_eq!(status_of(&board, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
