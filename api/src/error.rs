//! The one error of the HTTP surface: it owns the status and the public wording.
//!
//! In:    whatever went wrong in a handler.
//! Out:   `application/problem+json` with the request's correlation id.
//! Never: shows the insides of a failure; logs one twice.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use inzira_schemas::problem::CORRELATION_HEADER;
use inzira_schemas::{MoneyError, Problem};

use crate::db::DbError;
use crate::payments::gateway::GatewayError;
use crate::secrets::{KeysError, SealError};

/// What a handler may fail with.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The caller's to mend; worded for them.
    #[error("{}: {}", .0.code, .0.detail)]
    Told(Problem),
    /// The database; the caller may try again.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Personal data that does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// An amount left its range.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// The rail.
    #[error(transparent)]
    Rail(#[from] GatewayError),
    /// A bug: something that cannot be.
    #[error("{0}")]
    Bug(String),
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        ApiError::Told(problem)
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        ApiError::Db(DbError::Sql(error))
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        ApiError::Bug(format!("an answer does not serialise: {error}"))
    }
}

impl ApiError {
    /// 422: the body reads, and what it says cannot be.
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Problem::new(http::StatusCode::UNPROCESSABLE_ENTITY, code, detail).into()
    }

    /// True when a unique index refused the row.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, ApiError::Db(error) if error.is_unique_violation())
    }

    fn problem(self) -> Problem {
        match self {
            ApiError::Told(problem) => problem,
            ApiError::Money(error) => {
                Problem::new(http::StatusCode::UNPROCESSABLE_ENTITY, "amount", error.to_string())
            }
            ApiError::Db(error) => {
                tracing::error!(error = %error, "database failure in a request");
                Problem::unavailable(2)
            }
            other => {
                tracing::error!(error = %other, "failure in a request");
                Problem::new(
                    http::StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "something went wrong on our side; quote the correlation id",
                )
            }
        }
    }
}

/// Waits in the response's extensions until the outer layer knows the correlation id.
#[derive(Clone)]
struct Pending(Problem);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        told(self.problem())
    }
}

/// The response of a problem; `with_correlation` renders it with the request's id.
pub fn told(problem: Problem) -> Response {
    let mut response = problem.clone().into_response::<axum::body::Body>("");
    response.extensions_mut().insert(Pending(problem));
    response
}

/// Renders pending problems with the request's correlation id.
pub async fn with_correlation(request: Request, next: Next) -> Response {
    let id = correlation_id(request.headers());
    let response = next.run(request).await;
    if let Some(Pending(problem)) = response.extensions().get::<Pending>().cloned() {
        let mut rendered = problem.into_response::<axum::body::Body>(&id);
        for (name, value) in response.headers() {
            if !rendered.headers().contains_key(name) && name != http::header::CONTENT_LENGTH {
                rendered.headers_mut().append(name.clone(), value.clone());
            }
        }
        return rendered;
    }
    response
}

/// The id that the binary's outer layer gave the request; empty without one.
pub fn correlation_id(headers: &HeaderMap) -> String {
    headers
        .get(CORRELATION_HEADER)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.chars().take(64).collect())
        .unwrap_or_default()
}
