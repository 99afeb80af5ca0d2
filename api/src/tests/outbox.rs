//! The outbox loses nothing, repeats with the same ids, and keeps the order of a key.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use inzira_schemas::wire::OrderEvent;
use tokio_util::sync::CancellationToken;

use super::harness::{each, parcel, ride, text};
use crate::outbox::{relay, waiting};

#[tokio::test]
async fn a_crash_between_append_and_mark_repeats_with_the_same_ids() {
    each(async |house| {
        let customer = house.customer().await;
        house.book_as(&customer, "k", parcel(1_000)).await.expect(201);
        assert_eq!(house.relay().await, 2);
        let before = house.log.event_ids();
        // As if the process had died after the append: the marks are gone.
        let app = &house.api.app;
        sqlx::query("UPDATE outbox SET sent_at = NULL").execute(app.db.read()).await.unwrap();
        assert_eq!(house.relay().await, 2);
        let after = house.log.event_ids();
        assert_eq!(after[..2], before[..]);
        assert_eq!(after[2..], before[..]);
        assert_eq!(house.relay().await, 0);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_marked_while_the_log_is_away() {
    each(async |house| {
        let customer = house.customer().await;
        house.book_as(&customer, "k", parcel(1_000)).await.expect(201);
        house.log.is_away.store(true, Ordering::SeqCst);
        let app = &house.api.app;
        assert!(relay::turn(app, house.log.as_ref()).await.is_err());
        assert_eq!(waiting(&app.db).await.unwrap(), 2);
        house.log.is_away.store(false, Ordering::SeqCst);
        assert_eq!(house.relay().await, 2);
    })
    .await;
}

#[tokio::test]
async fn the_running_room_carries_an_order_from_wish_to_confirmed_in_version_order() {
    each(async |house| {
        let customer = house.customer().await;
        let stop = CancellationToken::new();
        let running = {
            let (api, stop) = (house.api.clone(), stop.clone());
            tokio::spawn(async move { api.run(stop).await })
        };
        let mut ids = Vec::new();
        for key in 0..10 {
            let made = house.book_as(&customer, &key.to_string(), ride()).await.expect(201).json();
            ids.push(text(&made, "order_id"));
        }
        // The hand-turned clock moves on, so that the rail confirms.
        for _ in 0..100 {
            house.clock.advance_secs(1);
            tokio::time::sleep(Duration::from_millis(30)).await;
            let events = house.log.events::<OrderEvent>();
            if events.iter().filter(|event| event.state == "confirmed").count() == ids.len() {
                break;
            }
        }
        stop.cancel();
        running.await.unwrap().unwrap();
        let mut versions: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for event in house.log.events::<OrderEvent>() {
            versions.entry(event.order_id).or_default().push(event.version);
        }
        assert_eq!(versions.len(), ids.len());
        for (order_id, seen) in versions {
            assert_eq!(seen[..2], [1, 2], "{order_id}");
        }
        assert_eq!(waiting(&house.api.app.db).await.unwrap(), 0);
    })
    .await;
}
