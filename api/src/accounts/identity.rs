//! `Identity` for every room: who is calling, and which order they may watch.
//!
//! In:    a credential.
//! Out:   a device, a person, the holder of a share link, or nobody.
//! Keeps: devices and sessions for three seconds, so that a revocation is seen within five.
//! Never: mints anything.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use inzira_schemas::identity::{
    Caller, Credential, Device, Identity, IdentityUnavailable, OrderView, Role, SESSION_COOKIE,
    SHARE_COOKIE, cookie,
};
use inzira_schemas::{CustomerId, DriverId, Micros, OrderId, Point, UserId};
use sqlx::Row;

use crate::accounts::sessions::{self, Live};
use crate::app::App;
use crate::drivers::devices;
use crate::error::ApiError;
use crate::orders::share;
use crate::secrets::GatewayKey;

/// The cookie that a served page leaves, so that its own requests pass the gateway.
pub const DOOR_COOKIE: &str = "inzira_door";
/// How long a door cookie holds, seconds.
pub const DOOR_S: i64 = 24 * 3600;

/// This house's `Identity`.
#[derive(Debug, Clone)]
pub struct HouseIdentity(pub Arc<App>);

impl HouseIdentity {
    /// The live session behind an access token or a session cookie.
    pub async fn session(&self, credential: &Credential) -> Result<Option<Live>, ApiError> {
        let app = &self.0;
        match credential {
            Credential::Bearer(token) if token.matches('.').count() == 2 => {
                let Some(claims) = app.verifier.verify(token, app.now()) else { return Ok(None) };
                if let Some(live) = app.sessions.get(&claims.sid) {
                    return Ok(Some(live));
                }
                self.remember(sessions::by_id(&app.db, &claims.sid, app.now()).await?, None)
            }
            Credential::Session(cookie) => {
                let key = app.keys.lookup_hash("session", cookie);
                if let Some(live) = app.sessions.get(&key) {
                    return Ok(Some(live));
                }
                let live = sessions::by_cookie(&app.db, &app.keys, cookie, app.now()).await?;
                self.remember(live, Some(key))
            }
            _ => Ok(None),
        }
    }

    fn remember(&self, live: Option<Live>, key: Option<String>) -> Result<Option<Live>, ApiError> {
        if let Some(live) = &live {
            let key = key.unwrap_or_else(|| live.session_id.clone());
            self.0.sessions.put(key, live.clone());
        }
        Ok(live)
    }

    async fn share(&self, token: &str) -> Result<Option<Caller>, ApiError> {
        let link = share::live(&self.0.db, &self.0.keys, token, self.0.now()).await?;
        Ok(link
            .map(|link| Caller::ShareLink { order_id: link.order_id, expires_at: link.expires_at }))
    }

    async fn view(
        &self,
        caller: &Caller,
        order_id: &OrderId,
    ) -> Result<Option<OrderView>, ApiError> {
        let row = sqlx::query(
            "SELECT kind, state, pickup_lat, pickup_lon, destination_lat, destination_lon, \
             driver_id, customer_id, owner_id, agent_id, vendor_id, created_at \
             FROM orders WHERE order_id = $1",
        )
        .bind(order_id.as_str())
        .fetch_optional(self.0.db.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let driver_id: Option<String> = row.try_get(6)?;
        let customer_id: String = row.try_get(7)?;
        let owner_id: String = row.try_get(8)?;
        let others: [Option<String>; 2] = [row.try_get(9)?, row.try_get(10)?];
        let allowed = match caller {
            Caller::ShareLink { order_id: shared, .. } => shared == order_id,
            Caller::Person { user_id, role, actor_id } => {
                matches!(role, Role::Operator | Role::Admin)
                    || owner_id == user_id.as_str()
                    || customer_id == *actor_id
                    || driver_id.as_ref() == Some(actor_id)
                    || others.iter().flatten().any(|other| other == actor_id)
            }
        };
        if !allowed {
            return Ok(None);
        }
        Ok(Some(OrderView {
            order_id: order_id.clone(),
            kind: row.try_get(0)?,
            state: row.try_get(1)?,
            pickup: Point { lat: row.try_get(2)?, lon: row.try_get(3)? },
            destination: Point { lat: row.try_get(4)?, lon: row.try_get(5)? },
            driver_id: driver_id.and_then(|id| DriverId::parse(&id).ok()),
            customer_id: CustomerId::parse(&customer_id).ok(),
            created_at: Micros(row.try_get(11)?),
        }))
    }
}

/// A live session as the person behind it.
pub fn person(live: &Live) -> Option<Caller> {
    Some(Caller::Person {
        user_id: UserId::parse(&live.user_id).ok()?,
        role: Role::parse(&live.role)?,
        actor_id: live.actor_id.clone(),
    })
}

#[async_trait]
impl Identity for HouseIdentity {
    async fn device(
        &self,
        credential: &Credential,
        hint: Option<&str>,
    ) -> Result<Option<Device>, IdentityUnavailable> {
        let secret = match credential {
            Credential::Bearer(secret)
            | Credential::Basic(_, secret)
            | Credential::DeviceId(secret) => secret,
            Credential::Session(_) | Credential::Share(_) => return Ok(None),
        };
        if !devices::is_secret(secret) {
            return Ok(None);
        }
        // A secret belongs to one device, so there is nothing for a hint to choose among.
        let _ = hint;
        let key = self.0.keys.lookup_hash("device", secret);
        if let Some(device) = self.0.devices.get(&key) {
            return Ok(Some(device));
        }
        let device = devices::by_hash(&self.0.db, &key).await.map_err(unavailable)?;
        if let Some(device) = &device {
            self.0.devices.put(key, device.clone());
        }
        Ok(device)
    }

    async fn caller(&self, credential: &Credential) -> Result<Option<Caller>, IdentityUnavailable> {
        match credential {
            Credential::Share(token) => self.share(token).await.map_err(unavailable),
            Credential::Bearer(token) if share::is_ours(&self.0.keys, token) => {
                self.share(token).await.map_err(unavailable)
            }
            Credential::Bearer(_) | Credential::Session(_) => {
                let live = self.session(credential).await.map_err(unavailable)?;
                Ok(live.as_ref().and_then(person))
            }
            Credential::Basic(..) | Credential::DeviceId(_) => Ok(None),
        }
    }

    async fn order_for(
        &self,
        caller: &Caller,
        order_id: &OrderId,
    ) -> Result<Option<OrderView>, IdentityUnavailable> {
        if let Caller::ShareLink { expires_at, .. } = caller
            && self.0.now() >= *expires_at
        {
            return Ok(None);
        }
        self.view(caller, order_id).await.map_err(unavailable)
    }

    fn gateway_open(&self, headers: &HeaderMap) -> bool {
        let app = &self.0;
        let shown = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let opens = |name: &str, configured: &[String], own: &GatewayKey| {
            shown(name).is_some_and(|key| opens(key, configured, own))
        };
        opens(&app.config.gateway_header, &app.config.gateway_keys, &app.keys.gateway_external)
            || opens(
                &app.config.internal_header,
                &app.config.internal_keys,
                &app.keys.gateway_internal,
            )
            || self.first_party(headers)
    }
}

impl HouseIdentity {
    /// A cookie or token that this house made, known without a query. It opens the door only;
    /// the guard behind it asks the database.
    fn first_party(&self, headers: &HeaderMap) -> bool {
        let keys = &self.0.keys;
        let door = cookie(headers, DOOR_COOKIE).is_some_and(|door| self.door_holds(&door));
        let session = || {
            cookie(headers, SESSION_COOKIE)
                .is_some_and(|cookie| sessions::cookie_is_ours(keys, &cookie))
        };
        let share = || {
            cookie(headers, SHARE_COOKIE).is_some_and(|token| share::is_ours(keys, &token))
                || matches!(Credential::of(headers),
                    Some(Credential::Bearer(token)) if share::is_ours(keys, &token))
        };
        door || session() || share()
    }

    fn door_holds(&self, door: &str) -> bool {
        let Some((until_s, tag)) = door.split_once('.') else { return false };
        let young =
            until_s.parse::<i64>().is_ok_and(|until_s| self.0.now().0 / 1_000_000 < until_s);
        young && self.0.keys.tag_fits("door", until_s, tag)
    }

    /// A fresh value for the door cookie.
    pub fn door(&self) -> String {
        let until_s = (self.0.now().plus_secs(DOOR_S).0 / 1_000_000).to_string();
        let tag = self.0.keys.tag("door", &until_s);
        format!("{until_s}.{tag}")
    }
}

fn opens(shown: &str, configured: &[String], own: &GatewayKey) -> bool {
    match configured {
        [] => own.opens(shown),
        [current, rest @ ..] => {
            GatewayKey { current: current.clone(), next: rest.first().cloned() }.opens(shown)
        }
    }
}

fn unavailable(error: ApiError) -> IdentityUnavailable {
    tracing::warn!(error = %error, "identity cannot be asked");
    IdentityUnavailable(error.to_string())
}
