//! Questions over HTTP: the revenue heat map, the track of an order, and SQL for engineers.
//!
//! In:    requests with a credential.
//! Out:   answers with `data_as_of`, an ETag, and problems as `application/problem+json`.
//! Keeps: how many are asking; beyond the bound 429 with Retry-After.
//! Never: answers whom `Identity` does not know; sends half an answer with status 200.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use inzira_archive::Table;
use inzira_schemas::access::correlation_id;
use inzira_schemas::identity::{Caller, Credential, Identity, Role};
use inzira_schemas::{Clock, Micros, Problem};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::QueryError;
use crate::format::{self, Format};
use crate::heatmap::render::{HeatmapFormat, render};
use crate::heatmap::request::HeatmapParameters;
use crate::questions::Questions;
use crate::sql::Limits;
use crate::track;

/// Heat maps computed at once; one more is answered 429.
pub const HEATMAPS_AT_ONCE: usize = 32;
/// SQL questions run at once; one more is answered 429.
pub const SQL_AT_ONCE: usize = 4;
/// Tracks of orders read at once; one more is answered 429.
pub const TRACKS_AT_ONCE: usize = 16;
/// Most rows of an answer over HTTP.
pub const SQL_ROWS_MAX: u64 = 1_000_000;
/// Most bytes of an answer over HTTP; larger ones are for `inzira sql --output`.
pub const SQL_BYTES_MAX: usize = 64 << 20;
/// Longest time of a question over HTTP.
pub const SQL_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest body of a question.
const BODY_BYTES_MAX: usize = 128 << 10;
/// Seconds told to those who are too many.
const RETRY_AFTER_S: u32 = 1;

/// The tables that heat maps read.
const HEATMAP_TABLES: [Table; 2] = [Table::OrderEvents, Table::PaymentEvents];

#[derive(Clone)]
pub(crate) struct App {
    pub questions: Arc<Questions>,
    pub identity: Arc<dyn Identity>,
    clock: Arc<dyn Clock>,
    heatmaps: Arc<Semaphore>,
    sql: Arc<Semaphore>,
    pub tracks: Arc<Semaphore>,
}

/// The routes of this room.
pub fn router(
    questions: Arc<Questions>,
    identity: Arc<dyn Identity>,
    clock: Arc<dyn Clock>,
) -> Router {
    let app = App {
        questions,
        identity,
        clock,
        heatmaps: Arc::new(Semaphore::new(HEATMAPS_AT_ONCE)),
        sql: Arc::new(Semaphore::new(SQL_AT_ONCE)),
        tracks: Arc::new(Semaphore::new(TRACKS_AT_ONCE)),
    };
    Router::new()
        .route("/api/v1/analytics/revenue/heatmap", get(revenue_heatmap))
        .route("/api/v1/orders/{id}/track", get(track::answer))
        .route("/api/v1/sql", post(sql))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// Who is asking, if a person with a role.
struct Asker {
    role: Role,
    actor_id: String,
}

impl App {
    async fn asker(&self, headers: &HeaderMap) -> Result<Asker, Problem> {
        if !self.identity.gateway_open(headers) {
            return Err(Problem::unauthorized());
        }
        let credential = Credential::of(headers).ok_or_else(Problem::unauthorized)?;
        let caller =
            self.identity.caller(&credential).await.map_err(|_| Problem::unavailable(1))?;
        match caller {
            Some(Caller::Person { role, actor_id, .. }) => Ok(Asker { role, actor_id }),
            Some(Caller::ShareLink { .. }) => Err(Problem::forbidden()),
            None => Err(Problem::unauthorized()),
        }
    }
}

pub(crate) fn turn(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(semaphore).try_acquire_owned().map_err(|_| Problem::too_many(RETRY_AFTER_S))
}

async fn revenue_heatmap(
    State(app): State<App>,
    headers: HeaderMap,
    parameters: Result<Query<HeatmapParameters>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let answer = answer_heatmap(&app, &headers, parameters.map(|query| query.0).ok()).await;
    answer.unwrap_or_else(|problem| refused(problem, &headers))
}

async fn answer_heatmap(
    app: &App,
    headers: &HeaderMap,
    parameters: Option<HeatmapParameters>,
) -> Result<Response, Problem> {
    let asker = app.asker(headers).await?;
    let wrong = |detail: String| Problem::bad_request("bad_parameter", detail);
    let parameters = parameters.ok_or_else(|| wrong("the query string cannot be read".into()))?;
    let request = parameters.read().map_err(|bad| wrong(bad.to_string()))?;
    let format = match parameters.format.as_deref() {
        None => HeatmapFormat::Json,
        Some(text) => HeatmapFormat::parse(text)
            .ok_or_else(|| wrong("format: json, geojson or csv".to_owned()))?,
    };
    let request = match asker.role {
        Role::Operator | Role::Engineer | Role::Admin => request,
        Role::Analyst | Role::Government => request.for_analysts(app.clock.now()),
        _ => return Err(Problem::forbidden()),
    };
    let versions = app.questions.tag(&HEATMAP_TABLES);
    let asked = xxh3_64(format!("{request:?} {}", format.as_str()).as_bytes());
    let etag = format!("W/\"{versions}-{asked:016x}\"");
    if matches(headers, &etag) {
        return Ok(not_modified(&etag));
    }
    let _turn = turn(&app.heatmaps)?;
    let answer = app.questions.revenue_heatmap(&request).await.map_err(|error| problem(&error))?;
    let as_of = answer.data_as_of;
    let hidden = answer.suppressed_cells;
    // Thousands of hexagons take milliseconds: not on a thread that serves connections.
    let bytes = tokio::task::spawn_blocking(move || render(format, &request, &answer))
        .await
        .map_err(|_| Problem::unavailable(RETRY_AFTER_S))?
        .map_err(|error| problem(&error))?;
    let mut response = answered(bytes, format.media_type(), as_of);
    put(&mut response, header::ETAG, &etag);
    put(&mut response, header::CACHE_CONTROL, "private, no-cache");
    if let Ok(value) = HeaderValue::from_str(&hidden.to_string()) {
        response.headers_mut().insert("x-suppressed-cells", value);
    }
    Ok(response)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlQuestion {
    query: String,
    #[serde(default)]
    format: Option<String>,
}

async fn sql(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = answer_sql(&app, &headers, &body).await;
    answer.unwrap_or_else(|problem| refused(problem, &headers))
}

async fn answer_sql(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<Response, Problem> {
    let asker = app.asker(headers).await?;
    if asker.role != Role::Engineer {
        // Analysts get the schema `published` once it exists; until then, nothing by SQL.
        return Err(Problem::forbidden());
    }
    let question: SqlQuestion = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request("bad_body", format!("the body: {error}")))?;
    let format = match question.format.as_deref() {
        None => Format::Json,
        Some("arrow") => Format::ArrowStream,
        Some(text) => text
            .parse()
            .map_err(|wanted| Problem::bad_request("bad_parameter", format!("format: {wanted}")))?,
    };
    let _turn = turn(&app.sql)?;
    tracing::info!(
        target: "audit", actor_role = asker.role.as_str(), actor_id = %asker.actor_id,
        query = %question.query, "sql asked"
    );
    let limits = Limits { rows_max: SQL_ROWS_MAX, time_max: SQL_TIME_MAX };
    let mut answer =
        app.questions.sql(&question.query, limits).await.map_err(|error| problem(&error))?;
    let mut body = Bounded::new(SQL_BYTES_MAX);
    let written = format::write(&mut answer, format, &mut body).await;
    if body.overflowed {
        return Err(problem(&QueryError::Bytes(SQL_BYTES_MAX as u64)));
    }
    let written = written.map_err(|error| problem(&error))?;
    let mut response = answered(body.bytes, format.media_type(), answer.data_as_of);
    let elapsed_ms = format!("{:.1}", answer.elapsed().as_secs_f64() * 1e3);
    for (name, value) in [("x-rows", written.rows.to_string()), ("x-elapsed-ms", elapsed_ms)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// A buffer that takes no more than its bound.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    overflowed: bool,
}

impl Bounded {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, overflowed: false }
    }
}

impl std::io::Write for Bounded {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + part.len() > self.bytes_max {
            self.overflowed = true;
            return Err(std::io::Error::other("the answer is too long"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn answered(bytes: Vec<u8>, media_type: &'static str, as_of: Micros) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Ok(value) = HeaderValue::from_str(&as_of.to_rfc3339()) {
        response.headers_mut().insert("x-data-as-of", value);
    }
    response
}

fn put(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn matches(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|known| known.trim() == etag || known.trim() == "*")
}

fn not_modified(etag: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    put(&mut response, header::ETAG, etag);
    response
}

pub(crate) fn refused(problem: Problem, headers: &HeaderMap) -> Response {
    problem.into_response(&correlation_id(headers))
}

/// How a failed question looks from outside. Failures that are ours are told apart in the log.
pub(crate) fn problem(error: &QueryError) -> Problem {
    let detail = error.to_string();
    match error {
        QueryError::Refused(_) => Problem::bad_request("not_a_question", detail),
        QueryError::Wrong(_) => Problem::bad_request("bad_question", detail),
        QueryError::Failed(_) => Problem::bad_request("question_failed", detail),
        QueryError::TooComplex(_) => too_much("too_complex", detail),
        QueryError::Memory(_) => too_much("over_memory", detail),
        QueryError::Time(_) => too_much("over_time", detail),
        QueryError::Rows(_) => too_much("over_rows", detail),
        QueryError::Bytes(_) => too_much("over_bytes", detail),
        QueryError::Busy => Problem::too_many(RETRY_AFTER_S),
        QueryError::Tail(_)
        | QueryError::Log(_)
        | QueryError::Archive(_)
        | QueryError::Output(_)
        | QueryError::Internal(_) => {
            tracing::error!(%error, "a question failed");
            Problem::unavailable(RETRY_AFTER_S)
        }
    }
}

fn too_much(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
}
