//! ARRIVING, case by case, through all rules together.

use inzira_event_log::NewRecord;
use inzira_schemas::{Topic, wire};

use super::{Hand, TARGET, fix, late, north, order, order_of};

const A: &str = "drv_aaaa";
const B: &str = "drv_bbbb";

/// Drives from `from` to `to` metres north of the target, 50 m every five seconds.
fn drive(hand: &mut Hand, driver: &str, begin_s: i64, from: i64, to: i64) -> i64 {
    let steps = (from - to).abs() / 50;
    for step in 0..=steps {
        let metres = from + (to - from).signum() * 50 * step;
        hand.fix(&fix(driver, begin_s + step * 5, north(metres as f64)));
    }
    begin_s + steps * 5
}

#[test]
fn the_customer_hears_of_the_pickup_and_the_buyer_of_the_delivery() {
    let mut hand = Hand::default();
    hand.order(&order(1, "assigned", A, 0));
    let at_s = drive(&mut hand, A, 5, 6_000, 5_000);
    for stand in 1..5 {
        hand.fix(&fix(A, at_s + stand * 20, north(5_000.0)));
    }
    assert_eq!(hand.alerts(), ["ARRIVING", "ARRIVED"]);
    hand.order(&order(2, "picked_up", A, at_s + 90));
    let at_s = drive(&mut hand, A, at_s + 100, 5_000, 0);
    for stand in 1..5 {
        hand.fix(&fix(A, at_s + stand * 20, TARGET));
    }
    hand.order(&order(3, "delivered", A, at_s + 100));
    assert_eq!(hand.alerts(), ["ARRIVING", "ARRIVED", "ARRIVING", "ARRIVED"]);
    let legs: Vec<String> =
        hand.events().into_iter().map(|event| event.leg).filter(|leg| !leg.is_empty()).collect();
    assert_eq!(legs, ["pickup", "pickup", "delivery", "delivery"]);
    let trips: Vec<wire::Trip> = hand.of(Topic::Trips);
    assert_eq!(trips.len(), 2, "one trip a leg");
    assert!((4_900.0..5_300.0).contains(&trips[1].distance_m), "{}", trips[1].distance_m);
    assert!(trips.iter().all(|trip| trip.order_id == "ord_test0001" && !trip.line.is_empty()));
}

#[test]
fn passing_the_destination_before_the_pickup_says_nothing() {
    let mut hand = Hand::default();
    hand.order(&order(1, "assigned", A, 0));
    drive(&mut hand, A, 5, 1_000, -1_000);
    assert_eq!(hand.alerts(), Vec::<String>::new());
}

#[test]
fn a_reassigned_order_does_not_fire_twice() {
    let mut hand = Hand::default();
    hand.order(&order(1, "picked_up", A, 0));
    let at_s = drive(&mut hand, A, 5, 1_000, 200);
    hand.order(&wire::OrderEvent {
        previous_driver_id: A.to_owned(),
        ..order(2, "picked_up", B, at_s + 5)
    });
    drive(&mut hand, B, at_s + 10, 1_000, 100);
    assert_eq!(hand.alerts(), ["ARRIVING"]);
    let of_b: Vec<wire::Position> = hand.of(Topic::Positions);
    assert!(of_b.iter().filter(|p| p.driver_id == B).all(|p| p.order_id == "ord_test0001"));
    hand.fix(&fix(A, at_s + 200, north(150.0)));
    let last: wire::Position = hand.of(Topic::Positions).pop().unwrap();
    assert_eq!(
        (last.driver_id.as_str(), last.order_id.as_str()),
        (A, ""),
        "it has left the driver before"
    );
}

#[test]
fn already_inside_when_the_leg_opens_it_fires_at_once() {
    let mut hand = Hand::default();
    hand.order(&order(1, "assigned", A, 0));
    let at_s = drive(&mut hand, A, 5, 1_000, 300);
    hand.order(&order(2, "picked_up", A, at_s + 5));
    assert_eq!(hand.alerts(), ["ARRIVING"], "the last fix is fresh still");

    let mut hand = Hand::default();
    hand.order(&order(1, "assigned", A, 0));
    let at_s = drive(&mut hand, A, 5, 1_000, 300);
    hand.order(&order(2, "picked_up", A, at_s + 100));
    assert_eq!(hand.alerts(), Vec::<String>::new(), "the last fix is stale by now");
    hand.fix(&fix(A, at_s + 110, north(300.0)));
    assert_eq!(hand.alerts(), ["ARRIVING"], "the first fresh one fires");
}

#[test]
fn an_order_that_shows_up_after_its_fixes_still_fires() {
    let mut hand = Hand::default();
    let at_s = drive(&mut hand, A, 0, 1_000, 300);
    assert_eq!(hand.alerts(), Vec::<String>::new());
    hand.order(&order(1, "picked_up", A, at_s - 20));
    assert_eq!(hand.alerts(), ["ARRIVING"]);
}

#[test]
fn one_wild_fix_inside_fires_nothing() {
    let mut hand = Hand::default();
    hand.order(&order(1, "picked_up", A, 0));
    let at_s = drive(&mut hand, A, 5, 4_000, 3_000);
    hand.fix(&fix(A, at_s + 5, TARGET));
    drive(&mut hand, A, at_s + 10, 2_900, 2_000);
    assert_eq!(hand.alerts(), Vec::<String>::new());
    let flagged: Vec<wire::Position> = hand
        .of::<wire::Position>(Topic::Positions)
        .into_iter()
        .filter(|p| !p.flags.is_empty())
        .collect();
    assert_eq!(flagged.len(), 1);
    assert_eq!(flagged[0].flags, ["implausible_jump"]);
}

#[test]
fn the_segment_between_two_fresh_fixes_cuts_the_circle() {
    let mut hand = Hand::default();
    hand.order(&order(1, "picked_up", A, 0));
    // 20 m/s, a fix every fifty seconds: none of them lies within 400 m.
    for step in 0..8_i64 {
        let fix = fix(A, 5 + step * 50, north(3_500.0 - 1_000.0 * step as f64));
        hand.fix(&wire::Fix { speed_mps: Some(20.0), bearing_deg: Some(180.0), ..fix });
    }
    let positions: Vec<wire::Position> = hand.of(Topic::Positions);
    println!("{:?}", positions.iter().map(|p| (p.lat, p.flags.clone())).collect::<Vec<_>>());
    assert_eq!(hand.alerts(), ["ARRIVING"]);
}

#[test]
fn stale_fixes_never_fire_and_late_proof_is_written_once() {
    let mut hand = Hand::default();
    hand.order(&order(1, "picked_up", A, 0));
    for step in 0..20_i64 {
        hand.fix(&late(fix(A, 5 + step * 5, north(900.0 - 45.0 * step as f64)), 90));
    }
    assert_eq!(hand.alerts(), ["ARRIVED_BACKFILL"]);
    assert!(hand.events().last().unwrap().late);
    hand.order(&order(2, "delivered", A, 300));
    assert_eq!(hand.alerts(), ["ARRIVED_BACKFILL"]);
}

#[test]
fn a_six_hour_backlog_corrects_the_record_of_a_delivered_order_without_an_alert() {
    let mut hand = Hand::default();
    hand.order(&order(1, "picked_up", A, 0));
    hand.order(&order(2, "delivered", A, 600));
    let backlog: Vec<wire::Fix> = (0..100_i64)
        .map(|step| late(fix(A, 5 + step * 5, north(4_500.0 - 45.0 * step as f64)), 21_600))
        .collect();
    for fix in &backlog {
        hand.fix(fix);
    }
    assert_eq!(hand.alerts(), ["OFFLINE", "ARRIVED_BACKFILL"], "it was silent, then proved itself");
    let positions: Vec<wire::Position> = hand.of(Topic::Positions);
    assert_eq!(positions.len(), 100);
    assert!(
        positions
            .iter()
            .all(|p| p.source == "late" && p.order_id == "ord_test0001" && p.eta_s.is_none())
    );
    for fix in &backlog {
        hand.fix(fix);
    }
    assert_eq!(
        hand.of::<wire::Position>(Topic::Positions).len(),
        100,
        "a batch sent twice counts once"
    );
}

#[test]
fn a_backlog_never_touches_the_live_state() {
    let run = |with_backlog: bool| {
        let mut hand = Hand::default();
        hand.order(&order(1, "picked_up", A, 0));
        for step in 0..40_i64 {
            hand.fix(&fix(A, 5 + step * 5, north(9_000.0 - 50.0 * step as f64)));
            if with_backlog {
                hand.fix(&late(fix(A, step * 5 - 20_000, north(-20_000.0 + step as f64)), 20_100));
            }
        }
        let positions: Vec<wire::Position> = hand.of(Topic::Positions);
        positions
            .into_iter()
            .filter(|p| p.source == "live")
            .map(|p| (p.lat.to_bits(), p.eta_s.map(f64::to_bits), p.speed_mps.to_bits()))
            .collect::<Vec<_>>()
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_cancelled_or_delivered_order_is_silent() {
    for end in ["cancelled", "delivered"] {
        let mut hand = Hand::default();
        hand.order(&order(1, "picked_up", A, 0));
        let at_s = drive(&mut hand, A, 5, 1_000, 500);
        hand.order(&order(2, end, A, at_s + 1));
        drive(&mut hand, A, at_s + 5, 450, 0);
        assert_eq!(hand.alerts(), Vec::<String>::new(), "{end}");
    }
}

#[test]
fn a_changed_destination_is_a_new_leg_and_fires_again() {
    let mut hand = Hand::default();
    hand.order(&order(1, "picked_up", A, 0));
    let at_s = drive(&mut hand, A, 5, 1_000, 300);
    let moved = wire::OrderEvent {
        destination_lat: north(-3_000.0).lat,
        ..order(2, "picked_up", A, at_s + 1)
    };
    hand.order(&moved);
    drive(&mut hand, A, at_s + 5, 300, -3_000);
    let told: Vec<(String, String)> = hand
        .events()
        .into_iter()
        .filter(|event| !event.leg.is_empty())
        .map(|event| (event.envelope.unwrap().event_type, event.leg))
        .filter(|(kind, _)| kind == "ARRIVING")
        .collect();
    assert_eq!(
        told,
        [
            ("ARRIVING".to_owned(), "delivery".to_owned()),
            ("ARRIVING".to_owned(), "delivery#2".to_owned())
        ]
    );
}

#[test]
fn silence_is_offline_and_the_next_fix_is_back() {
    let mut hand = Hand::default();
    hand.order(&order(1, "assigned", A, 0));
    drive(&mut hand, A, 5, 9_000, 8_500);
    hand.pass_until(100);
    assert_eq!(hand.alerts(), Vec::<String>::new());
    hand.pass_until(300);
    hand.pass_until(400);
    assert_eq!(hand.alerts(), ["OFFLINE"], "once");
    hand.fix(&fix(A, 500, north(8_400.0)));
    assert_eq!(hand.alerts(), ["OFFLINE", "BACK"]);
    hand.pass_until(800);
    assert_eq!(hand.alerts(), ["OFFLINE", "BACK", "OFFLINE"]);
    hand.order(&order(2, "cancelled", "", 810));
    hand.fix(&fix(A, 900, north(8_300.0)));
    assert_eq!(hand.alerts().len(), 3, "nobody is told of a closed order");
}

#[test]
fn distance_and_time_to_go_shrink_on_the_way() {
    let mut hand = Hand::default();
    hand.order(&order(1, "picked_up", A, 0));
    drive(&mut hand, A, 5, 5_000, 1_000);
    let positions: Vec<wire::Position> = hand.of(Topic::Positions);
    let first = positions.first().unwrap();
    let last = positions.last().unwrap();
    assert!((6_300.0..6_700.0).contains(&first.distance_m.unwrap()), "{:?}", first.distance_m);
    assert!(last.distance_m.unwrap() < 1_500.0 && last.eta_s.unwrap() < first.eta_s.unwrap() / 2.0);
    assert!(last.speed_mps > 7.0 && last.h3_r9 != 0);
}

#[test]
fn a_driver_without_orders_is_placed_too() {
    let mut hand = Hand::default();
    drive(&mut hand, A, 5, 500, 0);
    let positions: Vec<wire::Position> = hand.of(Topic::Positions);
    assert_eq!(positions.len(), 11);
    assert!(positions.iter().all(|p| p.order_id.is_empty() && p.distance_m.is_none()));
}

#[test]
fn two_orders_of_one_driver_are_both_told() {
    let mut hand = Hand::default();
    hand.order(&order(1, "picked_up", A, 0));
    hand.order(&order_of("ord_test0002", 1, "picked_up", A, 0));
    drive(&mut hand, A, 5, 1_000, 200);
    assert_eq!(hand.alerts(), ["ARRIVING", "ARRIVING"]);
}

#[test]
fn bytes_that_are_no_fix_go_to_the_dead_letters_and_the_rest_goes_on() {
    let mut hand = Hand::default();
    let mut bad = NewRecord::of(&fix(A, 1, TARGET));
    bad.value = vec![0xff; 10].into();
    hand.put(bad, super::START.plus_secs(2));
    let mut foreign = NewRecord::of(&fix(A, 1, TARGET));
    foreign.key = bytes::Bytes::from_static(b"drv_someone_else");
    hand.put(foreign, super::START.plus_secs(2));
    hand.fix(&fix(A, 3, TARGET));
    let dead: Vec<wire::DeadLetter> = hand.of(Topic::DeadLetter);
    assert_eq!(dead.len(), 2);
    assert!(
        dead[0].source.starts_with("gps.fixes/") && dead[0].source.ends_with("@1"),
        "{}",
        dead[0].source
    );
    assert_eq!(hand.of::<wire::Position>(Topic::Positions).len(), 1);
}
