//! Every route is guarded, and every refusal is a problem.

use http::Method;
use serde_json::json;

use super::harness::each;
use crate::http::guard::Access;
use crate::http::routes::table;

#[tokio::test]
async fn nobody_gets_past_a_route_that_is_not_open() {
    each(async |house| {
        for route in table() {
            let path = route
                .path
                .replace("{order_id}", "ord_01ABCDEF")
                .replace("{device_id}", "dev_01ABCDEF")
                .replace("{driver_id}", "drv_01ABCDEF");
            if route.access == Access::Open {
                continue;
            }
            for bearer in ["", "Bearer x.y.z", "Bearer dvt_00000000000000000000000000000000"] {
                let headers: &[(&str, &str)] =
                    if bearer.is_empty() { &[] } else { &[("authorization", bearer)] };
                let answer =
                    house.send(route.method.clone(), &path, headers, Some(json!({}))).await;
                assert_eq!(answer.status.as_u16(), 401, "{} {path}", route.method);
                assert_eq!(answer.headers["content-type"], "application/problem+json");
            }
            let bare = house.send_bare(route.method.clone(), &path, &[], Some(json!({}))).await;
            assert_eq!(bare.status.as_u16(), 401, "{path}");
            assert_eq!(bare.json()["code"], "gateway_key", "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_role_that_a_route_does_not_name_is_refused() {
    each(async |house| {
        let analyst = house.first("analyst").await;
        for route in table() {
            let Access::Roles(_) = route.access else { continue };
            let path = route
                .path
                .replace("{order_id}", "ord_01ABCDEF")
                .replace("{device_id}", "dev_01ABCDEF")
                .replace("{driver_id}", "drv_01ABCDEF");
            let bearer = format!("Bearer {analyst}");
            let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
            let answer = house.send(route.method.clone(), &path, &headers, Some(json!({}))).await;
            assert_eq!(answer.status.as_u16(), 403, "{} {path}: {}", route.method, answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_problem_repeats_the_correlation_id() {
    each(async |house| {
        let headers = [("x-request-id", "req-123")];
        let answer = house.send(Method::GET, "/api/v1/orders", &headers, None).await.expect(401);
        assert_eq!(answer.json()["correlation_id"], "req-123");
    })
    .await;
}

#[tokio::test]
async fn odd_paths_and_queries_are_refused_and_break_nothing() {
    each(async |house| {
        let token = house.customer().await;
        for path in
            ["/api/v1/orders/%00", "/api/v1/orders/ord_%27%3B--", "/api/v1/payments/status/%00"]
        {
            house.get(&token, path).await.expect(404);
        }
        for query in ["state=%00", "state=x", "after=1.%00", "after=x"] {
            house.get(&token, &format!("/api/v1/orders?{query}")).await.expect(422);
        }
        let nul = json!({ "order_id": "ord_\u{0}" });
        house.post(&token, "/api/v1/payments/initiate", nul).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn odd_bodies_are_refused_by_kind() {
    each(async |house| {
        let token = house.customer().await;
        let bearer = format!("Bearer {token}");
        let auth = ("authorization", bearer.as_str());
        let path = "/api/v1/quotes";
        house
            .send(Method::POST, path, &[auth, ("content-type", "text/plain")], None)
            .await
            .expect(415);
        let big = json!({ "kind": "x".repeat(70_000) });
        house.post(&token, path, big).await.expect(413);
        house.post(&token, path, json!({ "kind": "ride" })).await.expect(422);
        let mut extra = super::harness::ride();
        extra["gross_minor"] = 1.into();
        let answer = house.post(&token, path, extra).await.expect(422);
        assert!(answer.text.contains("gross_minor"), "{}", answer.text);
    })
    .await;
}
