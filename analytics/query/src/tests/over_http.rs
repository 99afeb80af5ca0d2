//! The routes: who may ask, what comes back, what happens when there are too many.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use inzira_schemas::identity::{
    Caller, Credential, Device, Identity, IdentityUnavailable, OrderView, Role,
};
use inzira_schemas::{Clock, OrderId, Point, SystemClock, UserId, event_id, wire};
use tower::ServiceExt;

use crate::testing::{HandArchive, SharedLog, at, config, order, payment, questions};

/// A token is the name of its role.
struct ByRole;

#[async_trait::async_trait]
impl Identity for ByRole {
    async fn device(
        &self,
        _credential: &Credential,
        _hint: Option<&str>,
    ) -> Result<Option<Device>, IdentityUnavailable> {
        Ok(None)
    }

    async fn caller(&self, credential: &Credential) -> Result<Option<Caller>, IdentityUnavailable> {
        let Credential::Bearer(token) = credential else { return Ok(None) };
        if token == "broken" {
            return Err(IdentityUnavailable("away".to_owned()));
        }
        Ok(Role::parse(token).map(|role| Caller::Person {
            user_id: UserId::new(),
            role,
            actor_id: "usr_test".to_owned(),
        }))
    }

    async fn order_for(
        &self,
        caller: &Caller,
        order_id: &OrderId,
    ) -> Result<Option<OrderView>, IdentityUnavailable> {
        let place = Point { lat: -1.95, lon: 30.06 };
        let view = OrderView {
            order_id: order_id.clone(),
            kind: "ride".to_owned(),
            state: "assigned".to_owned(),
            pickup: place,
            destination: place,
            driver_id: None,
            customer_id: None,
            created_at: at(0),
        };
        Ok((caller.role() == Some(Role::Operator)).then_some(view))
    }

    fn gateway_open(&self, headers: &http::HeaderMap) -> bool {
        !headers.contains_key("x-closed")
    }
}

/// Twelve rides from one cell, each of its own customer and driver, one from another cell.
async fn service() -> (Router, SharedLog, Arc<crate::Questions>) {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    for n in 0..13_i64 {
        let id = format!("ord_{n}");
        let point = if n < 12 { (-1.95, 30.06) } else { (-2.6, 29.74) };
        let point = inzira_schemas::Point { lat: point.0, lon: point.1 };
        let mut event = order(&id, "confirmed", at(n));
        event.pickup_h3_r9 = inzira_schemas::cell::cell_r9(point);
        event.driver_id = format!("drv_{n}");
        log.0.say(&event);
        log.0.say(&payment(&format!("pay_{n}"), &id, "captured", at(n), 1_000));
    }
    let ask = questions(&log, &archive, config()).await;
    ask.caught_up(SystemClock.now()).await;
    (crate::router(Arc::clone(&ask), Arc::new(ByRole), Arc::new(SystemClock)), log, ask)
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, http::HeaderMap, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8_lossy(&bytes).into_owned())
}

fn get(path: &str, role: &str) -> Request<Body> {
    Request::get(path)
        .header("authorization", format!("Bearer {role}"))
        .header("x-request-id", "req-1")
        .body(Body::empty())
        .unwrap()
}

fn ask_sql(body: &str, role: &str) -> Request<Body> {
    Request::post("/api/v1/sql")
        .header("authorization", format!("Bearer {role}"))
        .body(Body::from(body.to_owned()))
        .unwrap()
}

const HEATMAP: &str =
    "/api/v1/analytics/revenue/heatmap?resolution=7&from=2026-02-01&to=2026-02-02";

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_every_cell_and_an_analyst_only_those_of_enough_people() {
    let (router, ..) = service().await;
    let (status, headers, body) = send(&router, get(HEATMAP, "operator")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(headers.contains_key("x-data-as-of"));
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value["cells"].as_array().unwrap().len(), 2);
    assert_eq!(value["suppressed_cells"], 0);
    let sum: i64 = value["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["revenue_minor"].as_i64().unwrap())
        .sum();
    assert_eq!(sum, 13_000);
    for role in ["analyst", "government"] {
        let (status, headers, body) = send(&router, get(HEATMAP, role)).await;
        assert_eq!(status, StatusCode::OK);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        let cells = value["cells"].as_array().unwrap();
        assert_eq!((cells.len(), &cells[0]["revenue_minor"]), (1, &serde_json::json!(12_000)));
        assert_eq!(value["suppressed_cells"], 1);
        assert_eq!(headers["x-suppressed-cells"], "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hexagons_come_as_closed_rings_and_lines_as_csv() {
    let (router, ..) = service().await;
    let (_, headers, body) =
        send(&router, get(&format!("{HEATMAP}&format=geojson"), "admin")).await;
    assert_eq!(headers["content-type"], "application/geo+json");
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value["type"], "FeatureCollection");
    assert!(value["data_as_of"].is_string());
    let ring = value["features"][0]["geometry"]["coordinates"][0].as_array().unwrap().clone();
    assert_eq!((ring.len(), ring.first()), (7, ring.last()));
    let (_, headers, body) = send(&router, get(&format!("{HEATMAP}&format=csv"), "admin")).await;
    assert_eq!(headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(body.lines().count(), 3);
    assert!(body.lines().all(|line| line.split(',').count() == 8), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_known_already_is_not_sent_again_until_it_changes() {
    let (router, log, ask) = service().await;
    let (_, headers, _) = send(&router, get(HEATMAP, "operator")).await;
    let etag = headers["etag"].to_str().unwrap().to_owned();
    let again = |role: &str| {
        let mut request = get(HEATMAP, role);
        request.headers_mut().insert("if-none-match", etag.parse().unwrap());
        request
    };
    let (status, _, body) = send(&router, again("operator")).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    let (status, ..) = send(&router, again("analyst")).await;
    assert_eq!(status, StatusCode::OK, "an analyst's answer is another");
    log.0.say(&payment("pay_x", "ord_1", "captured", at(50), 5));
    ask.caught_up(SystemClock.now()).await;
    let (status, ..) = send(&router, again("operator")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_customers_and_closed_gateways_get_nothing() {
    let (router, ..) = service().await;
    let status = async |request| send(&router, request).await.0;
    assert_eq!(status(get(HEATMAP, "nobody")).await, StatusCode::UNAUTHORIZED);
    for role in ["customer", "driver", "vendor", "agent"] {
        assert_eq!(status(get(HEATMAP, role)).await, StatusCode::FORBIDDEN, "{role}");
    }
    assert_eq!(status(get(HEATMAP, "broken")).await, StatusCode::SERVICE_UNAVAILABLE);
    let mut closed = get(HEATMAP, "operator");
    closed.headers_mut().insert("x-closed", "1".parse().unwrap());
    assert_eq!(status(closed).await, StatusCode::UNAUTHORIZED);
    for role in ["analyst", "government", "operator", "admin", "customer"] {
        let request = ask_sql(r#"{"query":"SELECT 1"}"#, role);
        assert_eq!(status(request).await, StatusCode::FORBIDDEN, "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engineer_asks_sql_in_any_format() {
    let (router, ..) = service().await;
    let body = r#"{"query":"SELECT count(*) AS n FROM orders"}"#;
    let (status, headers, answer) = send(&router, ask_sql(body, "engineer")).await;
    assert_eq!((status, answer.trim()), (StatusCode::OK, r#"[{"n":13}]"#));
    assert!(headers.contains_key("x-data-as-of") && headers.contains_key("x-elapsed-ms"));
    let body = r#"{"query":"SELECT 7 AS n","format":"csv"}"#;
    let (_, _, answer) = send(&router, ask_sql(body, "engineer")).await;
    assert_eq!(answer, "n\n7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_question_is_a_problem_with_a_code_and_a_correlation_id() {
    let (router, ..) = service().await;
    for (body, code) in [
        (r#"{"query":"DROP TABLE fixes"}"#, "not_a_question"),
        (r#"{"query":"SELECT * FROM nothing"}"#, "bad_question"),
        (r#"{"query":"SELECT 1","format":"pdf"}"#, "bad_parameter"),
        (r#"{"sql":"SELECT 1"}"#, "bad_body"),
    ] {
        let mut request = ask_sql(body, "engineer");
        request.headers_mut().insert("x-request-id", "req-9".parse().unwrap());
        let (status, headers, answer) = send(&router, request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert_eq!(headers["content-type"], "application/problem+json");
        let value: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (value["code"].as_str(), value["correlation_id"].as_str()),
            (Some(code), Some("req-9"))
        );
    }
    let (status, _, answer) =
        send(&router, get("/api/v1/analytics/revenue/heatmap?resolution=3", "admin")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer.contains("resolution: a whole number from 5 to 9"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_question_too_many_is_told_when_to_come_back() {
    let (router, ..) = service().await;
    let slow = r#"{"query":"SELECT count(*) FROM generate_series(1, 30000) AS a, generate_series(1, 30000) AS b WHERE a.value % 7 = b.value % 5"}"#;
    let mut running = Vec::new();
    for _ in 0..crate::http::SQL_AT_ONCE {
        let router = router.clone();
        running.push(tokio::spawn(async move { router.oneshot(ask_sql(slow, "engineer")).await }));
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let (status, headers, _) = send(&router, ask_sql(r#"{"query":"SELECT 1"}"#, "engineer")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(headers["retry-after"], "1");
    for task in running {
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_track_of_an_order_is_its_own_positions_and_events_in_order() {
    let (router, log, ask) = service().await;
    let order_id = OrderId::new();
    let envelope = |kind: &str, n: i64| {
        let id = event_id(&[kind.as_bytes(), &n.to_le_bytes()]);
        Some(wire::Envelope::by_system(id, kind, at(n), at(n)))
    };
    for (n, of) in [(2, order_id.as_str()), (0, order_id.as_str()), (1, "ord_other")] {
        log.0.say(&wire::Position {
            envelope: envelope("position", n),
            driver_id: "drv_1".to_owned(),
            order_id: of.to_owned(),
            measured_at_us: at(n).0,
            lat: -1.95,
            lon: 30.06 + n as f64 * 1e-3,
            ..wire::Position::default()
        });
    }
    log.0.say(&wire::TrackingEvent {
        envelope: envelope("ARRIVING", 2),
        order_id: order_id.to_string(),
        leg: "delivery".to_owned(),
        at_us: at(2).0,
        ..wire::TrackingEvent::default()
    });
    ask.caught_up(SystemClock.now()).await;
    let path = format!("/api/v1/orders/{order_id}/track");
    let (status, _, body) = send(&router, get(&path, "operator")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    let first_ms = at(0).0 / 1_000;
    assert_eq!(value["line"][0], serde_json::json!([30.06, -1.95, first_ms]));
    assert_eq!(value["line"].as_array().unwrap().len(), 2);
    assert_eq!(value["events"][0]["event"], "ARRIVING");
    assert_eq!(value["events"][0]["leg"], "delivery");
    for (format, holds) in [("csv", "30.0620000"), ("gpx", "<trkpt"), ("geojson", "LineString")] {
        let (status, _, body) =
            send(&router, get(&format!("{path}?format={format}"), "operator")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains(holds), "{body}");
    }
    let refused = [
        (path.clone(), "customer", StatusCode::NOT_FOUND),
        (path.clone(), "nobody", StatusCode::UNAUTHORIZED),
        (format!("{path}?format=pdf"), "operator", StatusCode::BAD_REQUEST),
        (format!("{path}?points=1"), "operator", StatusCode::BAD_REQUEST),
        ("/api/v1/orders/x/track".to_owned(), "operator", StatusCode::NOT_FOUND),
    ];
    for (path, role, expected) in refused {
        assert_eq!(send(&router, get(&path, role)).await.0, expected, "{path} {role}");
    }
}
