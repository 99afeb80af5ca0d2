//! What every live bus of ours promises, as tests that each implementation passes.
//!
//! In:    a bus. Ids are fresh, so that it may be shared.
//! Out:   a panic that says which promise does not hold.

use std::sync::Arc;
use std::time::Duration;

use inzira_schemas::{DriverId, Micros, OrderId};

use crate::{LiveBus, LivePosition, Watch};

/// How long a change may take to reach a watcher before the test gives up.
const PATIENCE: Duration = Duration::from_secs(10);

type Bus = Arc<dyn LiveBus>;

/// The whole suite.
pub(crate) async fn holds(bus: Bus) {
    an_older_version_never_wins(&bus).await;
    a_watcher_sees_the_newest_and_skips_the_rest(&bus).await;
    a_late_watcher_has_the_last_value_at_once(&bus).await;
    positions_of_one_batch_end_with_the_newest(&bus).await;
    drivers_are_found_by_cell_and_age(&bus).await;
    a_driver_who_moves_is_in_one_cell_alone(&bus).await;
    a_closed_order_is_gone_and_stays_gone(&bus).await;
    many_watchers_of_many_orders_each_see_their_own(&bus).await;
    rivals_leave_the_newest_standing(&bus).await;
    an_empty_batch_and_unknown_orders_are_nothing_special(&bus).await;
}

/// A position at a second after 2026-01-01, whose version is that time.
pub(crate) fn position(order_id: Option<&OrderId>, second: i64) -> LivePosition {
    let measured_at = Micros::from_secs(1_767_225_600 + second);
    LivePosition {
        driver_id: DriverId::new(),
        order_id: order_id.cloned(),
        lat: -1.95,
        lon: 30.06,
        accuracy_m: 5.0,
        speed_mps: 8.25,
        bearing_deg: 90.0,
        h3_r9: 0x0896_ad12_b46f_ffff,
        measured_at,
        received_at: measured_at,
        distance_m: Some(1234.5),
        eta_s: None,
        version: u64::try_from(measured_at.0).unwrap(),
    }
}

/// Waits until a watcher sees this position.
pub(crate) async fn until(watch: &mut Watch, expected: Option<&LivePosition>) {
    let seen = watch.wait_for(|seen| seen.as_ref() == expected);
    let outcome = tokio::time::timeout(PATIENCE, seen).await.map(|seen| seen.is_ok());
    assert_eq!(outcome, Ok(true), "the watcher never saw {expected:?}, but {:?}", *watch.borrow());
}

async fn an_older_version_never_wins(bus: &Bus) {
    let order_id = OrderId::new();
    let newest = position(Some(&order_id), 10);
    bus.publish(std::slice::from_ref(&newest)).await.unwrap();
    for second in [9, 10] {
        let mut zombie = position(Some(&order_id), second);
        zombie.driver_id = newest.driver_id.clone();
        zombie.lat = 0.0;
        bus.publish(&[zombie]).await.unwrap();
    }
    assert_eq!(bus.last(&order_id).await.unwrap(), Some(newest.clone()));
    let near = bus.near(&[newest.h3_r9], newest.measured_at.plus_secs(-1)).await.unwrap();
    let mine: Vec<_> = near.iter().filter(|found| found.driver_id == newest.driver_id).collect();
    assert_eq!(mine, [&newest]);
}

async fn a_watcher_sees_the_newest_and_skips_the_rest(bus: &Bus) {
    let order_id = OrderId::new();
    let mut watch = bus.watch(&order_id).await.unwrap();
    assert_eq!(*watch.borrow_and_update(), None);
    let mut newest = position(Some(&order_id), 0);
    for second in 0..500 {
        newest = position(Some(&order_id), second);
        bus.publish(std::slice::from_ref(&newest)).await.unwrap();
    }
    until(&mut watch, Some(&newest)).await;
    // Nothing is queued behind the newest.
    tokio::time::sleep(Duration::from_millis(50)).await;
    watch.borrow_and_update();
    assert!(!watch.has_changed().unwrap());
}

async fn a_late_watcher_has_the_last_value_at_once(bus: &Bus) {
    let order_id = OrderId::new();
    let last = position(Some(&order_id), 1);
    bus.publish(std::slice::from_ref(&last)).await.unwrap();
    let mut watch = bus.watch(&order_id).await.unwrap();
    assert!(watch.has_changed().unwrap(), "it counts as news");
    assert_eq!(*watch.borrow_and_update(), Some(last));
    let next = position(Some(&order_id), 2);
    bus.publish(std::slice::from_ref(&next)).await.unwrap();
    until(&mut watch, Some(&next)).await;
}

async fn positions_of_one_batch_end_with_the_newest(bus: &Bus) {
    let order_id = OrderId::new();
    let mut watch = bus.watch(&order_id).await.unwrap();
    let mut batch: Vec<_> = (0..3000).map(|second| position(Some(&order_id), second)).collect();
    let newest = batch[2999].clone();
    batch.reverse();
    batch[1500].order_id = None;
    bus.publish(&batch).await.unwrap();
    assert_eq!(bus.last(&order_id).await.unwrap(), Some(newest.clone()));
    until(&mut watch, Some(&newest)).await;
}

async fn drivers_are_found_by_cell_and_age(bus: &Bus) {
    let cells: Vec<i64> = (0..3).map(|n| fresh_cell() + n).collect();
    let drivers: Vec<LivePosition> = (0..9)
        .map(|n| LivePosition { h3_r9: cells[n % 3], ..position(None, i64::try_from(n).unwrap()) })
        .collect();
    bus.publish(&drivers).await.unwrap();
    let since = drivers[3].measured_at;
    let mut found = bus.near(&cells[..2], since).await.unwrap();
    found.sort_by_key(|position| position.version);
    // Younger than the fourth, and not in the third cell.
    let expected: Vec<LivePosition> = [4, 6, 7].map(|n| drivers[n].clone()).into();
    assert_eq!(found, expected);
    assert!(bus.near(&[], since).await.unwrap().is_empty());
    assert!(bus.near(&cells, drivers[8].measured_at).await.unwrap().is_empty());
}

async fn a_driver_who_moves_is_in_one_cell_alone(bus: &Bus) {
    let (from, to) = (fresh_cell(), fresh_cell() + 1);
    let first = LivePosition { h3_r9: from, ..position(None, 1) };
    let next = LivePosition { h3_r9: to, driver_id: first.driver_id.clone(), ..position(None, 2) };
    let since = first.measured_at.plus_secs(-1);
    bus.publish(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(bus.near(&[from, to], since).await.unwrap(), [first]);
    bus.publish(std::slice::from_ref(&next)).await.unwrap();
    assert!(bus.near(&[from], since).await.unwrap().is_empty());
    assert_eq!(bus.near(&[from, to], since).await.unwrap(), [next]);
}

async fn a_closed_order_is_gone_and_stays_gone(bus: &Bus) {
    let order_id = OrderId::new();
    let last = position(Some(&order_id), 1);
    bus.publish(std::slice::from_ref(&last)).await.unwrap();
    let mut watch = bus.watch(&order_id).await.unwrap();
    until(&mut watch, Some(&last)).await;
    bus.close(&order_id).await.unwrap();
    assert_eq!(bus.last(&order_id).await.unwrap(), None);
    until(&mut watch, None).await;
    // A worker who has not heard of the closing.
    let zombie = position(Some(&order_id), 2);
    bus.publish(std::slice::from_ref(&zombie)).await.unwrap();
    assert_eq!(bus.last(&order_id).await.unwrap(), None);
    assert_eq!(*bus.watch(&order_id).await.unwrap().borrow(), None);
    let near = bus.near(&[zombie.h3_r9], last.measured_at).await.unwrap();
    assert!(near.contains(&zombie), "its driver is still on the road");
    bus.close(&order_id).await.unwrap();
}

async fn many_watchers_of_many_orders_each_see_their_own(bus: &Bus) {
    let orders: Vec<OrderId> = (0..300).map(|_| OrderId::new()).collect();
    let mut watches = Vec::new();
    for order_id in orders.iter().chain(&orders) {
        watches.push(bus.watch(order_id).await.unwrap());
    }
    let batch: Vec<LivePosition> =
        (0..).zip(&orders).map(|(second, order_id)| position(Some(order_id), second)).collect();
    bus.publish(&batch).await.unwrap();
    for (watch, expected) in watches.iter_mut().zip(batch.iter().chain(&batch)) {
        until(watch, Some(expected)).await;
    }
    drop(watches);
    for (order_id, expected) in orders.iter().zip(&batch) {
        assert_eq!(bus.last(order_id).await.unwrap().as_ref(), Some(expected));
    }
}

async fn rivals_leave_the_newest_standing(bus: &Bus) {
    let order_id = OrderId::new();
    let mut watch = bus.watch(&order_id).await.unwrap();
    let rivals: Vec<_> = (0..8)
        .map(|rival| {
            let (bus, order_id) = (Arc::clone(bus), order_id.clone());
            tokio::spawn(async move {
                for second in (rival..400).step_by(8) {
                    bus.publish(&[position(Some(&order_id), second)]).await.unwrap();
                }
            })
        })
        .collect();
    let mut highest = 0;
    let newest = position(None, 399).version;
    while highest < newest {
        tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap().unwrap();
        let seen = watch.borrow_and_update().as_ref().map_or(0, |seen| seen.version);
        assert!(seen >= highest, "a watcher was sent back in time");
        highest = seen;
    }
    for rival in rivals {
        rival.await.unwrap();
    }
    assert_eq!(bus.last(&order_id).await.unwrap().unwrap().version, newest);
}

async fn an_empty_batch_and_unknown_orders_are_nothing_special(bus: &Bus) {
    bus.publish(&[]).await.unwrap();
    assert_eq!(bus.last(&OrderId::new()).await.unwrap(), None);
    bus.close(&OrderId::new()).await.unwrap();
}

/// A cell that no other test uses: the suite may run on a shared Redis.
fn fresh_cell() -> i64 {
    let random = DriverId::new();
    let tail = &random.as_str().as_bytes()[random.as_str().len() - 7..];
    tail.iter().fold(0, |cell, byte| (cell << 8) | i64::from(*byte))
}
