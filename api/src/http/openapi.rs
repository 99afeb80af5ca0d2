//! The document of the API: OpenAPI 3.1 made from the table of routes, and a readable page.
//!
//! In:    the table; the schemas of `openapi/schemas.json`; the parts that other rooms hand in.
//! Out:   `/openapi.json`, `/docs`.
//! Never: names a path that is not served, or serves one that it does not name.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{Html, IntoResponse};
use http::header;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::http::guard::Access;
use crate::http::routes::{Route, table};

const SCHEMAS: &str = include_str!("../../openapi/schemas.json");

/// The document of this room and of `others`, whose parts are JSON with `paths` and `components`.
pub fn document(others: &[&str]) -> Value {
    let mut document = own_document();
    for part in others.iter().filter_map(|text| serde_json::from_str(text).ok()) {
        merge(&mut document, part);
    }
    document
}

/// Adds what is not there yet, object by object.
fn merge(into: &mut Value, part: Value) {
    match (into, part) {
        (Value::Object(into), Value::Object(part)) => {
            for (name, value) in part {
                merge(into.entry(name).or_insert_with(|| json!({})), value);
            }
        }
        (into, part) if into.as_object().is_some_and(Map::is_empty) => *into = part,
        _ => {}
    }
}

fn own_document() -> Value {
    let mut paths = Map::new();
    for route in table() {
        let path = route.path.replace("{*path}", "{path}");
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[route.method.as_str().to_lowercase()] = operation(&route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Inzira",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Fixes, bookings, money, live positions and questions. Errors are \
                application/problem+json with a correlation_id. Money is integer minor units \
                beside a currency; instants are RFC 3339.",
        },
        "paths": paths,
        "components": {
            "schemas": serde_json::from_str::<Value>(SCHEMAS).unwrap_or_default(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "session": { "type": "apiKey", "in": "cookie", "name": "inzira_session" },
                "gateway": { "type": "apiKey", "in": "header", "name": "x-inzira-key" },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let (status, gives) = route.gives;
    let mut answer = json!({ "description": "done" });
    if let Some(name) = gives {
        answer["content"] = json!({ "application/json": { "schema": reference(name) } });
    }
    let problem = json!({
        "description": "a problem, named",
        "content": { "application/problem+json": { "schema": reference("Problem") } },
    });
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": parameters(route),
        "responses": { status.to_string(): answer, "4XX": problem, "5XX": problem },
        "security": match route.access {
            Access::Open if route.path.starts_with("/api/") => json!([{ "gateway": [] }]),
            Access::Open => json!([]),
            _ => json!([{ "bearer": [], "gateway": [] }, { "session": [] }]),
        },
    });
    if let Access::Roles(roles) = route.access {
        operation["x-roles"] = roles.iter().map(|role| role.as_str()).collect();
    }
    if let Some(name) = route.takes {
        operation["requestBody"] =
            json!({ "content": { "application/json": { "schema": reference(name) } } });
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let words: Vec<&str> = route
        .path
        .trim_start_matches("/api/v1")
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    format!("{}_{}", route.method.as_str().to_lowercase(), words.join("_"))
}

fn parameters(route: &Route) -> Vec<Value> {
    let holes = route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let mut found: Vec<Value> = holes
        .map(|name| {
            let name = name.trim_start_matches('*');
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    if route.path == "/api/v1/orders" && route.method == http::Method::POST {
        found.push(json!({ "name": "Idempotency-Key", "in": "header", "required": true,
            "schema": { "type": "string", "minLength": 1, "maxLength": 128 } }));
    }
    if route.path == "/api/v1/orders" && route.method == http::Method::GET {
        for (name, kind) in [("limit", "integer"), ("after", "string"), ("state", "string")] {
            found.push(json!({ "name": name, "in": "query", "schema": { "type": kind } }));
        }
    }
    found
}

/// `GET /openapi.json`.
pub async fn json(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(document(&app.config.documents)))
}

/// `GET /docs`: no script, nothing from elsewhere.
pub async fn page(State(app): State<Arc<App>>) -> impl IntoResponse {
    let csp = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, csp)], Html(readable(&document(&app.config.documents))))
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;\
    padding:0 1rem;color:#1c2430;background:#fbfaf7}h1{font-size:1.6rem}h2{font-size:1.05rem;\
    margin:2rem 0 .2rem}code,pre{font:14px/1.45 ui-monospace,monospace}pre{background:#f0eee8;\
    padding:.8rem;border-radius:.5rem;overflow-x:auto}b{display:inline-block;min-width:4.2rem;\
    color:#0b6b53}p{margin:.2rem 0}small{color:#5a6472}\
    @media(prefers-color-scheme:dark){body{background:#14181d;color:#e6e3dc}pre{background:#1f252c}\
    b{color:#63c9aa}small{color:#98a2ae}}";

fn readable(document: &Value) -> String {
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content=\"width=device-width\"><title>Inzira API</title><style>{STYLE}</style>\
         <h1>Inzira API</h1><p>{}</p><p><a href=/openapi.json>openapi.json</a></p>",
        text(&document["info"]["description"])
    );
    let paths = document["paths"].as_object().cloned().unwrap_or_default();
    for (path, methods) in &paths {
        for (method, operation) in methods.as_object().cloned().unwrap_or_default() {
            let roles = operation["x-roles"].as_array().map_or_else(String::new, |roles| {
                let names: Vec<&str> = roles.iter().filter_map(Value::as_str).collect();
                format!("<small>for {}</small>", names.join(", "))
            });
            html.push_str(&format!(
                "<h2><b>{}</b> <code>{}</code></h2><p>{} {roles}</p>",
                method.to_uppercase(),
                escape(path),
                text(&operation["summary"]),
            ));
            html.push_str(&body_of(document, &operation));
        }
    }
    html
}

fn body_of(document: &Value, operation: &Value) -> String {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    let Some(name) = schema.as_str().and_then(|path| path.rsplit('/').next()) else {
        return String::new();
    };
    let shown = &document["components"]["schemas"][name];
    let body = serde_json::to_string_pretty(&shown["properties"]).unwrap_or_default();
    format!("<pre>{}</pre>", escape(&body))
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_names_every_route_and_no_other() {
        let document = own_document();
        let mut named = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                named.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let served: BTreeSet<String> = table()
            .iter()
            .map(|route| format!("{} {}", route.method, route.path.replace("{*path}", "{path}")))
            .collect();
        assert_eq!(named, served);
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let document = own_document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for rest in text.split("#/components/schemas/").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
    }

    #[test]
    fn the_parts_of_other_rooms_are_added_and_change_nothing_of_ours() {
        let part = r#"{"paths": {"/x": {"get": {"summary": "x"}}},
            "components": {"schemas": {"Problem": {"type": "string"}, "X": {"type": "object"}}}}"#;
        let document = document(&[part]);
        assert_eq!(document["paths"]["/x"]["get"]["summary"], "x");
        assert_eq!(document["components"]["schemas"]["X"]["type"], "object");
        assert_eq!(document["components"]["schemas"]["Problem"]["type"], "object");
        assert!(document["paths"]["/api/v1/orders"]["post"].is_object());
    }
}
