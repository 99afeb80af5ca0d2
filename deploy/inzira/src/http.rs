//! What every request passes, whichever room answers it.
//!
//! In:    the merged router of the rooms.
//! Out:   the same router with a correlation id, a log line, metrics and a guard against panics.
//! Never: trusts a correlation id that is not plain.

use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use inzira_schemas::Problem;
use inzira_schemas::problem::CORRELATION_HEADER;
use tracing::Instrument;

/// Wraps the merged router.
pub fn outer(router: Router) -> Router {
    router
        .fallback(|request: Request| async move {
            let id = correlation_of(&request);
            Problem::not_found("page or route").into_response::<Body>(&id)
        })
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(on_panic))
        .layer(middleware::from_fn(watched))
}

/// Gives every request its correlation id, times it and logs what failed.
async fn watched(mut request: Request, next: Next) -> Response {
    let id = accepted_id(&request).unwrap_or_else(fresh_id);
    let Ok(value) = HeaderValue::from_str(&id) else { return next.run(request).await };
    request.headers_mut().insert(CORRELATION_HEADER, value.clone());
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let started = Instant::now();
    let span = tracing::info_span!("request", correlation_id = %id, %method, %route);
    let mut response = next.run(request).instrument(span.clone()).await;
    let (elapsed, status) = (started.elapsed(), response.status());
    response.headers_mut().insert(CORRELATION_HEADER, value);
    metrics::histogram!(
        "http_server_request_duration_seconds",
        "route" => route,
        "method" => method.to_string(),
        "status" => status.as_str().to_owned(),
    )
    .record(elapsed.as_secs_f64());
    span.in_scope(|| {
        let elapsed_ms = elapsed.as_secs_f64() * 1e3;
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), elapsed_ms, "request failed");
        } else {
            tracing::debug!(status = status.as_u16(), elapsed_ms, "request answered");
        }
    });
    response
}

fn accepted_id(request: &Request) -> Option<String> {
    let text = request.headers().get(CORRELATION_HEADER)?.to_str().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    ((8..=64).contains(&text.len()) && text.chars().all(plain)).then(|| text.to_owned())
}

fn fresh_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn correlation_of(request: &Request) -> String {
    accepted_id(request).unwrap_or_default()
}

fn on_panic(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    let problem = Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "our fault; quote the x-request-id of this answer when you ask about it",
    );
    problem.into_response::<Body>("")
}
