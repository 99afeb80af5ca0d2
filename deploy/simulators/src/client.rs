//! Speaks to a running service as a program would: logs in, enrols vehicles, sends.
//!
//! In:    the service's address, the gateway key, a log-in.
//! Out:   JSON answers; a clear error with the service's own words otherwise.
//! Never: follows a redirect, retries a write on its own.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
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
    bearer: Option<String>,
    http: reqwest::Client,
}

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
        Self { base, gateway_key: gateway_key.to_owned(), bearer: None, http }
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

    /// The access token of the last log-in.
    pub fn bearer(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    /// Logs in; later calls carry the token.
    pub async fn log_in(&mut self, phone: &str, password: &str) -> Result<(), ClientError> {
        let body = json!({"phone": phone, "password": password});
        let answer = self.post("/api/v1/auth/login", &body).await?;
        let token = answer.get("access_token").and_then(Value::as_str);
        self.bearer = Some(token.ok_or_else(|| self.odd("no access_token"))?.to_owned());
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
        self.call(self.request(Method::GET, path)).await
    }

    /// `POST` of JSON; each carries a fresh `Idempotency-Key`.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let key = ulid_like();
        self.call(self.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    }

    /// `PUT` of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(self.request(Method::PUT, path).json(body)).await
    }

    /// A request with the gateway key and the token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request =
            self.http.request(method, self.url(path)).header("x-inzira-key", &self.gateway_key);
        match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn call(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let no_answer = |source| ClientError::NoAnswer { url: self.base.to_string(), source };
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
