//! Phones: enrolled, recognised, revoked; fleets.

use http::Method;
use inzira_schemas::identity::Credential;
use serde_json::json;

use super::harness::{each, text};

#[tokio::test]
async fn an_enrolled_phone_is_known_by_token_password_and_id() {
    each(async |house| {
        let session = house.person("driver", "+250788100001").await;
        let token = text(&session, "access_token");
        let made =
            house.post(&token, "/api/v1/drivers/me/devices", json!({ "label": "moto" })).await;
        let made = made.expect(201).json();
        let secret = text(&made, "token");
        assert_eq!(made["id"], made["token"]);
        assert_ne!(made["device_id"], made["id"]);
        for link in ["traccar_client", "owntracks"] {
            assert!(text(&made["links"][link], "qr_svg").contains("<svg"), "{link}");
        }
        assert!(text(&made["links"]["traccar_client"], "url").contains(&secret));
        let identity = house.api.identity();
        for credential in [
            Credential::Bearer(secret.clone()),
            Credential::Basic("anything".into(), secret.clone()),
            Credential::DeviceId(secret.clone()),
        ] {
            let device = identity.device(&credential, Some("zz")).await.unwrap().unwrap();
            assert_eq!(device.driver_id.as_str(), session["actor_id"]);
            assert_eq!(device.device_id.as_str(), made["device_id"]);
        }
        for credential in [
            Credential::DeviceId(text(&made, "device_id")),
            Credential::Bearer(format!("{}0", &secret[..secret.len() - 1])),
            Credential::Session(secret.clone()),
            Credential::Bearer(token.clone()),
        ] {
            assert!(identity.device(&credential, None).await.unwrap().is_none());
        }
        // A device's token is no person's.
        house.get(&secret, "/api/v1/orders").await.expect(401);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_phone_is_unknown_at_once_and_another_drivers_is_not_found() {
    each(async |house| {
        let session = house.person("driver", "+250788100001").await;
        let other = house.person("driver", "+250788100002").await;
        let token = text(&session, "access_token");
        let made =
            house.post(&token, "/api/v1/drivers/me/devices", json!({})).await.expect(201).json();
        let credential = Credential::Bearer(text(&made, "token"));
        let identity = house.api.identity();
        assert!(identity.device(&credential, None).await.unwrap().is_some());
        let path = format!("/api/v1/drivers/me/devices/{}", text(&made, "device_id"));
        let bearer = format!("Bearer {}", text(&other, "access_token"));
        let headers = [("authorization", bearer.as_str())];
        house.send(Method::DELETE, &path, &headers, None).await.expect(404);
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        house.send(Method::DELETE, &path, &headers, None).await.expect(204);
        assert!(identity.device(&credential, None).await.unwrap().is_none());
        let list = house.get(&token, "/api/v1/drivers/me/devices").await.expect(200).json();
        assert!(list["devices"][0]["revoked_at"].is_string());
    })
    .await;
}

#[tokio::test]
async fn a_fleet_is_enrolled_by_label_and_again_finds_the_same_drivers() {
    each(async |house| {
        let operator = house.first("operator").await;
        let body = json!({ "vehicles": ["cab 1", "cab 2"] });
        let first =
            house.post(&operator, "/api/v1/admin/fleet", body.clone()).await.expect(200).json();
        let again = house.post(&operator, "/api/v1/admin/fleet", body).await.expect(200).json();
        assert_eq!(first.as_array().unwrap().len(), 2);
        assert_eq!(first[0]["driver_id"], again[0]["driver_id"]);
        assert_ne!(first[0]["token"], again[0]["token"]);
        let identity = house.api.identity();
        for made in [&first[1], &again[1]] {
            let device =
                identity.device(&Credential::DeviceId(text(made, "token")), None).await.unwrap();
            assert_eq!(device.unwrap().driver_id.as_str(), first[1]["driver_id"]);
        }
        let twice = json!({ "vehicles": ["a", "a"] });
        house.post(&operator, "/api/v1/admin/fleet", twice).await.expect(422);
        let many: Vec<String> = (0..1_001).map(|n| format!("v{n}")).collect();
        house.post(&operator, "/api/v1/admin/fleet", json!({ "vehicles": many })).await.expect(422);
    })
    .await;
}

#[tokio::test]
async fn a_driver_whose_papers_nobody_saw_takes_no_orders() {
    each(async |house| {
        let session = house.person("driver", "+250788100001").await;
        let bearer = format!("Bearer {}", text(&session, "access_token"));
        let headers = [("authorization", bearer.as_str())];
        let body = Some(json!({ "available": true }));
        let path = "/api/v1/drivers/me/availability";
        let refused = house.send(Method::PUT, path, &headers, body).await.expect(409);
        assert_eq!(refused.json()["code"], "driver_not_active");
    })
    .await;
}
