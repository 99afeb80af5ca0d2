//! Money is conserved, whatever happens in whatever order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use inzira_schemas::{Currency, Money};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use super::harness::{House, PICKUP, each, house, parcel, ride, text};
use crate::gateway::{Accepted, Charge, GatewayError, PaymentGateway, Payout, Standing};
use crate::payments::ledger::{self, balance};

async fn balances(house: &House) -> (i64, i64) {
    let db = &house.api.app.db;
    let held = balance(db, ledger::HELD, Currency::Rwf).await.unwrap();
    (held, balance(db, "rail:MOCK", Currency::Rwf).await.unwrap())
}

async fn assert_sound(house: &House) {
    let report = ledger::verify(&house.api.app.db).await.unwrap();
    assert_eq!(report.first_bad, None);
    assert!(report.imbalance_minor.values().all(|sum| *sum == 0), "{report:?}");
}

#[tokio::test]
async fn a_delivered_order_pays_the_platform_the_vendor_and_the_driver() {
    each(async |house| {
        let vendor = house.person("vendor", "+250788200001").await;
        let (driver, driver_id) = house.driver("+250788100001", PICKUP).await;
        let mut wish = ride();
        wish["kind"] = "delivery".into();
        wish["goods_value_minor"] = 10_000.into();
        let token = text(&vendor, "access_token");
        let made = house.book_as(&token, "k", wish).await.expect(201).json();
        let gross = made["gross_minor"].as_i64().unwrap();
        house.settle().await;
        assert_eq!(balances(&house).await, (-gross, gross));
        house.match_drivers().await;
        let path = |what: &str| format!("/api/v1/orders/{}/{what}", text(&made, "order_id"));
        house.post(&driver, &path("pickup"), json!({})).await.expect(200);
        house.post(&driver, &path("deliver"), json!({ "pin": made["pin"] })).await.expect(200);
        let db = &house.api.app.db;
        let of = async |account: String| balance(db, &account, Currency::Rwf).await.unwrap();
        let commission = Money::new(gross, Currency::Rwf).share(1_500).unwrap().minor;
        assert_eq!(of(ledger::COMMISSION.into()).await, -commission);
        let (vendors, drivers) = (
            -of(format!("payable:{}", text(&vendor, "actor_id"))).await,
            -of(format!("payable:{driver_id}")).await,
        );
        assert_eq!(vendors + drivers + commission, gross);
        assert!(vendors > 8_000 && drivers > 0, "{vendors} {drivers}");
        assert_eq!(balances(&house).await, (0, gross));
        assert_sound(&house).await;
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_order_gives_the_money_back_before_and_after_capture() {
    each(async |house| {
        let customer = house.customer().await;
        for settled_first in [true, false] {
            let key = settled_first.to_string();
            let made = house.book_as(&customer, &key, parcel(2_000)).await.expect(201).json();
            if settled_first {
                house.settle().await;
            } else {
                // Asked, and not answered yet: the money comes after the order is gone.
                crate::payments::poller::turn(&house.api.app).await.unwrap();
            }
            let path = format!("/api/v1/orders/{}/cancel", text(&made, "order_id"));
            house.post(&customer, &path, json!({ "reason": "changed my mind" })).await.expect(200);
            house.settle().await;
            let path = format!("/api/v1/payments/status/{}", text(&made, "order_id"));
            let status = house.get(&customer, &path).await.expect(200).json();
            assert_eq!(status["state"], "refunded", "{status}");
            assert_eq!(status["refunded_minor"], 2_000);
            assert_eq!(balances(&house).await, (0, 0));
        }
        assert_sound(&house).await;
    })
    .await;
}

#[tokio::test]
async fn an_order_cancelled_before_anybody_was_asked_costs_nothing() {
    each(async |house| {
        let customer = house.customer().await;
        let made = house.book_as(&customer, "k", parcel(2_000)).await.expect(201).json();
        let path = format!("/api/v1/orders/{}/cancel", text(&made, "order_id"));
        house.post(&customer, &path, json!({})).await.expect(200);
        house.settle().await;
        let path = format!("/api/v1/payments/status/{}", text(&made, "order_id"));
        let status = house.get(&customer, &path).await.expect(200).json();
        assert_eq!(status["failure_code"], "order_cancelled");
        assert_eq!(ledger::verify(&house.api.app.db).await.unwrap().entries, 0);
    })
    .await;
}

/// A rail that loses answers: the charge happened or not, and we heard or not.
#[derive(Debug)]
struct FlakyRail {
    seed: AtomicU64,
    charged: std::sync::Mutex<std::collections::BTreeMap<String, i64>>,
    refunded: std::sync::Mutex<std::collections::BTreeMap<String, i64>>,
}

impl FlakyRail {
    fn draw(&self) -> u32 {
        let seed = self.seed.fetch_add(1, Ordering::SeqCst);
        StdRng::seed_from_u64(seed).random_range(0..4)
    }

    fn lost() -> GatewayError {
        GatewayError::Unknown("the answer was lost".into())
    }
}

#[async_trait]
impl PaymentGateway for FlakyRail {
    fn name(&self) -> &'static str {
        "MOCK"
    }

    async fn request(&self, charge: &Charge) -> Result<Accepted, GatewayError> {
        let draw = self.draw();
        if draw != 0 {
            let mut charged = self.charged.lock().unwrap();
            charged.insert(charge.reference.clone(), charge.amount.minor);
        }
        if draw < 2 {
            return Err(Self::lost());
        }
        Ok(Accepted { provider_reference: "x".into(), look_after: None })
    }

    async fn look_up(&self, charge: &Charge) -> Result<Standing, GatewayError> {
        match (self.charged.lock().unwrap().contains_key(&charge.reference), self.draw()) {
            (_, 0) => Err(Self::lost()),
            (false, _) => Ok(Standing::NotFound),
            (true, _) => Ok(Standing::Done { fee: Money::new(7, Currency::Rwf) }),
        }
    }

    async fn refund(&self, refund: &Payout) -> Result<(), GatewayError> {
        let draw = self.draw();
        if draw != 0 {
            let mut refunded = self.refunded.lock().unwrap();
            refunded.insert(refund.reference.clone(), refund.amount.minor);
        }
        if draw < 2 { Err(Self::lost()) } else { Ok(()) }
    }

    async fn pay_out(&self, _: &Payout) -> Result<(), GatewayError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_rail_that_loses_answers_moves_exactly_what_the_ledger_says() {
    for seed in [1, 20_260_101, 777] {
        println!("seed {seed}");
        let rail = Arc::new(FlakyRail {
            seed: AtomicU64::new(seed),
            charged: Default::default(),
            refunded: Default::default(),
        });
        let house = house("sqlite:", Some(rail.clone())).await;
        let customer = house.customer().await;
        let mut random = StdRng::seed_from_u64(seed);
        let mut orders = Vec::new();
        for key in 0..20 {
            let weight = random.random_range(1..50_000);
            let made = house.book_as(&customer, &key.to_string(), parcel(weight)).await;
            orders.push(text(&made.expect(201).json(), "order_id"));
            if random.random_bool(0.5) {
                house.settle().await;
            }
            if random.random_bool(0.3) {
                let order_id = &orders[random.random_range(0..orders.len())];
                let path = format!("/api/v1/orders/{order_id}/cancel");
                house.post(&customer, &path, json!({})).await;
            }
        }
        for _ in 0..60 {
            crate::payments::poller::turn(&house.api.app).await.unwrap();
            house.clock.advance_secs(13);
        }
        assert_sound(&house).await;
        let charged: i64 = rail.charged.lock().unwrap().values().sum();
        let refunded: i64 = rail.refunded.lock().unwrap().values().sum();
        let fees = balance(&house.api.app.db, "fees:MOCK", Currency::Rwf).await.unwrap();
        let (held, on_rail) = balances(&house).await;
        assert_eq!(on_rail + fees, charged - refunded, "seed {seed}");
        assert_eq!(-held, charged - refunded, "seed {seed}");
    }
}

/// A rail whose payers answer only when a test says so.
#[derive(Debug, Default)]
struct SlowRail(std::sync::atomic::AtomicBool);

#[async_trait]
impl PaymentGateway for SlowRail {
    fn name(&self) -> &'static str {
        "MOCK"
    }

    async fn request(&self, _: &Charge) -> Result<Accepted, GatewayError> {
        Ok(Accepted { provider_reference: "x".into(), look_after: None })
    }

    async fn look_up(&self, charge: &Charge) -> Result<Standing, GatewayError> {
        let answered = self.0.load(Ordering::SeqCst);
        let fee = Money::new(0, charge.amount.currency);
        Ok(if answered { Standing::Done { fee } } else { Standing::Waiting })
    }

    async fn refund(&self, _: &Payout) -> Result<(), GatewayError> {
        Ok(())
    }

    async fn pay_out(&self, _: &Payout) -> Result<(), GatewayError> {
        Ok(())
    }
}

#[tokio::test]
async fn late_money_of_an_expired_attempt_is_found_and_goes_back_when_paid_twice() {
    let rail = Arc::new(SlowRail::default());
    let house = house("sqlite:", Some(rail.clone())).await;
    let app = &house.api.app;
    let customer = house.customer().await;
    let made = house.book_as(&customer, "k", parcel(3_000)).await.expect(201).json();
    let order_id = text(&made, "order_id");
    for _ in 0..40 {
        crate::payments::poller::turn(app).await.unwrap();
        house.clock.advance_secs(31);
    }
    // Access tokens end after a quarter of an hour.
    let again_in = async || {
        let session = house.login("+250788000001", "correct horse").await.expect(200).json();
        text(&session, "access_token")
    };
    let customer = again_in().await;
    assert_eq!(house.state(&customer, &order_id).await, "payment_failed");
    let again = json!({ "order_id": order_id });
    house.post(&customer, "/api/v1/payments/initiate", again).await.expect(200);
    rail.0.store(true, Ordering::SeqCst);
    for _ in 0..80 {
        crate::payments::poller::turn(app).await.unwrap();
        house.clock.advance_secs(31);
    }
    let customer = again_in().await;
    assert_eq!(house.state(&customer, &order_id).await, "confirmed");
    let attempts = crate::payments::attempts::of_order(&app.db, &order_id).await.unwrap();
    let states: Vec<&str> = attempts.iter().map(|attempt| attempt.state.as_str()).collect();
    assert_eq!(states, ["captured", "refunded"]);
    assert_eq!(balances(&house).await, (-3_000, 3_000));
    assert_sound(&house).await;
}

#[tokio::test]
async fn the_ledger_refuses_changes_and_verify_names_what_a_foreign_hand_did() {
    each(async |house| {
        let customer = house.customer().await;
        house.book_as(&customer, "k", parcel(2_000)).await.expect(201);
        house.settle().await;
        let db = &house.api.app.db;
        let tamper = "UPDATE ledger_postings SET amount_minor = amount_minor + 1 WHERE line = 0";
        assert!(sqlx::query(tamper).execute(db.read()).await.is_err());
        let drop = match db.dialect() {
            crate::db::Dialect::Sqlite => "DROP TRIGGER ledger_postings_no_update",
            crate::db::Dialect::Postgres => {
                "DROP TRIGGER ledger_postings_append_only ON ledger_postings"
            }
        };
        sqlx::query(drop).execute(db.read()).await.unwrap();
        sqlx::query(tamper).execute(db.read()).await.unwrap();
        let bad = ledger::verify(db).await.unwrap().first_bad.unwrap();
        assert!(bad.starts_with("capture:pay_") && bad.contains("sum to zero"), "{bad}");
    })
    .await;
}
