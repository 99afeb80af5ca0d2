//! Registering, logging in, sessions of programs and browsers.

use http::Method;
use inzira_schemas::identity::{Caller, Credential, Identity as _, Role};
use serde_json::{Value, json};

use super::harness::{each, house, text};
use crate::accounts::identity::HouseIdentity;

#[tokio::test]
async fn the_first_start_makes_four_log_ins_and_the_second_none() {
    let first = house("sqlite:", None).await;
    let logins = first.api.first_logins().unwrap().clone();
    let roles: Vec<&str> = logins.accounts.iter().map(|login| login.role.as_str()).collect();
    assert_eq!(roles, ["admin", "operator", "analyst", "engineer"]);
    assert_eq!(logins.accounts[0].phone, "+250780000001");
    first.api.close().await;
    let again =
        super::harness::open(first.folder.clone(), first.config.clone(), first.clock.clone(), None)
            .await;
    assert!(again.api.first_logins().is_none());
    let admin = &logins.accounts[0];
    again.login(&admin.phone, &admin.password).await.expect(200);
}

#[tokio::test]
async fn a_database_is_not_opened_with_the_keys_of_another_house() {
    let first = house("sqlite:", None).await;
    first.api.close().await;
    std::fs::remove_file(first.folder.path().join("keys/keys.json")).unwrap();
    let opened = crate::verify_audit(&first.config).await;
    assert!(matches!(opened, Err(crate::OpenError::Config(_))), "{opened:?}");
}

#[tokio::test]
async fn a_damaged_write_ahead_log_is_refused_with_its_place() {
    let first = house("sqlite:", None).await;
    first.customer().await;
    let folder = tempfile::tempdir().unwrap();
    // As after a kill: the files as they stand, with the service still open.
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    for name in ["inzira.db", "inzira.db-wal", "keys/keys.json"] {
        std::fs::copy(first.folder.path().join(name), folder.path().join(name)).unwrap();
    }
    let config = crate::ApiConfig { data: folder.path().to_owned(), ..first.config.clone() };
    let path = folder.path().join("inzira.db-wal");
    let mut wal = std::fs::read(&path).unwrap();
    wal[32 + 24 + 100] ^= 1;
    std::fs::write(&path, wal).unwrap();
    let refused = crate::verify_audit(&config).await.unwrap_err().to_string();
    assert!(refused.contains("damaged at byte 32"), "{refused}");
}

#[tokio::test]
async fn a_person_registers_verifies_and_logs_in() {
    each(async |house| {
        let phone = "0788 000 001";
        let body = json!({ "phone": phone, "password": "correct horse", "first_name": "Aline" });
        house.send(Method::POST, "/api/v1/auth/register", &[], Some(body)).await.expect(202);
        house.login(phone, "correct horse").await.expect(401);
        let wrong = json!({ "phone": phone, "code": "000000x" });
        house.send(Method::POST, "/api/v1/auth/verify", &[], Some(wrong)).await.expect(422);
        let body = json!({ "phone": phone, "code": house.code(phone).await });
        house.send(Method::POST, "/api/v1/auth/verify", &[], Some(body.clone())).await.expect(200);
        house.send(Method::POST, "/api/v1/auth/verify", &[], Some(body)).await.expect(422);
        let session = house.login(phone, "correct horse").await.expect(200).json();
        assert_eq!(session["role"], "customer");
        assert!(text(&session, "actor_id").starts_with("cus_"));
        let me = house.get(&text(&session, "access_token"), "/api/v1/auth/me").await.expect(200);
        assert_eq!(me.json()["actor_id"], session["actor_id"]);
    })
    .await;
}

#[tokio::test]
async fn nobody_learns_whether_a_number_is_known() {
    each(async |house| {
        house.customer().await;
        let body = |phone: &str| Some(json!({ "phone": phone, "password": "another one" }));
        let path = "/api/v1/auth/register";
        let known = house.send(Method::POST, path, &[], body("+250788000001")).await.expect(202);
        let fresh = house.send(Method::POST, path, &[], body("+250788000002")).await.expect(202);
        assert_eq!(known.text, fresh.text);
        house.login("+250788000001", "another one").await.expect(401);
        house.login("+250788000001", "correct horse").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn the_sixth_wrong_password_waits_a_quarter_of_an_hour() {
    each(async |house| {
        house.customer().await;
        for _ in 0..5 {
            house.login("+250788000001", "wrong").await.expect(401);
        }
        let refused = house.login("+250788000001", "correct horse").await.expect(429);
        assert!(refused.headers.contains_key("retry-after"));
        house.clock.advance_secs(901);
        house.login("+250788000001", "correct horse").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn an_access_token_ends_and_a_refresh_token_turns_once() {
    each(async |house| {
        let session = house.person("customer", "+250788000001").await;
        let refresh = |token: Value| {
            let body = Some(json!({ "refresh_token": token }));
            house.send(Method::POST, "/api/v1/auth/refresh", &[], body)
        };
        house.clock.advance_secs(901);
        house.get(&text(&session, "access_token"), "/api/v1/auth/me").await.expect(401);
        let next = refresh(session["refresh_token"].clone()).await.expect(200).json();
        house.get(&text(&next, "access_token"), "/api/v1/auth/me").await.expect(200);
        // The spent token is shown again: somebody stole it, and the session ends for both.
        refresh(session["refresh_token"].clone()).await.expect(401);
        refresh(next["refresh_token"].clone()).await.expect(401);
        house.get(&text(&next, "access_token"), "/api/v1/auth/me").await.expect(401);
    })
    .await;
}

#[tokio::test]
async fn logging_out_ends_the_tokens_too() {
    each(async |house| {
        let token = house.customer().await;
        house.post(&token, "/api/v1/auth/logout", json!({})).await.expect(204);
        house.get(&token, "/api/v1/auth/me").await.expect(401);
    })
    .await;
}

#[tokio::test]
async fn a_browser_needs_its_csrf_token_to_change_anything() {
    each(async |house| {
        house.customer().await;
        let body =
            json!({ "phone": "+250788000001", "password": "correct horse", "browser": true });
        let answer =
            house.send(Method::POST, "/api/v1/auth/login", &[], Some(body)).await.expect(200);
        let cookies = answer.cookies();
        let session = cookies.iter().find(|cookie| cookie.starts_with("inzira_session=")).unwrap();
        assert!(session.contains("HttpOnly") && session.contains("SameSite=Lax"), "{session}");
        let jar: Vec<&str> =
            cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
        let jar = jar.join("; ");
        let csrf = text(&answer.json(), "csrf_token");
        let cookie = ("cookie", jar.as_str());
        // No gateway key: the house's own cookies open the door.
        house.send_bare(Method::GET, "/api/v1/orders", &[cookie], None).await.expect(200);
        let quote = || Some(super::harness::ride());
        let path = "/api/v1/quotes";
        let forged = house.send_bare(Method::POST, path, &[cookie], quote()).await.expect(403);
        assert_eq!(forged.json()["code"], "csrf");
        let wrong = [cookie, ("x-csrf-token", "wrong")];
        house.send_bare(Method::POST, path, &wrong, quote()).await.expect(403);
        let right = [cookie, ("x-csrf-token", csrf.as_str())];
        house.send_bare(Method::POST, path, &right, quote()).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn a_changed_role_counts_at_once_for_new_sessions() {
    each(async |house| {
        let token = house.customer().await;
        let identity = HouseIdentity(house.api.app.clone());
        let caller = identity.caller(&Credential::Bearer(token)).await.unwrap().unwrap();
        assert!(matches!(caller, Caller::Person { role: Role::Customer, .. }));
        let basic = Credential::Basic("+250788000001".into(), "correct horse".into());
        assert!(identity.caller(&basic).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn no_phone_and_no_name_stands_in_the_clear_in_any_file() {
    let house = house("sqlite:", None).await;
    let body = json!({ "phone": "+250788424242", "password": "correct horse",
        "first_name": "Uwimana", "last_name": "Canary" });
    house.send(Method::POST, "/api/v1/auth/register", &[], Some(body)).await.expect(202);
    let code = json!({ "phone": "+250788424242", "code": house.code("+250788424242").await });
    house.send(Method::POST, "/api/v1/auth/verify", &[], Some(code)).await.expect(200);
    let session = house.login("+250788424242", "correct horse").await.expect(200).json();
    let mut order = super::harness::parcel(2_000);
    order["phone"] = "+250788535353".into();
    order["note"] = "ask for Canary at the gate".into();
    house.book_as(&text(&session, "access_token"), "k", order).await.expect(201);
    house.relay().await;
    for entry in std::fs::read_dir(house.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for canary in ["788424242", "788535353", "Uwimana", "Canary", "Kigali market"] {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} in {}", path.display());
        }
    }
    for record in house.log.records.lock().unwrap().iter() {
        let text = String::from_utf8_lossy(&record.value);
        assert!(!text.contains("788535353") && !text.contains("Canary"), "{text}");
    }
}
