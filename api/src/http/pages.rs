//! The pages, from the binary: `/`, `/t/{token}` and what they are made of.
//!
//! In:    `web/dist`, embedded.
//! Out:   HTML with what the first paint needs written into it; assets to keep for ever.
//! Never: anything from another host; a script or style that the policy does not name by hash.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use inzira_schemas::identity::SHARE_COOKIE;
use inzira_schemas::{Micros, Problem};
use rust_embed::RustEmbed;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::accounts::identity::{DOOR_COOKIE, DOOR_S, HouseIdentity};
use crate::accounts::routes::set_cookie;
use crate::app::App;
use crate::error::ApiError;
use crate::http::openapi::escape;
use crate::messages::text;
use crate::orders::share::{self, Link};
use crate::orders::store;

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/web/dist"]
struct Dist;

/// Where the page wants what the server knows, and what it shows without scripts.
const BOOT_MARK: &str = "<!--inzira-boot-->";
const PLAIN_MARK: &str = "<!--inzira-plain-->";
const YEAR: &str = "public, max-age=31536000, immutable";

/// `GET /`.
pub async fn home(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let html = page("index.html")?;
    let mut headers = page_headers(&app, &html)?;
    let door = HouseIdentity(Arc::clone(&app)).door();
    set_cookie(&app, &mut headers, DOOR_COOKIE, &door, DOOR_S, true)?;
    Ok((headers, html).into_response())
}

/// `GET /t/{token}`: the same page for a link that holds, one that has ended, and one that never
/// was; it says which.
pub async fn track(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let now = app.now();
    let link = share::live(&app.db, &app.keys, &token, now).await?;
    let (status, boot) = match &link {
        Some(link) => (StatusCode::OK, boot(&app, link, now).await?),
        None if share::was(&app.db, &app.keys, &token).await? => {
            (StatusCode::GONE, json!({ "state": "expired" }))
        }
        None => (StatusCode::NOT_FOUND, json!({ "state": "unknown" })),
    };
    let mut boot = boot;
    boot["lang"] = language(&headers).map_or(Value::Null, Value::from);
    boot["tiles"] = app.config.tiles.clone().map_or(Value::Null, Value::from);
    boot["server_time"] = now.to_rfc3339().into();
    let template = page("track.html").or_else(|_| page("index.html"))?;
    let mut out = page_headers(&app, &template)?;
    if let Some(link) = &link {
        share_cookies(&app, &mut out, &token, link, now)?;
    }
    Ok((status, out, with_boot(&template, &boot)).into_response())
}

/// What the first paint needs of an order.
async fn boot(app: &App, link: &Link, now: Micros) -> Result<Value, ApiError> {
    let order = store::read(&app.db, link.order_id.as_str()).await?;
    let order = order.ok_or_else(|| Problem::not_found("order"))?;
    // Without the bus the page waits for its live line.
    let position = app.bus.last(&link.order_id).await.ok().flatten().map(|position| {
        json!({
            "lat": position.lat, "lon": position.lon, "accuracy_m": position.accuracy_m,
            "speed_mps": position.speed_mps, "bearing_deg": position.bearing_deg,
            "measured_at": position.measured_at.to_rfc3339(),
            "age_s": now.seconds_since(position.measured_at).max(0.0),
            "eta_s": position.eta_s, "distance_m": position.distance_m,
        })
    });
    let place = |point: inzira_schemas::Point| json!({ "lat": point.lat, "lon": point.lon });
    Ok(json!({
        "state": "ok",
        "order_id": order.order_id,
        "kind": order.kind,
        "order_state": order.state,
        "pickup": place(order.pickup),
        "destination": place(order.destination),
        "position": position,
        "cursor": Value::Null,
        "events": events(app, &order.order_id).await?,
        "expires_at": link.expires_at.to_rfc3339(),
    }))
}

/// The steps so far, from the order's history.
async fn events(app: &App, order_id: &str) -> Result<Vec<Value>, ApiError> {
    let rows = sqlx::query(
        "SELECT state, occurred_at FROM order_history WHERE order_id = $1 \
         AND state IN ('assigned', 'picked_up', 'delivered', 'cancelled') ORDER BY version LIMIT 50",
    )
    .bind(order_id)
    .fetch_all(app.db.read())
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let state: String = row.try_get(0)?;
        let at = Micros(row.try_get(1)?).to_rfc3339();
        found.push(json!({ "event": state.to_uppercase(), "at": at }));
    }
    Ok(found)
}

/// The share cookie, for the order's live line and for this page; nowhere else.
fn share_cookies(
    app: &App,
    headers: &mut HeaderMap,
    token: &str,
    link: &Link,
    now: Micros,
) -> Result<(), ApiError> {
    let life_s = link.expires_at.seconds_since(now).max(0.0) as i64;
    let secure = if app.config.secure_cookies { "; Secure" } else { "" };
    for path in [format!("/api/v1/orders/{}", link.order_id), format!("/t/{token}")] {
        let text = format!(
            "{SHARE_COOKIE}={token}; Path={path}; Max-Age={life_s}; SameSite=Lax; HttpOnly{secure}"
        );
        let value = HeaderValue::from_str(&text)
            .map_err(|_| ApiError::Bug("a share cookie is not a header value".to_owned()))?;
        headers.append(header::SET_COOKIE, value);
    }
    Ok(())
}

/// The first language of the browser that we speak.
fn language(headers: &HeaderMap) -> Option<String> {
    let spoken = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    spoken
        .split(',')
        .filter_map(|tag| tag.trim().get(..2))
        .map(str::to_ascii_lowercase)
        .find(|tag| crate::messages::speaks(tag))
}

/// Writes the boot text where the page looks for it. `<` is escaped, so that nothing in it can
/// end the script element.
fn with_boot(template: &str, boot: &Value) -> String {
    let text = boot.to_string().replace('<', "\\u003c");
    let script = format!("<script type=\"application/json\" id=\"inzira-boot\">{text}</script>");
    let mark = if template.contains(BOOT_MARK) { BOOT_MARK } else { "</head>" };
    let script = if mark == BOOT_MARK { script } else { format!("{script}</head>") };
    template.replacen(mark, &script, 1).replacen(PLAIN_MARK, &plain(boot), 1)
}

/// The page's state in words, for browsers without scripts.
fn plain(boot: &Value) -> String {
    let word = |name: &str| boot[name].as_str().unwrap_or_default();
    let language = boot["lang"].as_str().unwrap_or("en");
    let state = if word("state") == "ok" { word("order_state") } else { word("state") };
    let mut html = format!("<p>{}</p>", escape(&text(language, &format!("plain.{state}"), &[])));
    if let Some(age_s) = boot["position"]["age_s"].as_f64() {
        let minutes = (age_s / 60.0).floor().to_string();
        let seen = text(language, "plain.seen", &[("0", &minutes)]);
        html.push_str(&format!("<p>{}</p>", escape(&seen)));
    }
    if let Some(distance_m) = boot["position"]["distance_m"].as_f64() {
        let kilometres = format!("{:.1}", distance_m / 1_000.0);
        let left = text(language, "plain.left", &[("0", &kilometres)]);
        html.push_str(&format!("<p>{}</p>", escape(&left)));
    }
    html
}

fn page(name: &str) -> Result<String, ApiError> {
    let file = Dist::get(name).ok_or_else(|| Problem::not_found("page"))?;
    String::from_utf8(file.data.into_owned())
        .map_err(|_| ApiError::Bug(format!("the page {name} is not UTF-8")))
}

fn page_headers(app: &App, html: &str) -> Result<HeaderMap, ApiError> {
    let mut headers = HeaderMap::new();
    let mut set = |name, text: &str| -> Result<(), ApiError> {
        let value = HeaderValue::from_str(text)
            .map_err(|_| ApiError::Bug("a page header is not one".to_owned()))?;
        headers.insert(name, value);
        Ok(())
    };
    set(header::CONTENT_TYPE, "text/html; charset=utf-8")?;
    set(header::CACHE_CONTROL, "no-store")?;
    set(header::CONTENT_SECURITY_POLICY, &policy(html, app.config.tiles.as_deref()))?;
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    // The token stands in the address: it must not travel on.
    set(header::REFERRER_POLICY, "no-referrer")?;
    Ok(headers)
}

/// The content security policy of a page: its own inline scripts and styles by hash, this host,
/// and the tile host if there is one.
fn policy(html: &str, tiles: Option<&str>) -> String {
    let tiles = tiles
        .and_then(|tiles| url::Url::parse(tiles).ok())
        .filter(|url| url.has_host())
        .map(|url| format!(" {}", url.origin().ascii_serialization()))
        .unwrap_or_default();
    format!(
        "default-src 'self'; script-src 'self'{}; style-src 'self'{}; img-src 'self' data: \
         blob:{tiles}; connect-src 'self'{tiles}; object-src 'none'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'",
        hashes(html, "script"),
        hashes(html, "style"),
    )
}

/// The hashes of the inline elements of one name; data blocks are not executed and need none.
fn hashes(html: &str, element: &str) -> String {
    let (open, close) = (format!("<{element}"), format!("</{element}>"));
    let mut found = String::new();
    let mut rest = html;
    while let Some(at) = rest.find(&open) {
        rest = &rest[at + open.len()..];
        let (Some(tag_end), Some(end)) = (rest.find('>'), rest.find(&close)) else { break };
        let tag = &rest[..tag_end];
        if tag_end < end && !tag.contains("application/json") && end > tag_end + 1 {
            let hash = STANDARD.encode(Sha256::digest(&rest.as_bytes()[tag_end + 1..end]));
            found.push_str(&format!(" 'sha256-{hash}'"));
        }
        rest = &rest[end..];
    }
    found
}

/// `GET /assets/{path}`: names carry a hash of the content, so they may be kept for ever.
pub async fn asset(headers: HeaderMap, Path(path): Path<String>) -> Response {
    file(&headers, &format!("assets/{path}"), YEAR)
}

/// `GET /favicon.ico`.
pub async fn favicon(headers: HeaderMap) -> Response {
    let name = ["favicon.ico", "favicon.svg"].into_iter().find(|name| Dist::get(name).is_some());
    match name {
        Some(name) => file(&headers, name, "public, max-age=86400"),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn file(headers: &HeaderMap, name: &str, caching: &'static str) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let accepted = accepted.unwrap_or_default();
    let packed = [("br", ".br"), ("gzip", ".gz")]
        .into_iter()
        .filter(|(encoding, _)| accepted.contains(encoding))
        .find_map(|(encoding, ending)| {
            Dist::get(&format!("{name}{ending}")).map(|file| (file.data, Some(encoding)))
        });
    let Some((data, encoding)) = packed.or_else(|| Dist::get(name).map(|file| (file.data, None)))
    else {
        return crate::error::told(Problem::not_found("file"));
    };
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let body = match data {
        Cow::Borrowed(bytes) => axum::body::Body::from(bytes),
        Cow::Owned(bytes) => axum::body::Body::from(bytes),
    };
    let mut response = Response::new(body);
    let out = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(kind.as_ref()) {
        out.insert(header::CONTENT_TYPE, kind);
    }
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(encoding) = encoding {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_text_cannot_end_its_element() {
        let template = "<html><head></head><body><!--inzira-plain--><!--inzira-boot-->";
        let html = with_boot(template, &json!({ "x": "</script><script>alert(1)" }));
        assert_eq!(html.matches("</script>").count(), 1);
        assert!(html.contains("\\u003c/script>"));
        let boot = json!({ "state": "ok", "order_state": "picked_up", "lang": "fr",
            "position": { "age_s": 130.0, "distance_m": 2_345.0 } });
        let html = with_boot(template, &boot);
        assert!(html.contains("il y a 2 min") && html.contains("2.3 km"), "{html}");
        let added = with_boot("<html><head></head>", &json!({ "state": "ok" }));
        assert!(added.contains("id=\"inzira-boot\">{\"state\":\"ok\"}</script></head>"));
    }

    #[test]
    fn inline_scripts_are_named_by_hash_and_data_is_not() {
        let html = "<script type=\"application/json\" id=\"x\">{}</script><script>a()</script>\
                    <script src=\"/assets/x.js\"></script><style>b{}</style>";
        let expected = STANDARD.encode(Sha256::digest(b"a()"));
        assert_eq!(hashes(html, "script"), format!(" 'sha256-{expected}'"));
        assert!(
            policy(html, Some("https://tiles.example.rw/{z}/{x}/{y}.png"))
                .contains("img-src 'self' data: blob: https://tiles.example.rw;")
        );
    }
}
