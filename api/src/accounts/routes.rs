//! `auth/register`, `auth/verify`, `auth/login`, `auth/refresh`, `auth/logout`, `auth/me`.
//!
//! In:    phones, passwords, codes, refresh tokens.
//! Out:   tokens; for browsers an HttpOnly cookie and a CSRF token.
//! Never: says whether a number is known; lets the sixth wrong try in a quarter of an hour through.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use inzira_schemas::Problem;
use inzira_schemas::identity::{Role, SESSION_COOKIE};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row;

use crate::accounts::identity::{DOOR_COOKIE, DOOR_S, HouseIdentity};
use crate::accounts::password::Passwords;
use crate::accounts::phone::Phone;
use crate::accounts::sessions::{self, Refreshed};
use crate::accounts::users::{self, NewUser, User};
use crate::app::App;
use crate::audit;
use crate::db::{Actor, Tx};
use crate::drivers::profiles::{self, NewProfile, Papers};
use crate::error::ApiError;
use crate::http::body::Body;
use crate::http::gateway::CSRF_COOKIE;
use crate::http::guard::Person;
use crate::messages::{self, Said};
use crate::secrets::random_digits;

const CODE_TRIES_MAX: i64 = 5;
const NAME_CHARS_MAX: usize = 100;

/// The body of `POST auth/register`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    phone: String,
    password: String,
    #[serde(default = "customer")]
    role: String,
    #[serde(default)]
    first_name: Option<String>,
    #[serde(default)]
    last_name: Option<String>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    license_number: Option<String>,
    #[serde(default)]
    license_expiry_date: Option<String>,
    #[serde(default)]
    vehicle_plate: Option<String>,
}

fn customer() -> String {
    Role::Customer.as_str().to_owned()
}

/// The body of `POST auth/verify`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    phone: String,
    code: String,
}

/// The body of `POST auth/login`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    phone: String,
    password: String,
    /// True asks for the session cookie of a browser.
    #[serde(default)]
    browser: bool,
}

/// The body of `POST auth/refresh`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    refresh_token: String,
}

/// Where a request came from; the binary may not know.
type From_ = Option<Extension<ConnectInfo<SocketAddr>>>;

fn address_key(from: &From_) -> Option<String> {
    from.as_ref().map(|Extension(ConnectInfo(address))| format!("address {}", address.ip()))
}

/// 429 when the phone or the address has used up its tries.
fn may_try(app: &App, keys: &[(String, u32)]) -> Result<(), ApiError> {
    let now = app.now();
    match keys.iter().find_map(|(key, tries_max)| app.tries.wait_s(key, *tries_max, now)) {
        Some(wait_s) => Err(Problem::too_many(wait_s).into()),
        None => Ok(()),
    }
}

fn try_keys(app: &App, what: &str, phone: &Phone, from: &From_) -> Vec<(String, u32)> {
    let limits = app.config.logins;
    let of_phone = format!("{what} {}", users::phone_index(&app.keys, phone));
    let mut keys = vec![(of_phone, limits.tries_per_phone)];
    keys.extend(address_key(from).map(|key| (key, limits.tries_per_address)));
    keys
}

fn count_failure(app: &App, keys: &[(String, u32)]) {
    for (key, _) in keys {
        app.tries.failed(key, app.now());
    }
}

/// `POST auth/register`: 202 for a new number and for a known one alike.
pub async fn register(
    State(app): State<Arc<App>>,
    from: From_,
    body: Body<Register>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let wish = body.value;
    let phone = Phone::parse(&wish.phone)?;
    let role = self_service_role(&wish.role)?;
    Passwords::check_wish(&wish.password)?;
    let long = |name: &Option<String>| {
        name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARS_MAX)
    };
    if long(&wish.first_name) || long(&wish.last_name) {
        return Err(ApiError::invalid("name", "a name has up to 100 letters"));
    }
    if let Some(date) = &wish.license_expiry_date
        && chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").is_err()
    {
        return Err(ApiError::invalid("license_expiry_date", "a date is YYYY-MM-DD"));
    }
    let language = wish.language.clone().unwrap_or_else(|| "en".to_owned());
    if !messages::speaks(&language) {
        return Err(ApiError::invalid("language", "language is en, rw or fr"));
    }
    // Every code that is sent counts as a try: codes cost money.
    let keys = try_keys(&app, "code", &phone, &from);
    may_try(&app, &keys)?;
    count_failure(&app, &keys);
    let password_hash = app.passwords.hash(wish.password.clone()).await?;
    let now = app.now();
    let mut tx = app.db.begin(&Actor::system()).await?;
    let new = NewUser {
        phone: &phone,
        role,
        password_hash: &password_hash,
        first_name: wish.first_name.as_deref(),
        last_name: wish.last_name.as_deref(),
        language: &language,
        status: "unverified",
    };
    match users::add(&mut tx, &app.keys, new, now).await? {
        Some(user) => welcome(&app, &mut tx, &user, &phone, &wish).await?,
        None => known(&app, &mut tx, &phone, &language, &password_hash).await?,
    }
    app.commit(tx).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "next": "verify", "by": "sms" }))))
}

fn self_service_role(text: &str) -> Result<Role, ApiError> {
    match Role::parse(text) {
        Some(role @ (Role::Customer | Role::Driver | Role::Agent | Role::Vendor)) => Ok(role),
        _ => Err(ApiError::invalid("role", "role is customer, driver, agent or vendor")),
    }
}

async fn welcome(
    app: &App,
    tx: &mut Tx,
    user: &User,
    phone: &Phone,
    wish: &Register,
) -> Result<(), ApiError> {
    let now = app.now();
    if user.role == Role::Driver.as_str() {
        let papers = Papers {
            license_number: wish.license_number.as_deref(),
            license_expiry_date: wish.license_expiry_date.as_deref(),
            vehicle_plate: wish.vehicle_plate.as_deref(),
        };
        let new = NewProfile {
            driver_id: &user.actor_id,
            owner_id: &user.user_id,
            label: None,
            status: "pending",
            available: false,
        };
        profiles::add(tx, &app.keys, new, papers, now).await?;
    }
    audit::note(tx, "account.registered", &user.user_id, &user.role, now).await?;
    send_code(app, tx, &user.user_id, phone, &user.language).await
}

/// A number that is known: its owner is told; one that never verified gets a fresh code, and the
/// password that was sent now, since whoever verifies is whoever holds the phone.
async fn known(
    app: &App,
    tx: &mut Tx,
    phone: &Phone,
    language: &str,
    password_hash: &str,
) -> Result<(), ApiError> {
    let now = app.now();
    let row = sqlx::query(
        "UPDATE users SET password_hash = $2, updated_at = $3 \
         WHERE phone_index = $1 AND status = 'unverified' RETURNING user_id",
    )
    .bind(users::phone_index(&app.keys, phone))
    .bind(password_hash)
    .bind(now.0)
    .fetch_optional(tx.conn())
    .await?;
    if let Some(row) = row {
        return send_code(app, tx, &row.try_get::<String, _>(0)?, phone, language).await;
    }
    let said = Said { owner_id: "", order: None, template: "auth.known", words: &[] };
    messages::say(app, tx, phone, language, said, now).await
}

async fn send_code(
    app: &App,
    tx: &mut Tx,
    user_id: &str,
    phone: &Phone,
    language: &str,
) -> Result<(), ApiError> {
    let now = app.now();
    let code = random_digits(6);
    sqlx::query(
        "INSERT INTO verification_codes (user_id, code_hash, tries, expires_at) \
         VALUES ($1, $2, 0, $3) ON CONFLICT (user_id) DO UPDATE SET code_hash = $2, tries = 0, \
         expires_at = $3",
    )
    .bind(user_id)
    .bind(app.keys.lookup_hash("sms code", &format!("{user_id}|{code}")))
    .bind(now.plus_secs(app.config.logins.code_s).0)
    .execute(tx.conn())
    .await?;
    let said = Said { owner_id: user_id, order: None, template: "auth.code", words: &[&code] };
    messages::say(app, tx, phone, language, said, now).await
}

/// `POST auth/verify`: the code of the SMS makes the account active.
pub async fn verify(
    State(app): State<Arc<App>>,
    from: From_,
    body: Body<Verify>,
) -> Result<Json<Value>, ApiError> {
    let phone = Phone::parse(&body.value.phone)?;
    let keys = try_keys(&app, "verify", &phone, &from);
    may_try(&app, &keys)?;
    let wrong = || -> ApiError {
        count_failure(&app, &keys);
        ApiError::invalid("code", "the code does not fit, or has expired")
    };
    let now = app.now();
    let Some(user) = users::by_phone(&app.db, &app.keys, &phone).await? else {
        return Err(wrong());
    };
    let mut tx =
        app.db.begin(&Actor { role: user.role.clone(), id: user.actor_id.clone() }).await?;
    let hash = app.keys.lookup_hash("sms code", &format!("{}|{}", user.user_id, body.value.code));
    let used = sqlx::query(
        "DELETE FROM verification_codes WHERE user_id = $1 AND code_hash = $2 AND tries < $3 \
         AND expires_at > $4",
    )
    .bind(user.user_id.clone())
    .bind(hash)
    .bind(CODE_TRIES_MAX)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    if used.rows_affected() == 0 {
        sqlx::query("UPDATE verification_codes SET tries = tries + 1 WHERE user_id = $1")
            .bind(user.user_id.clone())
            .execute(tx.conn())
            .await?;
        tx.commit().await?;
        return Err(wrong());
    }
    users::activate(&mut tx, &user.user_id, now).await?;
    audit::note(&mut tx, "account.verified", &user.user_id, "", now).await?;
    app.commit(tx).await?;
    Ok(Json(json!({ "user_id": user.user_id, "status": "active" })))
}

/// `POST auth/login`.
pub async fn login(
    State(app): State<Arc<App>>,
    from: From_,
    headers: HeaderMap,
    body: Body<Login>,
) -> Result<Response, ApiError> {
    let wish = body.value;
    let phone = Phone::parse(&wish.phone)?;
    let keys = try_keys(&app, "login", &phone, &from);
    may_try(&app, &keys)?;
    let user = users::by_phone(&app.db, &app.keys, &phone).await?;
    let stored = user.as_ref().map(|user| user.password_hash.clone());
    let fits = app.passwords.fits(wish.password, stored).await?;
    let now = app.now();
    let Some(user) = user.filter(|user| fits && user.status == "active") else {
        count_failure(&app, &keys);
        metrics::counter!("inzira_logins_refused_total").increment(1);
        return Err(Problem::unauthorized().into());
    };
    if let Some((key, _)) = keys.first() {
        app.tries.succeeded(key);
    }
    let browser = wish.browser || headers.contains_key("sec-fetch-mode");
    let actor = Actor { role: user.role.clone(), id: user.actor_id.clone() };
    let mut tx = app.db.begin(&actor).await?;
    let life_s = app.config.logins.session_s;
    let opened = sessions::open(&mut tx, &app.keys, &user, browser, life_s, now).await?;
    audit::note(&mut tx, "session.opened", &user.user_id, &opened.session_id, now).await?;
    app.commit(tx).await?;
    let access_token =
        app.mint.mint(&user.user_id, &opened.session_id, &user.role, &user.actor_id, now)?;
    let mut answer = pair(&app, &access_token, &opened.refresh_token);
    answer["user_id"] = user.user_id.into();
    answer["role"] = user.role.into();
    answer["actor_id"] = user.actor_id.into();
    let mut cookies = HeaderMap::new();
    if let Some(cookie) = &opened.cookie {
        let csrf = sessions::csrf_of(&app.keys, cookie);
        answer["csrf_token"] = csrf.clone().into();
        set_cookie(&app, &mut cookies, SESSION_COOKIE, cookie, life_s, true)?;
        set_cookie(&app, &mut cookies, CSRF_COOKIE, &csrf, life_s, false)?;
        let door = HouseIdentity(Arc::clone(&app)).door();
        set_cookie(&app, &mut cookies, DOOR_COOKIE, &door, DOOR_S, true)?;
    }
    Ok((cookies, Json(answer)).into_response())
}

fn pair(app: &App, access_token: &str, refresh_token: &str) -> Value {
    json!({
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": app.mint.life_s(),
        "refresh_token": refresh_token,
    })
}

/// One `Set-Cookie`, same-site.
pub fn set_cookie(
    app: &App,
    headers: &mut HeaderMap,
    name: &str,
    value: &str,
    life_s: i64,
    http_only: bool,
) -> Result<(), ApiError> {
    let secure = if app.config.secure_cookies { "; Secure" } else { "" };
    let hidden = if http_only { "; HttpOnly" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={life_s}; SameSite=Lax{hidden}{secure}");
    let value = HeaderValue::from_str(&text)
        .map_err(|_| ApiError::Bug("a cookie is not a header value".to_owned()))?;
    headers.append(header::SET_COOKIE, value);
    Ok(())
}

/// `POST auth/refresh`: the next pair; the token shown is spent.
pub async fn refresh(
    State(app): State<Arc<App>>,
    body: Body<Refresh>,
) -> Result<Json<Value>, ApiError> {
    let now = app.now();
    let mut tx = app.db.begin(&Actor::system()).await?;
    match sessions::refresh(&mut tx, &app.keys, &body.value.refresh_token, now).await? {
        Refreshed::Yes(live, opened) => {
            tx.commit().await?;
            let token =
                app.mint.mint(&live.user_id, &live.session_id, &live.role, &live.actor_id, now)?;
            Ok(Json(pair(&app, &token, &opened.refresh_token)))
        }
        Refreshed::Stolen { session_id } => {
            audit::note(&mut tx, "session.refresh_reused", &session_id, "", now).await?;
            app.commit(tx).await?;
            app.sessions.forget(|live| live.session_id == session_id);
            Err(Problem::unauthorized().into())
        }
        Refreshed::No => Err(Problem::unauthorized().into()),
    }
}

/// `POST auth/logout`: ends the session; its tokens stop within seconds.
pub async fn logout(State(app): State<Arc<App>>, person: Person) -> Result<Response, ApiError> {
    let now = app.now();
    let mut tx = app.db.begin(&person.actor()).await?;
    sessions::end(&mut tx, &person.session_id, now).await?;
    audit::note(&mut tx, "session.closed", &person.user_id, &person.session_id, now).await?;
    app.commit(tx).await?;
    app.sessions.forget(|live| live.session_id == person.session_id);
    let mut cookies = HeaderMap::new();
    set_cookie(&app, &mut cookies, SESSION_COOKIE, "", 0, true)?;
    set_cookie(&app, &mut cookies, CSRF_COOKIE, "", 0, false)?;
    Ok((StatusCode::NO_CONTENT, cookies).into_response())
}

/// `GET auth/me`.
pub async fn me(State(app): State<Arc<App>>, person: Person) -> Result<Json<Value>, ApiError> {
    let user = users::by_id(&app.db, &person.user_id).await?;
    let user = user.ok_or_else(Problem::unauthorized)?;
    Ok(Json(json!({
        "user_id": user.user_id,
        "role": user.role,
        "actor_id": user.actor_id,
        "language": user.language,
    })))
}
