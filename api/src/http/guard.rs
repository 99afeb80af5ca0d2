//! Who may call a route.
//!
//! In:    a request and the route's rule.
//! Out:   the request with its `Person`, or 401 or 403.
//! Never: lets a browser's cookie change anything without the CSRF token that belongs to it.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method};
use inzira_schemas::Problem;
use inzira_schemas::identity::{Caller, Credential, Role};
use subtle::ConstantTimeEq as _;

use crate::accounts::identity::{HouseIdentity, person};
use crate::accounts::sessions;
use crate::app::App;
use crate::db::Actor;
use crate::error::ApiError;

/// The header that a browser's writes carry.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: logging in, pages, documents.
    Open,
    /// Whoever is logged in; the handler looks at what is theirs.
    Person,
    /// These roles.
    Roles(&'static [Role]),
}

/// Whoever is logged in.
#[derive(Debug, Clone)]
pub struct Person {
    /// The log-in.
    pub user_id: String,
    /// What they may do.
    pub role: Role,
    /// Their id in the log.
    pub actor_id: String,
    /// Their session.
    pub session_id: String,
}

impl Person {
    /// As transactions, history and events name them.
    pub fn actor(&self) -> Actor {
        Actor { role: self.role.as_str().to_owned(), id: self.actor_id.clone() }
    }

    /// Operators and admins see and do for others.
    pub fn is_desk(&self) -> bool {
        matches!(self.role, Role::Operator | Role::Admin)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Person>().cloned().ok_or_else(|| Problem::unauthorized().into())
    }
}

/// The guard of one route.
pub async fn check(
    State((app, access)): State<(Arc<App>, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    if access == Access::Open {
        return next.run(request).await;
    }
    match admit(&app, access, request.headers(), request.method()).await {
        Ok(person) => {
            request.extensions_mut().insert(person);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

async fn admit(
    app: &Arc<App>,
    access: Access,
    headers: &HeaderMap,
    method: &Method,
) -> Result<Person, ApiError> {
    let credential = credential(headers).ok_or_else(Problem::unauthorized)?;
    let live = HouseIdentity(Arc::clone(app)).session(&credential).await?;
    let live = live.ok_or_else(Problem::unauthorized)?;
    if let Credential::Session(cookie) = &credential
        && !is_safe(method)
        && !csrf_fits(app, headers, cookie)
    {
        return Err(Problem::new(
            http::StatusCode::FORBIDDEN,
            "csrf",
            "send the x-csrf-token that belongs to this session",
        )
        .into());
    }
    let Some(Caller::Person { user_id, role, actor_id }) = person(&live) else {
        return Err(Problem::unauthorized().into());
    };
    if let Access::Roles(roles) = access
        && !roles.contains(&role)
    {
        return Err(Problem::forbidden().into());
    }
    let user_id = user_id.to_string();
    Ok(Person { user_id, role, actor_id, session_id: live.session_id })
}

/// A share cookie beside a session must not hide the session here.
fn credential(headers: &HeaderMap) -> Option<Credential> {
    match Credential::of(headers) {
        Some(Credential::Share(_)) | None => {
            inzira_schemas::identity::cookie(headers, inzira_schemas::identity::SESSION_COOKIE)
                .map(Credential::Session)
        }
        other => other,
    }
}

/// GET, HEAD and OPTIONS change nothing.
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn csrf_fits(app: &App, headers: &HeaderMap, cookie: &str) -> bool {
    let shown = headers.get(CSRF_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
    let expected = sessions::csrf_of(&app.keys, cookie);
    expected.as_bytes().ct_eq(shown).into()
}
