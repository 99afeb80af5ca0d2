//! A session renews itself, against a door that forgets it.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::*;

/// A house that counts log-ins and calls, and knows only the token of the last log-in.
#[derive(Default)]
struct Door {
    logins: AtomicU64,
    calls: AtomicU64,
    /// Seconds that a token is said to live.
    life_s: u64,
    /// Refuses every call, whatever token it shows.
    shut: bool,
}

impl Door {
    async fn open(self) -> (Arc<Self>, Service) {
        let door = Arc::new(self);
        let router = Router::new()
            .route("/api/v1/auth/login", post(log_in))
            .route("/thing", get(thing).post(thing))
            .with_state(door.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut service = Service::at(base.parse().unwrap(), "key");
        service.log_in("+250788000001", "a password").await.unwrap();
        (door, service)
    }

    fn counted(&self) -> (u64, u64) {
        (self.logins.load(Ordering::SeqCst), self.calls.load(Ordering::SeqCst))
    }

    /// As an operator does who ends all sessions.
    fn forget_sessions(&self) {
        self.logins.fetch_add(1, Ordering::SeqCst);
    }
}

async fn log_in(State(door): State<Arc<Door>>) -> Json<Value> {
    let login = door.logins.fetch_add(1, Ordering::SeqCst) + 1;
    Json(json!({"access_token": format!("token-{login}"), "expires_in": door.life_s}))
}

async fn thing(State(door): State<Arc<Door>>, headers: HeaderMap) -> Result<String, StatusCode> {
    door.calls.fetch_add(1, Ordering::SeqCst);
    let wanted = format!("Bearer token-{}", door.logins.load(Ordering::SeqCst));
    if door.shut || headers["authorization"] != wanted.as_str() {
        return Err(StatusCode::UNAUTHORIZED);
    }
    Ok(json!(headers["x-inzira-key"].to_str().ok()).to_string())
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_and_the_call_repeated_once() {
    let (door, service) = Door { life_s: 900, ..Door::default() }.open().await;
    assert_eq!(service.get("/thing").await.unwrap(), "key");
    assert_eq!(door.counted(), (1, 1));
    door.forget_sessions();
    service.post("/thing", &json!({})).await.unwrap();
    assert_eq!(door.counted(), (3, 3), "one log-in, and the call twice");
    service.get("/thing").await.unwrap();
    assert_eq!(door.counted(), (3, 4), "the new token is kept");
}

#[tokio::test]
async fn clones_renew_one_session_once() {
    let (door, service) = Door { life_s: 900, ..Door::default() }.open().await;
    door.forget_sessions();
    let calls = (0..20).map(|_| {
        let service = service.clone();
        async move { service.get("/thing").await }
    });
    for outcome in futures::future::join_all(calls).await {
        outcome.unwrap();
    }
    assert_eq!(door.logins.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_token_near_its_end_is_renewed_before_it_is_used() {
    let (door, service) = Door { life_s: 0, ..Door::default() }.open().await;
    service.get("/thing").await.unwrap();
    service.get("/thing").await.unwrap();
    assert_eq!(door.counted(), (3, 2), "no call was refused");
}

#[tokio::test]
async fn a_call_that_stays_refused_says_so_after_one_repetition() {
    let (door, service) = Door { life_s: 900, shut: true, ..Door::default() }.open().await;
    let error = service.get("/thing").await.unwrap_err();
    assert!(error.is_unauthorized(), "{error}");
    assert_eq!(door.counted(), (2, 2));
}

#[tokio::test]
async fn a_session_does_not_print_its_secrets() {
    let (_, service) = Door { life_s: 900, ..Door::default() }.open().await;
    let text = format!("{:?}", service.session);
    assert!(text.contains("Session") && !text.contains("password") && !text.contains("token-"));
}
