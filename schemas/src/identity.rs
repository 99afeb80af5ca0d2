//! Who is calling, and what they may see. `api` answers, the binary hands it in, the rest ask.
//!
//! In:    what a request presented: a token, a cookie, a password, a device id.
//! Out:   a caller with a role, or nobody.
//! Never: says which part of a secret was wrong.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{CustomerId, DeviceId, DriverId, Micros, OrderId, Point, UserId};

/// What a person may do (see the table in the README).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys.
    Customer,
    /// Books for others, often offline.
    Agent,
    /// Drives.
    Driver,
    /// Sells.
    Vendor,
    /// Runs the desk and sees every live position.
    Operator,
    /// Runs everything.
    Admin,
    /// Asks published figures.
    Analyst,
    /// Asks every table.
    Engineer,
    /// Reads reports.
    Government,
}

impl Role {
    /// As tokens and tables spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Customer => "customer",
            Role::Agent => "agent",
            Role::Driver => "driver",
            Role::Vendor => "vendor",
            Role::Operator => "operator",
            Role::Admin => "admin",
            Role::Analyst => "analyst",
            Role::Engineer => "engineer",
            Role::Government => "government",
        }
    }

    /// Reads the spelling.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Role::Customer,
            Role::Agent,
            Role::Driver,
            Role::Vendor,
            Role::Operator,
            Role::Admin,
            Role::Analyst,
            Role::Engineer,
            Role::Government,
        ]
        .into_iter()
        .find(|role| role.as_str() == text)
    }
}

/// A device that proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub device_id: DeviceId,
    /// Whose fixes it sends.
    pub driver_id: DriverId,
}

/// Somebody who proved who they are.
#[derive(Debug, Clone, PartialEq)]
pub enum Caller {
    /// A person with a log-in.
    Person {
        /// The log-in.
        user_id: UserId,
        /// What they may do.
        role: Role,
        /// Their id in the log, by role: `cus_…`, `drv_…`, `agt_…`, `ven_…`, else the user's.
        actor_id: String,
    },
    /// Whoever holds a share link: may watch one order.
    ShareLink {
        /// The order.
        order_id: OrderId,
        /// When the link ends.
        expires_at: Micros,
    },
}

impl Caller {
    /// The role, if this is a person.
    pub fn role(&self) -> Option<Role> {
        match self {
            Caller::Person { role, .. } => Some(*role),
            Caller::ShareLink { .. } => None,
        }
    }
}

/// What a request presented. Found by `Credential::of`; checked by `Identity`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer …`: a person's JWT, a share token, or a device's token.
    Bearer(String),
    /// `Authorization: Basic …`, decoded: user and password.
    Basic(String, String),
    /// The session cookie.
    Session(String),
    /// The share cookie of `/t/{token}`, or the token itself.
    Share(String),
    /// A device id that is itself a secret (`id`, `deviceid`, OwnTracks `?id=`).
    DeviceId(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credential::Bearer(_) => "Bearer(…)",
            Credential::Basic(..) => "Basic(…)",
            Credential::Session(_) => "Session(…)",
            Credential::Share(_) => "Share(…)",
            Credential::DeviceId(_) => "DeviceId(…)",
        })
    }
}

/// The name of the cookie that carries a person's session.
pub const SESSION_COOKIE: &str = "inzira_session";
/// The name of the path-scoped cookie that `/t/{token}` sets.
pub const SHARE_COOKIE: &str = "inzira_share";

impl Credential {
    /// What the headers present: `Authorization` first, then the share cookie, then the session.
    pub fn of(headers: &http::HeaderMap) -> Option<Credential> {
        if let Some(value) = headers.get(http::header::AUTHORIZATION) {
            let text = value.to_str().ok()?;
            let (scheme, rest) = text.split_once(' ')?;
            return match scheme.to_ascii_lowercase().as_str() {
                "bearer" => Some(Credential::Bearer(rest.trim().to_owned())),
                "basic" => basic(rest.trim()),
                _ => None,
            };
        }
        cookie(headers, SHARE_COOKIE)
            .map(Credential::Share)
            .or_else(|| cookie(headers, SESSION_COOKIE).map(Credential::Session))
    }
}

/// The value of one cookie.
pub fn cookie(headers: &http::HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(http::header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

fn basic(encoded: &str) -> Option<Credential> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credential::Basic(user.to_owned(), password.to_owned()))
}

/// What a watcher must know of an order to draw it.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderView {
    /// The order.
    pub order_id: OrderId,
    /// `shipment_domestic`, `ride`, …
    pub kind: String,
    /// As `OrderState` spells it.
    pub state: String,
    /// Where it is fetched.
    pub pickup: Point,
    /// Where it goes.
    pub destination: Point,
    /// Who carries it, once assigned.
    pub driver_id: Option<DriverId>,
    /// Who asked for it.
    pub customer_id: Option<CustomerId>,
    /// When it was made, by the service's clock: nothing of it is older.
    pub created_at: Micros,
}

/// Identity could not be asked. Answer 503; it is not the caller's fault.
#[derive(Debug, thiserror::Error)]
#[error("identity is unavailable: {0}")]
pub struct IdentityUnavailable(pub String);

/// Checks callers. Revocation is seen within 5 seconds.
#[async_trait]
pub trait Identity: Send + Sync {
    /// The device behind a secret; `None` for no or a wrong one. `hint` (OwnTracks `tid`, topic,
    /// `X-Limit-D`) only chooses among that principal's devices; an unknown hint does no harm.
    async fn device(
        &self,
        credential: &Credential,
        hint: Option<&str>,
    ) -> Result<Option<Device>, IdentityUnavailable>;

    /// The caller behind a credential; `None` for no or a wrong one.
    async fn caller(&self, credential: &Credential) -> Result<Option<Caller>, IdentityUnavailable>;

    /// The order, if this caller may watch it: its owner, its driver, an operator, a share link.
    /// `None` both when it may not and when there is no such order.
    async fn order_for(
        &self,
        caller: &Caller,
        order_id: &OrderId,
    ) -> Result<Option<OrderView>, IdentityUnavailable>;

    /// Whether the gateway keys or a first-party cookie on the request open the door.
    fn gateway_open(&self, headers: &http::HeaderMap) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authorization_header_wins_over_cookies() {
        let mut headers = http::HeaderMap::new();
        headers.insert("cookie", "a=1; inzira_session=s; inzira_share=t".parse().unwrap());
        assert_eq!(Credential::of(&headers), Some(Credential::Share("t".into())));
        headers.insert("authorization", "Basic dTpwOnE=".parse().unwrap());
        assert_eq!(Credential::of(&headers), Some(Credential::Basic("u".into(), "p:q".into())));
    }
}
