//! One house a test: fresh folder, fresh database, everything by hand.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use inzira_live_bus::{LiveBus as _, LivePosition};
use inzira_schemas::{Clock as _, DriverId, HandClock, Micros, Point, cell};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tower::ServiceExt as _;

use super::doubles::{MemoryBus, MemoryLog};
use crate::api::Api;
use crate::config::{ApiConfig, PasswordCost};
use crate::gateway::PaymentGateway;
use crate::outbox::relay;
use crate::payments::mock::MockRail;
use crate::payments::poller;
use crate::{assignment, behind_gateway};

pub const PICKUP: Point = Point { lat: -1.9536, lon: 30.0606 };
pub const DESTINATION: Point = Point { lat: -1.9300, lon: 30.1100 };

pub struct House {
    pub api: Api,
    pub router: Router,
    pub clock: Arc<HandClock>,
    pub log: Arc<MemoryLog>,
    pub bus: Arc<MemoryBus>,
    pub config: ApiConfig,
    pub folder: Arc<tempfile::TempDir>,
    pub gateway_key: String,
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    pub fn cookies(&self) -> Vec<String> {
        let all = self.headers.get_all("set-cookie");
        all.iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }
}

/// Runs a test on SQLite, and on Postgres when there is one.
pub async fn each(test: impl AsyncFn(House)) {
    test(house("sqlite:", None).await).await;
    let Ok(url) = std::env::var("INZIRA_TEST_POSTGRES") else {
        let required = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!required, "INZIRA_TEST_POSTGRES is not set under CI");
        println!("skipped: INZIRA_TEST_POSTGRES is not set (cargo xtask stack up)");
        return;
    };
    let name = format!("inzira_test_{}", crate::secrets::random_token("", 12).to_lowercase());
    sqlx::any::install_default_drivers();
    let admin = sqlx::AnyPool::connect(&url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.unwrap();
    let mut fresh = url::Url::parse(&url).unwrap();
    fresh.set_path(&name);
    let house = house(fresh.as_str(), None).await;
    let api = house.api.clone();
    test(house).await;
    api.close().await;
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&admin).await.unwrap();
}

pub async fn house(database: &str, rail: Option<Arc<dyn PaymentGateway>>) -> House {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = ApiConfig {
        data: folder.path().to_owned(),
        database: database.to_owned(),
        postgres_connections: 10,
        passwords: PasswordCost { memory_kib: 64, passes: 1, at_once: 2, waiting_max: 64 },
        ..ApiConfig::default()
    };
    let clock = Arc::new(HandClock::at(Micros::from_secs(1_800_000_000)));
    open(folder, config, clock, rail).await
}

pub async fn open(
    folder: Arc<tempfile::TempDir>,
    config: ApiConfig,
    clock: Arc<HandClock>,
    rail: Option<Arc<dyn PaymentGateway>>,
) -> House {
    let (log, bus) = (Arc::new(MemoryLog::default()), Arc::new(MemoryBus::default()));
    let rail = rail.unwrap_or_else(|| {
        Arc::new(MockRail::new(config.payments.mock_delay_ms, clock.clone() as Arc<_>))
    });
    let api = Api::open_with(config.clone(), log.clone(), bus.clone(), clock.clone(), rail)
        .await
        .unwrap();
    let router = behind_gateway(api.router(), api.identity());
    let gateway_key = api.app.keys.gateway_external.current.clone();
    House { api, router, clock, log, bus, config, folder, gateway_key }
}

impl House {
    /// One request with the gateway key and whatever else is given.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("x-inzira-key", &self.gateway_key));
        self.send_bare(method, path, &headers, body).await
    }

    pub async fn send_bare(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send(Method::GET, path, &[("authorization", &bearer)], None).await
    }

    pub async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send(Method::POST, path, &[("authorization", &bearer)], Some(body)).await
    }

    pub async fn login(&self, phone: &str, password: &str) -> Answer {
        let body = json!({ "phone": phone, "password": password });
        self.send(Method::POST, "/api/v1/auth/login", &[], Some(body)).await
    }

    /// The access token of one of the first log-ins.
    pub async fn first(&self, role: &str) -> String {
        let logins = self.api.first_logins().unwrap();
        let login = logins.accounts.iter().find(|login| login.role == role).unwrap();
        let answer = self.login(&login.phone, &login.password).await.expect(200);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// The code in the newest message to a phone.
    pub async fn code(&self, phone: &str) -> String {
        let text = self.api.newest_message_to(phone).await.unwrap().unwrap();
        text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).unwrap().to_owned()
    }

    /// Registers, verifies, logs in; answers the session.
    pub async fn person(&self, role: &str, phone: &str) -> Value {
        let body = json!({ "phone": phone, "password": "correct horse", "role": role });
        self.send(Method::POST, "/api/v1/auth/register", &[], Some(body)).await.expect(202);
        let body = json!({ "phone": phone, "code": self.code(phone).await });
        self.send(Method::POST, "/api/v1/auth/verify", &[], Some(body)).await.expect(200);
        self.login(phone, "correct horse").await.expect(200).json()
    }

    pub async fn customer(&self) -> String {
        let session = self.person("customer", "+250788000001").await;
        session["access_token"].as_str().unwrap().to_owned()
    }

    /// A driver who is active, available, and stands at `place`; (token, driver id).
    pub async fn driver(&self, phone: &str, place: Point) -> (String, String) {
        let session = self.person("driver", phone).await;
        let token = session["access_token"].as_str().unwrap().to_owned();
        let driver_id = session["actor_id"].as_str().unwrap().to_owned();
        let operator = self.first("operator").await;
        let path = format!("/api/v1/admin/drivers/{driver_id}/status");
        self.post(&operator, &path, json!({ "status": "active" })).await.expect(200);
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let body = Some(json!({ "available": true }));
        let path = "/api/v1/drivers/me/availability";
        self.send(Method::PUT, path, &headers, body).await.expect(200);
        self.stand(&driver_id, place).await;
        (token, driver_id)
    }

    pub async fn stand(&self, driver_id: &str, place: Point) {
        let now = self.clock.now();
        let position = LivePosition {
            driver_id: DriverId::parse(driver_id).unwrap(),
            order_id: None,
            lat: place.lat,
            lon: place.lon,
            accuracy_m: 5.0,
            speed_mps: 0.0,
            bearing_deg: 0.0,
            h3_r9: cell::cell_r9(place),
            measured_at: now,
            received_at: now,
            distance_m: None,
            eta_s: None,
            version: u64::try_from(now.0).unwrap(),
        };
        self.bus.publish(&[position]).await.unwrap();
    }

    pub async fn book_as(&self, token: &str, key: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        self.send(Method::POST, "/api/v1/orders", &headers, Some(body)).await
    }

    /// A second passes; attempts are asked and looked at until nothing is due.
    pub async fn settle(&self) {
        for _ in 0..4 {
            poller::turn(&self.api.app).await.unwrap();
            self.clock.advance_secs(1);
        }
    }

    pub async fn match_drivers(&self) {
        assignment::turn(&self.api.app).await.unwrap();
    }

    pub async fn relay(&self) -> usize {
        relay::turn(&self.api.app, self.log.as_ref()).await.unwrap()
    }

    pub async fn state(&self, token: &str, order_id: &str) -> String {
        let order = self.get(token, &format!("/api/v1/orders/{order_id}")).await.expect(200);
        order.json()["state"].as_str().unwrap().to_owned()
    }
}

pub fn ride() -> Value {
    json!({
        "kind": "ride",
        "pickup": { "lat": PICKUP.lat, "lon": PICKUP.lon, "address": "Kigali market" },
        "destination": { "lat": DESTINATION.lat, "lon": DESTINATION.lon },
    })
}

pub fn parcel(weight_g: i64) -> Value {
    let mut body = ride();
    body["kind"] = "shipment_domestic".into();
    body["weight_g"] = weight_g.into();
    body["phone"] = "+250788000777".into();
    body
}

pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}")).to_owned()
}
