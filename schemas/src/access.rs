//! Who may watch an order, or look at its way: one rule for every room that shows one.
//!
//! In:    headers, or the token of a first frame.
//! Out:   the order as this caller may see it, and the proof with which it can be asked again.
//! Never: says whether an order exists to somebody who may not see it.

use http::{HeaderMap, header};

use crate::identity::{
    Credential, Identity, IdentityUnavailable, OrderView, SESSION_COOKIE, SHARE_COOKIE, cookie,
};
use crate::problem::CORRELATION_HEADER;
use crate::{OrderId, Problem};

/// A proof that opened an order, and what it opened.
#[derive(Debug, Clone)]
pub struct Access {
    /// With which it can be asked again.
    pub credential: Credential,
    /// The order as its holder sees it.
    pub order: OrderView,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Nothing was shown, or nothing that we know.
    #[error("unauthorized")]
    Unknown,
    /// Known, but no such order for this caller.
    #[error("no such order")]
    NotFound,
    /// It could not be asked.
    #[error(transparent)]
    Unavailable(#[from] IdentityUnavailable),
}

/// What the headers show, the best first: a header, else the share cookie, else the session.
pub fn shown(headers: &HeaderMap) -> Vec<Credential> {
    if headers.contains_key(header::AUTHORIZATION) {
        return Credential::of(headers).into_iter().collect();
    }
    let share = cookie(headers, SHARE_COOKIE).map(Credential::Share);
    share.into_iter().chain(cookie(headers, SESSION_COOKIE).map(Credential::Session)).collect()
}

/// Opens an order with the first proof that does.
pub async fn open(
    identity: &dyn Identity,
    shown: Vec<Credential>,
    order_id: &OrderId,
) -> Result<Access, Denied> {
    let mut denied = Denied::Unknown;
    for credential in shown {
        match order(identity, &credential, order_id).await {
            Ok(order) => return Ok(Access { credential, order }),
            Err(Denied::Unknown) => {}
            Err(other) => denied = other,
        }
    }
    Err(denied)
}

/// Opens an order with one proof: asked at the start, and again and again while watching.
pub async fn order(
    identity: &dyn Identity,
    credential: &Credential,
    order_id: &OrderId,
) -> Result<OrderView, Denied> {
    let caller = identity.caller(credential).await?.ok_or(Denied::Unknown)?;
    identity.order_for(&caller, order_id).await?.ok_or(Denied::NotFound)
}

/// The proofs that a token in a first frame may be.
pub fn of_token(token: &str) -> Vec<Credential> {
    vec![Credential::Bearer(token.to_owned()), Credential::Share(token.to_owned())]
}

/// A cookie opens a socket only for our own pages: browsers say where a request comes from, and
/// do not hold sockets to the same-origin rule.
pub fn own_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let origin = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, host)| host);
    matches!((origin, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
}

impl Denied {
    /// As an answer over HTTP.
    pub fn problem(&self, retry_after_s: u32) -> Problem {
        match self {
            Denied::Unknown => Problem::unauthorized(),
            Denied::NotFound => Problem::not_found("order"),
            Denied::Unavailable(_) => Problem::unavailable(retry_after_s),
        }
    }
}

/// The correlation id that a request carries; what a stranger sent is cut at 128 characters.
pub fn correlation_id(headers: &HeaderMap) -> String {
    let id = headers.get(CORRELATION_HEADER).and_then(|value| value.to_str().ok());
    id.unwrap_or_default().chars().take(128).collect()
}
