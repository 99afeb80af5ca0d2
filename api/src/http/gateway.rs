//! The gateway: `/api/v1` opens to a gateway key or to the house's own pages.
//!
//! In:    any router of the public port.
//! Out:   the same router behind the check.
//! Never: stands before the phone protocols, the pages, `/t/`, health, or a rail's callbacks:
//!        those have secrets or signatures of their own.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use inzira_schemas::Problem;
use inzira_schemas::identity::{Credential, Identity, SESSION_COOKIE, cookie};

use crate::error::correlation_id;
use crate::http::guard::{CSRF_HEADER, is_safe};

/// The cookie beside the session whose value a page repeats in `x-csrf-token`.
pub const CSRF_COOKIE: &str = "inzira_csrf";

/// Puts `router` behind the gateway.
pub fn behind_gateway(router: Router, identity: Arc<dyn Identity>) -> Router {
    router.layer(from_fn_with_state(identity, check))
}

/// True for the paths that need a gateway key or a first-party cookie.
pub fn needs_key(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/api/v1/") else { return false };
    !(rest.starts_with("tracking/") || rest.starts_with("payments/webhook/"))
}

async fn check(
    State(identity): State<Arc<dyn Identity>>,
    request: Request,
    next: Next,
) -> Response {
    if needs_key(request.uri().path()) {
        let id = || correlation_id(request.headers());
        if !identity.gateway_open(request.headers()) {
            let mut problem = Problem::unauthorized();
            problem.code = "gateway_key";
            problem.detail = "send a gateway key, or come from one of our pages".to_owned();
            return problem.into_response(&id());
        }
        if forged(&request) {
            let problem = Problem::new(
                http::StatusCode::FORBIDDEN,
                "csrf",
                "send the x-csrf-token that belongs to this session",
            );
            return problem.into_response(&id());
        }
    }
    next.run(request).await
}

/// A write on a session cookie whose page did not repeat the CSRF cookie: for routes of other
/// rooms; our own guard also checks that the token belongs to the session.
fn forged(request: &Request) -> bool {
    let headers = request.headers();
    let by_cookie = match Credential::of(headers) {
        Some(Credential::Bearer(_) | Credential::Basic(..)) => false,
        _ => cookie(headers, SESSION_COOKIE).is_some(),
    };
    if !by_cookie || is_safe(request.method()) || request.uri().path().contains("/auth/") {
        return false;
    }
    let shown = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    let expected = cookie(headers, CSRF_COOKIE);
    shown.is_none() || shown != expected.as_deref()
}

#[cfg(test)]
mod tests {
    use super::needs_key;

    #[test]
    fn phones_pages_and_callbacks_pass_without_a_key() {
        for path in [
            "/osmand",
            "/t/shr_x",
            "/",
            "/docs",
            "/api/v1/tracking/location",
            "/api/v1/payments/webhook/pawapay",
        ] {
            assert!(!needs_key(path), "{path}");
        }
        for path in ["/api/v1/orders", "/api/v1/auth/login", "/api/v1/sql"] {
            assert!(needs_key(path), "{path}");
        }
    }
}
