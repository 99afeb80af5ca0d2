//! Request bodies: JSON, bounded, with refusals that say what to mend.
//!
//! In:    bytes up to the router's limit.
//! Out:   a value; 400 for what is not JSON, 413 too large, 415 another type, 422 a wrong field.
//! Never: takes a field that it does not know.

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use inzira_schemas::Problem;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Largest body of this room.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// A JSON body and its bytes (idempotency compares those).
#[derive(Debug)]
pub struct Body<T> {
    /// What it says.
    pub value: T,
    /// As it came.
    pub bytes: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content_type",
                "send application/json",
            )
            .into());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let value = serde_json::from_slice(text).map_err(refused)?;
        Ok(Self { value, bytes })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        // No type is taken as JSON: an empty body needs none.
        return true;
    };
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

fn unread(rejection: BytesRejection) -> ApiError {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("a body has at most {BODY_BYTES_MAX} bytes"),
            )
            .into()
        }
        _ => Problem::bad_request("body", "the body could not be read").into(),
    }
}

fn refused(error: serde_json::Error) -> ApiError {
    if error.is_data() {
        let detail: String = error.to_string().chars().take(200).collect();
        ApiError::invalid("field", detail)
    } else {
        Problem::bad_request("json", "the body is not JSON").into()
    }
}
