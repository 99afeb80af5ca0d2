//! Orders: from the wish to the hand-over, and everything that is refused on the way.

use inzira_schemas::wire::{OrderEvent, PaymentEvent};
use inzira_schemas::{OrderId, Point};
use serde_json::{Value, json};

use super::harness::{PICKUP, each, parcel, ride, text};

#[tokio::test]
async fn a_ride_is_quoted_booked_paid_assigned_picked_up_and_delivered() {
    each(async |house| {
        let customer = house.customer().await;
        let (driver, driver_id) = house.driver("+250788100001", PICKUP).await;
        let quote =
            house.post(&customer, "/api/v1/quotes", quote_of(ride())).await.expect(201).json();
        let mut wish = ride();
        wish["quote_id"] = quote["quote_id"].clone();
        let made = house.book_as(&customer, "one", wish).await.expect(201).json();
        assert_eq!(made["gross_minor"], quote["gross_minor"]);
        assert_eq!(made["state"], "pending_payment");
        assert_eq!(made["payment"]["type"], "ussd");
        assert_eq!(made["pickup"]["district"], "Nyarugenge");
        let order_id = text(&made, "order_id");
        house.settle().await;
        assert_eq!(house.state(&customer, &order_id).await, "confirmed");
        house.match_drivers().await;
        assert_eq!(house.state(&customer, &order_id).await, "assigned");
        let mine = house.get(&driver, "/api/v1/drivers/me/order").await.expect(200).json();
        assert_eq!(mine["order"]["order_id"], order_id.as_str());
        assert!(mine["order"].get("pin").is_none());
        let path = |what: &str| format!("/api/v1/orders/{order_id}/{what}");
        let pin = text(&made, "pin");
        house.post(&driver, &path("deliver"), json!({ "pin": pin })).await.expect(409);
        house.post(&driver, &path("pickup"), json!({})).await.expect(200);
        house.post(&customer, &path("cancel"), json!({})).await.expect(409);
        let png = "iVBORw0KGgoAAAA=";
        let body = json!({ "pin": pin, "signature_png": png });
        let done = house.post(&driver, &path("deliver"), body).await.expect(200).json();
        assert_eq!(done["state"], "delivered");
        assert_eq!(text(&done, "signature_sha256").len(), 64);
        house.relay().await;
        let states: Vec<String> =
            house.log.events::<OrderEvent>().into_iter().map(|event| event.state).collect();
        assert_eq!(states, ["pending_payment", "confirmed", "assigned", "picked_up", "delivered"]);
        let last = house.log.events::<OrderEvent>().pop().unwrap();
        assert_eq!((last.version, last.driver_id), (5, driver_id));
        assert_eq!(last.envelope.unwrap().actor_role, "driver");
        assert!(last.pickup_lat < 0.0 && last.created_at_us > 0 && last.pickup_h3_r9 > 0);
        let payments: Vec<String> =
            house.log.events::<PaymentEvent>().into_iter().map(|event| event.state).collect();
        assert_eq!(payments, ["pending", "submitted", "captured"]);
    })
    .await;
}

fn quote_of(mut wish: Value) -> Value {
    for place in ["pickup", "destination"] {
        wish[place].as_object_mut().unwrap().remove("address");
    }
    wish
}

#[tokio::test]
async fn fifty_posts_with_one_key_make_one_order_and_hear_one_answer() {
    each(async |house| {
        let customer = house.customer().await;
        let all = (0..50).map(|_| house.book_as(&customer, "same", parcel(1_500)));
        let answers = futures::future::join_all(all).await;
        let first = answers[0].json();
        let mut replayed = 0;
        for answer in answers {
            replayed += usize::from(answer.headers.contains_key("idempotent-replayed"));
            assert_eq!(answer.expect(201).json(), first);
        }
        assert_eq!(replayed, 49);
        let page = house.get(&customer, "/api/v1/orders").await.expect(200).json();
        assert_eq!(page["orders"].as_array().unwrap().len(), 1);
        let other = house.book_as(&customer, "same", parcel(1_501)).await.expect(422);
        assert_eq!(other.json()["code"], "idempotency_key_reused");
    })
    .await;
}

#[tokio::test]
async fn a_key_is_its_owners_alone_and_a_booking_needs_one() {
    each(async |house| {
        let one = house.customer().await;
        let session = house.person("agent", "+250788000002").await;
        let two = text(&session, "access_token");
        let first = house.book_as(&one, "k", parcel(1_000)).await.expect(201).json();
        let second = house.book_as(&two, "k", parcel(1_000)).await.expect(201).json();
        assert_ne!(first["order_id"], second["order_id"]);
        assert_eq!(second["agent_id"], session["actor_id"]);
        house.post(&one, "/api/v1/orders", parcel(1_000)).await.expect(400);
    })
    .await;
}

#[tokio::test]
async fn a_client_may_make_the_id_and_the_time() {
    each(async |house| {
        let customer = house.customer().await;
        let order_id = OrderId::new().to_string();
        let mut wish = parcel(1_000);
        wish["order_id"] = order_id.clone().into();
        wish["created_at"] = "2027-01-15T07:00:00+02:00".into();
        let made = house.book_as(&customer, "a", wish.clone()).await.expect(201).json();
        assert_eq!(made["order_id"], order_id.as_str());
        assert_eq!(made["client_created_at"], "2027-01-15T05:00:00.000000Z");
        let again = house.book_as(&customer, "b", wish).await.expect(409);
        assert_eq!(again.json()["code"], "order_exists");
    })
    .await;
}

#[tokio::test]
async fn wishes_that_cannot_be_are_refused_with_a_reason() {
    each(async |house| {
        let customer = house.customer().await;
        let with = |name: &str, value: Value| {
            let mut wish = parcel(1_000);
            wish[name] = value;
            wish
        };
        for (wish, code) in [
            (with("kind", json!("teleport")), "kind"),
            (with("pickup", json!({ "lat": 91.0, "lon": 0.0 })), "coordinates"),
            (with("pickup", json!({ "lat": 0.0, "lon": 0.0 })), "coordinates"),
            (with("weight_g", json!(0)), "weight"),
            (with("weight_g", json!(-1)), "weight"),
            (with("weight_g", json!(30_000_001)), "weight"),
            (with("weight_g", json!(9_223_372_036_854_775_807_u64)), "weight"),
            (with("phone", json!("+1555")), "phone"),
            (with("distance_m", json!(1)), "distance_m"),
            (with("goods_value_minor", json!(5)), "goods_value"),
            (with("kind", json!("shipment_international")), "destination_country"),
            (with("goods_class", json!("98")), "goods_class"),
            (with("order_id", json!("drv_1234567")), "order_id"),
            (with("state", json!("confirmed")), "field"),
            (with("driver_id", json!("drv_1234567")), "field"),
            (with("vendor_id", json!("ven_1234567")), "vendor_id"),
            (with("quote_id", json!("quo_1234567")), "quote"),
        ] {
            let answer = house.book_as(&customer, "k", wish).await.expect(422);
            assert_eq!(answer.json()["code"], code, "{}", answer.text);
        }
        let page = house.get(&customer, "/api/v1/orders").await.expect(200).json();
        assert_eq!(page["orders"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_payer_who_says_no_leaves_a_failed_order_that_may_be_paid_again() {
    each(async |house| {
        let customer = house.customer().await;
        let mut wish = parcel(1_000);
        wish["payer_phone"] = "+250788000099".into();
        let made = house.book_as(&customer, "k", wish).await.expect(201).json();
        let order_id = text(&made, "order_id");
        house.settle().await;
        assert_eq!(house.state(&customer, &order_id).await, "payment_failed");
        let status = format!("/api/v1/payments/status/{order_id}");
        let told = house.get(&customer, &status).await.expect(200).json();
        assert_eq!(told["failure_code"], "payer_refused");
        let again = json!({ "order_id": order_id, "phone": "+250788000011" });
        let prompt = house.post(&customer, "/api/v1/payments/initiate", again.clone()).await;
        let prompt = prompt.expect(200).json();
        // Asked twice while open: the same attempt.
        let same = house.post(&customer, "/api/v1/payments/initiate", again).await.expect(200);
        assert_eq!(prompt, same.json());
        house.settle().await;
        assert_eq!(house.state(&customer, &order_id).await, "confirmed");
        assert_eq!(house.get(&customer, &status).await.expect(200).json()["attempt"], 2);
    })
    .await;
}

#[tokio::test]
async fn three_attempts_and_no_more() {
    each(async |house| {
        let customer = house.customer().await;
        let mut wish = parcel(1_000);
        wish["payer_phone"] = "+250788000099".into();
        let made = house.book_as(&customer, "k", wish).await.expect(201).json();
        let again = json!({ "order_id": made["order_id"], "phone": "+250788000099" });
        for _ in 0..2 {
            house.settle().await;
            house.post(&customer, "/api/v1/payments/initiate", again.clone()).await.expect(200);
        }
        house.settle().await;
        house.post(&customer, "/api/v1/payments/initiate", again).await.expect(409);
    })
    .await;
}

#[tokio::test]
async fn an_order_without_a_driver_near_becomes_an_operators_gap_after_two_minutes() {
    each(async |house| {
        let customer = house.customer().await;
        let far = Point { lat: -2.5967, lon: 29.7394 };
        let (_, driver_id) = house.driver("+250788100001", far).await;
        let made = house.book_as(&customer, "k", ride()).await.expect(201).json();
        let order_id = text(&made, "order_id");
        house.settle().await;
        house.match_drivers().await;
        assert_eq!(house.state(&customer, &order_id).await, "confirmed");
        house.clock.advance_secs(121);
        house.match_drivers().await;
        assert_eq!(house.state(&customer, &order_id).await, "confirmed_no_driver");
        let operator = house.first("operator").await;
        let path = format!("/api/v1/orders/{order_id}/assign");
        let body = json!({ "driver_id": driver_id, "reason": "called" });
        let assigned = house.post(&operator, &path, body).await.expect(200).json();
        assert_eq!(assigned["driver_id"], driver_id.as_str());
    })
    .await;
}

#[tokio::test]
async fn two_orders_never_share_a_driver() {
    each(async |house| {
        let customer = house.customer().await;
        let (_, driver_id) = house.driver("+250788100001", PICKUP).await;
        let (_, other_id) = house.driver("+250788100002", PICKUP).await;
        let mut orders = Vec::new();
        for key in 0..6 {
            let made = house.book_as(&customer, &key.to_string(), ride()).await.expect(201).json();
            orders.push(text(&made, "order_id"));
        }
        house.settle().await;
        let operator = house.first("operator").await;
        let by_hand = orders.iter().map(|order_id| {
            let path = format!("/api/v1/orders/{order_id}/assign");
            let (house, operator, driver_id) = (&house, &operator, &driver_id);
            async move { house.post(operator, &path, json!({ "driver_id": driver_id })).await }
        });
        let app = &house.api.app;
        let (answers, one, two) = futures::join!(
            futures::future::join_all(by_hand),
            crate::assignment::turn(app),
            crate::assignment::turn(app)
        );
        one.unwrap();
        two.unwrap();
        for answer in answers {
            assert!([200, 409].contains(&answer.status.as_u16()), "{}", answer.text);
        }
        let mut carried = Vec::new();
        for order_id in &orders {
            let order = house.get(&customer, &format!("/api/v1/orders/{order_id}")).await.json();
            carried.extend(order["driver_id"].as_str().map(str::to_owned));
        }
        carried.sort();
        let mut expected = vec![driver_id, other_id];
        expected.sort();
        assert_eq!(carried, expected);
    })
    .await;
}

#[tokio::test]
async fn five_wrong_pins_lock_until_an_operator_unlocks() {
    each(async |house| {
        let customer = house.customer().await;
        let (driver, _) = house.driver("+250788100001", PICKUP).await;
        let made = house.book_as(&customer, "k", ride()).await.expect(201).json();
        let (order_id, pin) = (text(&made, "order_id"), text(&made, "pin"));
        house.settle().await;
        house.match_drivers().await;
        let path = |what: &str| format!("/api/v1/orders/{order_id}/{what}");
        house.post(&driver, &path("pickup"), json!({})).await.expect(200);
        let wrong = json!({ "pin": "12345x" });
        for _ in 0..4 {
            house.post(&driver, &path("deliver"), wrong.clone()).await.expect(403);
        }
        house.post(&driver, &path("deliver"), wrong).await.expect(423);
        house.post(&driver, &path("deliver"), json!({ "pin": pin })).await.expect(423);
        house.post(&driver, &path("unlock"), json!({})).await.expect(403);
        let operator = house.first("operator").await;
        house.clock.advance_secs(1);
        house.post(&operator, &path("unlock"), json!({ "reason": "called" })).await.expect(200);
        let fresh = house.code("+250788000001").await;
        house.post(&driver, &path("deliver"), json!({ "pin": fresh })).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn a_stranger_finds_no_order_and_a_reassigned_driver_loses_it() {
    each(async |house| {
        let customer = house.customer().await;
        let stranger = house.person("customer", "+250788000002").await;
        let stranger = text(&stranger, "access_token");
        let (first, _) = house.driver("+250788100001", PICKUP).await;
        let made = house.book_as(&customer, "k", ride()).await.expect(201).json();
        let order_id = text(&made, "order_id");
        house.settle().await;
        house.match_drivers().await;
        let path = |what: &str| format!("/api/v1/orders/{order_id}{what}");
        let missing = house.get(&stranger, "/api/v1/orders/ord_01ABCDEF").await.expect(404);
        let hidden = house.get(&stranger, &path("")).await.expect(404);
        assert_eq!(missing.text, hidden.text);
        house.post(&stranger, &path("/cancel"), json!({})).await.expect(404);
        house.post(&stranger, &path("/share"), json!({})).await.expect(404);
        house.get(&first, &path("")).await.expect(200);
        let (second, second_id) = house.driver("+250788100002", PICKUP).await;
        let operator = house.first("operator").await;
        let body = json!({ "driver_id": second_id });
        house.post(&operator, &path("/assign"), body.clone()).await.expect(200);
        house.post(&operator, &path("/assign"), body).await.expect(409);
        house.get(&first, &path("")).await.expect(404);
        house.post(&first, &path("/pickup"), json!({})).await.expect(404);
        house.post(&second, &path("/pickup"), json!({})).await.expect(200);
        house.relay().await;
        let event = house.log.events::<OrderEvent>();
        assert!(event.iter().any(|event| !event.previous_driver_id.is_empty()));
    })
    .await;
}

#[tokio::test]
async fn orders_come_a_page_at_a_time_newest_first() {
    each(async |house| {
        let customer = house.customer().await;
        for key in 0..5 {
            house.book_as(&customer, &key.to_string(), parcel(1_000 + key)).await.expect(201);
            house.clock.advance_secs(1);
        }
        let mut seen = Vec::new();
        let mut path = "/api/v1/orders?limit=2".to_owned();
        loop {
            let page = house.get(&customer, &path).await.expect(200).json();
            for order in page["orders"].as_array().unwrap() {
                seen.push(order["weight_g"].as_i64().unwrap());
            }
            match page["next"].as_str() {
                Some(next) => path = format!("/api/v1/orders?limit=2&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, [1_004, 1_003, 1_002, 1_001, 1_000]);
    })
    .await;
}
