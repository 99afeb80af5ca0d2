//! The one shape of an error over HTTP: `application/problem+json` (RFC 9457).
//!
//! In:    a status, a title that names the problem, a detail that says what to do.
//! Out:   a response; 429 and 503 carry `Retry-After`.
//! Never: shows the insides of a failure.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// An error as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Short and stable: `unknown_device`, `too_large`.
    pub code: &'static str,
    /// What the caller may do next.
    pub detail: String,
    /// Seconds to wait, for 429 and 503.
    pub retry_after_s: Option<u32>,
}

/// The header that carries the correlation id in and out.
pub const CORRELATION_HEADER: &str = "x-request-id";

impl Problem {
    /// Any problem.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after_s: None }
    }

    /// 400.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: no or a wrong secret.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "present a valid token or log in")
    }

    /// 403: known, but not allowed.
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "your role does not allow this")
    }

    /// 404: no such thing, or not yours: the two look alike.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("no such {what}"))
    }

    /// 409.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 503 with `Retry-After`.
    pub fn unavailable(retry_after_s: u32) -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "try again after the seconds in Retry-After",
        );
        problem.retry_after_s = Some(retry_after_s);
        problem
    }

    /// 429 with `Retry-After`.
    pub fn too_many(retry_after_s: u32) -> Self {
        let mut problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "slow down: try again after the seconds in Retry-After",
        );
        problem.retry_after_s = Some(retry_after_s);
        problem
    }

    /// The response. The server's outer layer writes the correlation id into the header; it is
    /// repeated in the body here when the caller already knows it.
    pub fn into_response<B: From<String>>(self, correlation_id: &str) -> Response<B> {
        let body = json!({
            "type": format!("https://inzira.rw/problems/{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "correlation_id": correlation_id,
        });
        let mut response = Response::new(B::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
