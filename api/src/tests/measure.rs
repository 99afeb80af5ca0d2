//! Figures, not checks: `cargo test -p inzira-api --release measure -- --ignored --nocapture`.

use std::time::Instant;

use super::harness::{each, parcel};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn measure_bookings_through_the_router() {
    const ORDERS: usize = 1_000;
    const AT_ONCE: usize = 32;
    each(async |house| {
        use futures::StreamExt as _;
        let customer = house.customer().await;
        let began = Instant::now();
        let mut waits_ms: Vec<f64> = futures::stream::iter(0..ORDERS)
            .map(|key| {
                let (house, customer) = (&house, &customer);
                async move {
                    let asked = Instant::now();
                    house.book_as(customer, &key.to_string(), parcel(1_000)).await.expect(201);
                    asked.elapsed().as_secs_f64() * 1e3
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let orders_per_s = ORDERS as f64 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        let mut sent = 0;
        while sent < 2 * ORDERS {
            sent += house.relay().await;
        }
        let relayed_per_s = sent as f64 / began.elapsed().as_secs_f64();
        waits_ms.sort_by(f64::total_cmp);
        println!(
            "database={:?} orders_per_s={orders_per_s:.0} p50_ms={:.1} p99_ms={:.1} \
             relayed_per_s={relayed_per_s:.0}",
            house.api.app.db.dialect(),
            waits_ms[ORDERS / 2],
            waits_ms[ORDERS * 99 / 100]
        );
    })
    .await;
}
