//! The pages, the share link and the documents.

use http::Method;
use inzira_schemas::OrderId;
use inzira_schemas::identity::{Caller, Credential};
use serde_json::{Value, json};

use super::harness::{House, each, ride, text};

async fn shared(house: &House) -> (String, Value) {
    let customer = house.customer().await;
    let made = house.book_as(&customer, "k", ride()).await.expect(201).json();
    let order_id = text(&made, "order_id");
    let path = format!("/api/v1/orders/{order_id}/share");
    let link = house.post(&customer, &path, json!({ "expires_in_s": 3_600 })).await.expect(201);
    (order_id, link.json())
}

#[tokio::test]
async fn a_share_link_opens_the_page_with_its_order_written_in() {
    each(async |house| {
        let (order_id, link) = shared(&house).await;
        let token = text(&link, "token");
        assert!(text(&link, "url").ends_with(&format!("/t/{token}")));
        let path = format!("/t/{token}");
        let language = ("accept-language", "rw-RW,rw;q=0.9,en;q=0.8");
        let page = house.send_bare(Method::GET, &path, &[language], None).await.expect(200);
        let boot = boot(&page.text);
        assert_eq!((boot["state"].as_str(), boot["lang"].as_str()), (Some("ok"), Some("rw")));
        assert_eq!(boot["order_id"], order_id.as_str());
        assert!(boot["destination"]["lat"].is_f64());
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"));
        let cookies = page.cookies();
        let live = format!("Path=/api/v1/orders/{order_id};");
        assert!(cookies.iter().any(|cookie| cookie.contains(&live) && cookie.contains("HttpOnly")));
        // With that cookie alone the gateway opens, and identity knows what may be watched.
        let jar = cookies[0].split(';').next().unwrap().to_owned();
        let mut headers = http::HeaderMap::new();
        headers.insert("cookie", jar.parse().unwrap());
        let identity = house.api.identity();
        assert!(identity.gateway_open(&headers));
        let caller = identity.caller(&Credential::of(&headers).unwrap()).await.unwrap().unwrap();
        assert!(matches!(caller, Caller::ShareLink { .. }));
        let own = OrderId::parse(&order_id).unwrap();
        assert!(identity.order_for(&caller, &own).await.unwrap().is_some());
        assert!(identity.order_for(&caller, &OrderId::new()).await.unwrap().is_none());
        // A share link is no log-in.
        house.get(&token, "/api/v1/orders").await.expect(401);
    })
    .await;
}

fn boot(html: &str) -> Value {
    let start = html.find("id=\"inzira-boot\">").unwrap() + "id=\"inzira-boot\">".len();
    let end = html[start..].find("</script>").unwrap();
    serde_json::from_str(&html[start..start + end]).unwrap()
}

#[tokio::test]
async fn an_expired_link_and_an_unknown_one_say_so() {
    each(async |house| {
        let (_, link) = shared(&house).await;
        house.clock.advance_secs(3_601);
        let path = format!("/t/{}", text(&link, "token"));
        let page = house.send_bare(Method::GET, &path, &[], None).await.expect(410);
        assert_eq!(boot(&page.text)["state"], "expired");
        assert!(page.cookies().is_empty());
        let page = house.send_bare(Method::GET, "/t/shr_nobody", &[], None).await.expect(404);
        assert_eq!(boot(&page.text)["state"], "unknown");
        let credential = Credential::Share(text(&link, "token"));
        assert!(house.api.identity().caller(&credential).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn the_first_page_opens_the_door_for_logging_in() {
    each(async |house| {
        let page = house.send_bare(Method::GET, "/", &[], None).await.expect(200);
        let door = page.cookies()[0].split(';').next().unwrap().to_owned();
        let body = json!({ "phone": "+250788000001", "password": "correct horse" });
        let path = "/api/v1/auth/login";
        let shut = house.send_bare(Method::POST, path, &[], Some(body.clone())).await.expect(401);
        assert_eq!(shut.json()["code"], "gateway_key");
        let headers = [("cookie", door.as_str())];
        let open = house.send_bare(Method::POST, path, &headers, Some(body)).await.expect(401);
        assert_eq!(open.json()["code"], "unauthorized");
        house.clock.advance_secs(24 * 3_600 + 1);
        house.send_bare(Method::GET, "/api/v1/orders", &headers, None).await.expect(401);
    })
    .await;
}

#[tokio::test]
async fn the_documents_name_no_other_host() {
    each(async |house| {
        let document = house.send_bare(Method::GET, "/openapi.json", &[], None).await.expect(200);
        assert_eq!(document.json()["openapi"], "3.1.0");
        let docs = house.send_bare(Method::GET, "/docs", &[], None).await.expect(200);
        assert!(docs.text.contains("/api/v1/orders/{order_id}/deliver"));
        assert!(!docs.text.contains("https://") && !docs.text.contains("http://"));
        let missing = "/assets/../../Cargo.toml";
        house.send_bare(Method::GET, missing, &[], None).await.expect(404);
    })
    .await;
}
