//! What a device is told.
//!
//! In:    how its request went.
//! Out:   a response; every refusal is a `Problem`.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use inzira_event_log::LogError;
use inzira_schemas::Problem;
use inzira_schemas::identity::IdentityUnavailable;
use inzira_schemas::problem::CORRELATION_HEADER;
use metrics::counter;

use crate::decode::BodyError;
use crate::intake::Reply;

/// Why a request is not answered 2xx.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// No or a wrong secret.
    #[error("unknown device")]
    Unauthorized,
    /// A page of somebody else sent it with our cookie.
    #[error("foreign origin")]
    ForeignOrigin,
    /// The sender must split it.
    #[error("too large: {0}")]
    TooLarge(String),
    /// Our own routes only.
    #[error("{0}")]
    NotReadable(String),
    /// A `Content-Encoding` that we do not have.
    #[error("unsupported encoding")]
    UnsupportedEncoding,
    /// The body came too slowly.
    #[error("the body came too slowly")]
    TooSlow,
    /// The connection broke within the body.
    #[error("the body broke off")]
    BrokenOff,
    /// No room for the body.
    #[error("no room")]
    NoRoom,
    /// Nothing was acknowledged; the phone keeps it and comes again.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Who the sender is could not be asked.
    #[error(transparent)]
    Identity(#[from] IdentityUnavailable),
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::NotReadable(_) => Refusal::NotReadable(error.to_string()),
            BodyError::TooMany(_) => Refusal::TooLarge(error.to_string()),
        }
    }
}

impl Refusal {
    /// The problem that the sender sees; its insides are logged here, once.
    pub fn problem(&self, retry_after_s: u32) -> Problem {
        match self {
            Refusal::Unauthorized => Problem::unauthorized(),
            Refusal::ForeignOrigin => Problem::forbidden(),
            Refusal::TooLarge(what) => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("{what}: split it"),
            ),
            Refusal::NotReadable(what) => Problem::bad_request("not_readable", what.clone()),
            Refusal::UnsupportedEncoding => Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "send gzip, zstd or nothing as Content-Encoding",
            ),
            Refusal::TooSlow => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                "send it again, in smaller parts on a slow line",
            ),
            Refusal::BrokenOff => Problem::bad_request("body_broken_off", "send it again"),
            Refusal::NoRoom => {
                counter!("inzira_http_shed_total", "reason" => "bytes_in_flight").increment(1);
                Problem::unavailable(retry_after_s)
            }
            Refusal::Log(error) => {
                counter!("inzira_http_shed_total", "reason" => "log").increment(1);
                tracing::error!(%error, "fixes were not kept and not acknowledged");
                Problem::unavailable(retry_after_s)
            }
            Refusal::Identity(error) => {
                counter!("inzira_http_shed_total", "reason" => "identity").increment(1);
                tracing::error!(%error, "a device could not be checked");
                Problem::unavailable(retry_after_s)
            }
        }
    }

    /// The response.
    pub fn into_response(self, headers: &Correlation, retry_after_s: u32) -> Response {
        let close = matches!(self, Refusal::TooSlow | Refusal::BrokenOff);
        let mut response = self.problem(retry_after_s).into_response::<Body>(&headers.0);
        if close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The correlation id of a request.
pub(crate) struct Correlation(String);

impl Correlation {
    pub fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(CORRELATION_HEADER).and_then(|value| value.to_str().ok());
        Self(text.unwrap_or_default().chars().take(128).collect())
    }

    /// Empty when the request carried none.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Our own answer: counts as JSON.
pub(crate) fn counts(reply: &Reply) -> Response {
    let body = serde_json::to_vec(reply).unwrap_or_default();
    typed(Body::from(body))
}

/// OwnTracks reads a list of messages for the phone; there are none.
pub(crate) fn no_messages() -> Response {
    typed(Body::from("[]"))
}

/// Traccar's and GPSLogger's: nothing.
pub(crate) fn empty() -> Response {
    Response::new(Body::empty())
}

fn typed(body: Body) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
