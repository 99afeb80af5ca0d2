//! Speaks to a running service as a program would: logs in, enrols vehicles, sends.
//!
//! In:    the service's address, the gateway key, a log-in.
//! Out:   JSON answers; a clear error with the service's own words otherwise.
//! Keeps: the log-in, since an access token lives minutes and a fleet drives for hours: clones
//!        share one session, which is renewed shortly before its end or when it is refused.
//! Never: follows a redirect; repeats a write, unless it was refused for a token that had ended.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

/// A log-in as `first-logins.json` in the data folder holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// `admin`, `operator`, `analyst`, `engineer`.
    pub role: String,
    /// `+250…`.
    pub phone: String,
    /// In clear: the file is readable by its owner alone.
    pub password: String,
}

/// What the first start of a service writes for its owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstLogins {
    /// One a role.
    pub accounts: Vec<Login>,
    /// The external gateway key, `x-inzira-key`.
    pub gateway_key: String,
    /// The internal gateway key, `x-internal-key`.
    #[serde(default)]
    pub internal_key: String,
}

impl FirstLogins {
    /// The name of the file in the data folder.
    pub const FILE: &'static str = "first-logins.json";

    /// Reads the file; `None` when it is not there or not readable.
    pub fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(data.join(Self::FILE)).ok()?).ok()
    }

    /// The log-in of a role.
    pub fn of(&self, role: &str) -> Option<&Login> {
        self.accounts.iter().find(|login| login.role == role)
    }
}

/// How a call can fail.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answered. It may be starting: try again.
    #[error("no answer from {url}: {source}")]
    NoAnswer {
        /// Where.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The service said no.
    #[error("{url} answered {status}: {body}")]
    Refused {
        /// Where.
        url: String,
        /// HTTP status.
        status: StatusCode,
        /// Its own words, cut at 400 characters.
        body: String,
    },
    /// The answer is not what it should be.
    #[error("{url} answered something else than expected: {what}")]
    Odd {
        /// Where.
        url: String,
        /// What.
        what: String,
    },
}

impl ClientError {
    /// The token or the password was not accepted.
    fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::UNAUTHORIZED, .. })
    }
}

/// A vehicle that may send fixes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Vehicle {
    /// What the caller named it.
    pub label: String,
    /// `drv_…`.
    pub driver_id: String,
    /// `dev_…`, as the tables know it; no secret.
    pub device_id: String,
    /// The secret: a bearer token, a password, and the id that phone apps send.
    pub token: String,
}

/// A running service.
#[derive(Debug, Clone)]
pub struct Service {
    base: Url,
    gateway_key: String,
    http: reqwest::Client,
    session: Arc<Mutex<Option<Session>>>,
    writes: Arc<AtomicUsize>,
}

/// One write that waits for its answer, until it is dropped.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn of(writes: &Arc<AtomicUsize>) -> Self {
        writes.fetch_add(1, Ordering::SeqCst);
        Self(writes.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Who is logged in, and until when.
struct Session {
    phone: String,
    password: String,
    token: String,
    renew_at: Instant,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What a log-in answers, as far as we use it.
#[derive(Deserialize)]
struct Opened {
    access_token: String,
    /// Seconds.
    expires_in: u64,
}

/// A token is renewed so long before its end, or after half its life when that is shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// How many vehicles one enrolment call takes.
const FLEET_MAX: usize = 1_000;

impl Service {
    /// A service at `base` (`http://127.0.0.1:8000`).
    pub fn at(base: Url, gateway_key: &str) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .tcp_nodelay(true)
            .build()
            .unwrap_or_default();
        let gateway_key = gateway_key.to_owned();
        Self { base, gateway_key, http, session: Arc::default(), writes: Arc::default() }
    }

    /// Where it is.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The connection pool, for callers that send by hand.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The full address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// Logs in; later calls of this handle, and of clones made from now on, carry the token.
    pub async fn log_in(&mut self, phone: &str, password: &str) -> Result<(), ClientError> {
        let session = self.open_session(phone, password).await?;
        self.session = Arc::new(Mutex::new(Some(session)));
        Ok(())
    }

    /// Enrols vehicles by label, finding those that are known already.
    pub async fn enrol(&self, labels: &[String]) -> Result<Vec<Vehicle>, ClientError> {
        let mut vehicles = Vec::with_capacity(labels.len());
        for some in labels.chunks(FLEET_MAX) {
            let answer = self.post("/api/v1/admin/fleet", &json!({"vehicles": some})).await?;
            let list = answer.get("vehicles").cloned().unwrap_or(answer);
            let enrolled: Vec<Vehicle> =
                serde_json::from_value(list).map_err(|error| self.odd(&error.to_string()))?;
            vehicles.extend(enrolled);
        }
        Ok(vehicles)
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(self.http.get(self.url(path))).await
    }

    /// `POST` of JSON; each carries a fresh `Idempotency-Key`.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.post_as(&ulid_like(), path, body).await
    }

    /// `POST` of JSON under an `Idempotency-Key` of the caller's, who may repeat it.
    pub async fn post_as(&self, key: &str, path: &str, body: &Value) -> Result<Value, ClientError> {
        let _under_way = UnderWay::of(&self.writes);
        self.call(self.http.post(self.url(path)).header("idempotency-key", key).json(body)).await
    }

    /// `PUT` of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let _under_way = UnderWay::of(&self.writes);
        self.call(self.http.put(self.url(path)).json(body)).await
    }

    /// How many writes of this handle and its clones wait for their answer.
    pub fn writes_under_way(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// Sends with the session's token. One that the service does not know any more is renewed,
    /// and the call, which was refused and so not done, is repeated once.
    async fn call(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let token = self.token(None).await?;
        let again = request.try_clone();
        let outcome = self.ask(request, token.as_deref()).await;
        match (&outcome, token, again) {
            (Err(error), Some(refused), Some(again)) if error.is_unauthorized() => {
                let token = self.token(Some(&refused)).await?;
                self.ask(again, token.as_deref()).await
            }
            _ => outcome,
        }
    }

    /// The token to use now; `None` when nobody logged in. Whoever finds it near its end, or
    /// `refused`, renews it, and the others wait for that.
    async fn token(&self, refused: Option<&str>) -> Result<Option<String>, ClientError> {
        let mut session = self.session.lock().await;
        let Some(known) = session.as_mut() else { return Ok(None) };
        if known.renew_at <= Instant::now() || refused == Some(known.token.as_str()) {
            *known = self.open_session(&known.phone, &known.password).await?;
        }
        Ok(Some(known.token.clone()))
    }

    /// Logs in. A refresh token would not do to renew: one whose answer was lost is spent, and
    /// shown again it ends the session.
    async fn open_session(&self, phone: &str, password: &str) -> Result<Session, ClientError> {
        let began = Instant::now();
        let request = self.http.post(self.url("/api/v1/auth/login"));
        let body = json!({"phone": phone, "password": password});
        let answer = self.ask(request.json(&body), None).await?;
        let opened: Opened =
            serde_json::from_value(answer).map_err(|error| self.odd(&error.to_string()))?;
        let life = Duration::from_secs(opened.expires_in);
        Ok(Session {
            phone: phone.to_owned(),
            password: password.to_owned(),
            token: opened.access_token,
            renew_at: began + life.saturating_sub(RENEW_BEFORE).max(life / 2),
        })
    }

    async fn ask(
        &self,
        request: RequestBuilder,
        token: Option<&str>,
    ) -> Result<Value, ClientError> {
        let no_answer = |source| ClientError::NoAnswer { url: self.base.to_string(), source };
        let request = request.header("x-inzira-key", &self.gateway_key);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.map_err(no_answer)?;
        let (status, url) = (response.status(), response.url().to_string());
        let text = response.text().await.map_err(no_answer)?;
        if !status.is_success() {
            let body = text.chars().take(400).collect();
            return Err(ClientError::Refused { url, status, body });
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| self.odd(&error.to_string()))
    }

    fn odd(&self, what: &str) -> ClientError {
        ClientError::Odd { url: self.base.to_string(), what: what.to_owned() }
    }
}

/// 128 random bits as text.
pub fn ulid_like() -> String {
    format!("{:032x}", rand::random::<u128>())
}
