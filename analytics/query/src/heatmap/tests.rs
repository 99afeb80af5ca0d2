//! The rollup, the SQL and a naive recomputation agree, whatever happens in whatever order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use inzira_archive::Table;
use inzira_event_log::EventLog;
use inzira_schemas::states::OrderKind;
use inzira_schemas::{Micros, Point, SystemClock, cell, wire};
use proptest::prelude::*;

use super::*;
use crate::shape::Shape;
use crate::testing::{HandArchive, SharedLog, at, config, order, payment, questions};

const KINDS: [&str; 3] = ["ride", "delivery", "shipment_domestic"];
const CURRENCIES: [&str; 3] = ["RWF", "ZMW", "USD"];

/// One order with its payments, as a test thinks of it.
#[derive(Debug, Clone)]
struct Story {
    place: u8,
    kind: u8,
    customer: u8,
    driver: Option<u8>,
    payments: Vec<PaymentStory>,
    order_known: bool,
}

#[derive(Debug, Clone)]
struct PaymentStory {
    amount: i64,
    currency: u8,
    captured_after_s: Option<i64>,
    refunds: Vec<i64>,
    said_twice: bool,
}

fn payment_story() -> impl Strategy<Value = PaymentStory> {
    (
        1_i64..1_000_000,
        0_u8..3,
        // Late captures: up to three days after they were asked for.
        prop_oneof![1 => Just(None), 4 => (0_i64..260_000).prop_map(Some)],
        proptest::collection::vec(1_i64..1_000, 0..3),
        any::<bool>(),
    )
        .prop_map(|(amount, currency, captured_after_s, refunds, said_twice)| PaymentStory {
            amount,
            currency,
            captured_after_s,
            refunds,
            said_twice,
        })
}

fn story() -> impl Strategy<Value = Story> {
    (
        0_u8..6,
        0_u8..3,
        0_u8..30,
        proptest::option::weighted(0.8, 0_u8..30),
        proptest::collection::vec(payment_story(), 0..3),
        proptest::bool::weighted(0.9),
    )
        .prop_map(|(place, kind, customer, driver, payments, order_known)| Story {
            place,
            kind,
            customer,
            driver,
            payments,
            order_known,
        })
}

/// Some places share a coarse cell, some do not; the last is unknown.
fn place(number: u8) -> i64 {
    match number {
        0 => cell::cell_r9(Point { lat: -1.950, lon: 30.060 }),
        1 => cell::cell_r9(Point { lat: -1.951, lon: 30.064 }),
        2 => cell::cell_r9(Point { lat: -1.970, lon: 30.100 }),
        3 => cell::cell_r9(Point { lat: -2.600, lon: 29.740 }),
        4 => cell::cell_r9(Point { lat: -1.500, lon: 29.630 }),
        _ => 0,
    }
}

enum Said {
    Order(Box<wire::OrderEvent>),
    Payment(Box<wire::PaymentEvent>),
}

/// What the log hears of the stories.
fn told(stories: &[Story]) -> Vec<Said> {
    let mut said = Vec::new();
    for (index, story) in stories.iter().enumerate() {
        let id = format!("ord_{index}");
        if story.order_known {
            for (step, state) in ["pending_payment", "confirmed", "assigned"].iter().enumerate() {
                let mut event = order(&id, state, at(step as i64));
                event.kind = KINDS[usize::from(story.kind)].to_owned();
                event.customer_id = format!("cus_{}", story.customer);
                event.pickup_h3_r9 = place(story.place);
                event.destination_h3_r9 = place((story.place + 1) % 6);
                if *state == "assigned" {
                    event.driver_id =
                        story.driver.map(|driver| format!("drv_{driver}")).unwrap_or_default();
                }
                said.push(Said::Order(Box::new(event)));
            }
        }
        for (number, story) in story.payments.iter().enumerate() {
            said.extend(told_of_payment(&id, &format!("pay_{index}_{number}"), story));
        }
    }
    said
}

fn told_of_payment(order: &str, id: &str, story: &PaymentStory) -> Vec<Said> {
    let event = |state: &str, seconds: i64, refunded: i64| {
        let mut event = payment(id, order, state, at(seconds), story.amount);
        event.currency = CURRENCIES[usize::from(story.currency)].to_owned();
        event.refunded_minor = refunded;
        event
    };
    let mut said = vec![event("submitted", 0, 0)];
    match story.captured_after_s {
        None => said.push(event("failed", 1, 0)),
        Some(after) => {
            said.push(event("captured", after, 0));
            let mut refunded = 0;
            for (step, refund) in story.refunds.iter().enumerate() {
                refunded += (*refund).min(story.amount - refunded);
                said.push(event("refunded", after + 10 + step as i64, refunded));
            }
        }
    }
    if story.said_twice {
        said.extend(said.clone());
    }
    said.into_iter().map(|event| Said::Payment(Box::new(event))).collect()
}

/// The measure by its definition, from the stories alone.
fn naive(stories: &[Story], request: &HeatmapRequest) -> HeatmapAnswer {
    #[derive(Default)]
    struct Sum {
        captured: i64,
        refunded: i64,
        payments: u64,
        customers: HashSet<u8>,
        drivers: HashSet<u8>,
    }
    let mut sums: BTreeMap<(Option<i64>, &str), Sum> = BTreeMap::new();
    for story in stories {
        let kind_fits = request.kind.is_none_or(|kind| {
            story.order_known && KINDS[usize::from(story.kind)] == kind.as_str()
        });
        for payment in &story.payments {
            let Some(after) = payment.captured_after_s else { continue };
            let captured_at = at(after);
            let in_time = request.from.is_none_or(|from| captured_at >= from)
                && request.to.is_none_or(|to| captured_at < to);
            if !in_time || !kind_fits {
                continue;
            }
            let end = if request.by == By::Pickup { story.place } else { (story.place + 1) % 6 };
            let known = story.order_known && place(end) != 0;
            let key = known.then(|| h3::parent(place(end), request.resolution).unwrap());
            let sum = sums.entry((key, CURRENCIES[usize::from(payment.currency)])).or_default();
            sum.captured += payment.amount;
            sum.refunded += payment
                .refunds
                .iter()
                .fold(0, |sum, refund| sum + (*refund).min(payment.amount - sum));
            sum.payments += 1;
            if story.order_known {
                sum.customers.insert(story.customer);
                sum.drivers.extend(story.driver);
            }
        }
    }
    let group = |((cell, currency), sum): ((Option<i64>, &str), Sum)| Group {
        cell,
        currency: currency.to_owned(),
        captured_minor: sum.captured,
        refunded_minor: sum.refunded,
        payments: sum.payments,
        customers: sum.customers.len() as u32,
        drivers: sum.drivers.len() as u32,
    };
    finish(request, sums.into_iter().map(group).collect(), Micros(0))
}

fn requests() -> impl Strategy<Value = HeatmapRequest> {
    (
        proptest::option::of(0_i64..200_000),
        proptest::option::of(1_i64..200_000),
        5_u8..=9,
        proptest::option::of(0_usize..3),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(from, length, resolution, kind, boxed, destination, hide_thin)| {
            let start = from.unwrap_or(0);
            HeatmapRequest {
                from: from.map(at),
                to: length.map(|length| at(start + length)),
                resolution,
                kind: kind.and_then(|kind| OrderKind::parse(KINDS[kind])),
                bbox: boxed.then_some(Bbox {
                    min_lon: 29.9,
                    min_lat: -2.2,
                    max_lon: 30.2,
                    max_lat: -1.8,
                }),
                by: if destination { By::Destination } else { By::Pickup },
                hide_thin,
            }
        })
}

fn rollup(said: &[Said]) -> Revenue {
    let revenue = Revenue::new(1_000_000);
    for said in said {
        let (table, record) = match said {
            Said::Order(event) => {
                (Table::OrderEvents, inzira_event_log::NewRecord::of(event.as_ref()))
            }
            Said::Payment(event) => {
                (Table::PaymentEvents, inzira_event_log::NewRecord::of(event.as_ref()))
            }
        };
        let log = crate::testing::MemoryLog::default();
        let (partition, offset) = log.put(record.clone());
        let record = inzira_event_log::Record {
            topic: record.topic,
            partition,
            offset,
            appended_at_us: 0,
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let rows = Shape::of(table).fit(&table.decode(&[record]).0).unwrap();
        revenue.take(table, &rows);
    }
    revenue
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_rollup_equals_the_definition_in_any_order_of_events(
        stories in proptest::collection::vec(story(), 1..25),
        asked in proptest::collection::vec(requests(), 1..6),
        seed in any::<u64>(),
    ) {
        let mut said = told(&stories);
        // A shuffle by hand: proptest's own would not shrink the stories.
        for index in (1..said.len()).rev() {
            let other = (seed.wrapping_mul(index as u64 * 2 + 1) >> 7) as usize % (index + 1);
            said.swap(index, other);
        }
        let revenue = rollup(&said);
        for request in &asked {
            prop_assert_eq!(revenue.heatmap(request, Micros(0)), naive(&stories, request));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn sql_equals_the_definition_and_the_rollup_that_follows_the_log(
        stories in proptest::collection::vec(story(), 1..25),
        asked in proptest::collection::vec(requests(), 1..4),
        committed in 0_usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2)
            .enable_all().build().unwrap();
        runtime.block_on(async {
            let log = SharedLog::default();
            let archive = HandArchive::new(&log);
            for said in told(&stories) {
                match said {
                    Said::Order(event) => log.0.say(event.as_ref()),
                    Said::Payment(event) => log.0.say(event.as_ref()),
                }
            }
            for table in [Table::OrderEvents, Table::PaymentEvents] {
                archive.commit(table, committed * 3).await;
            }
            let ask = questions(&log, &archive, config()).await;
            ask.caught_up(inzira_schemas::Clock::now(&SystemClock)).await;
            while !ask.health().rollup_ready {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            for request in &asked {
                let expected = naive(&stories, request);
                let as_of = |mut answer: HeatmapAnswer| { answer.data_as_of = Micros(0); answer };
                let by_sql = ask.revenue_heatmap_by_sql(request).await.unwrap();
                prop_assert_eq!(&as_of(by_sql), &expected);
                let by_rollup = ask.revenue_heatmap(request).await.unwrap();
                prop_assert_eq!(&as_of(by_rollup), &expected);
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_full_rollup_gives_up_and_says_so() {
    let stories = vec![
        Story {
            place: 0,
            kind: 0,
            customer: 1,
            driver: None,
            payments: Vec::new(),
            order_known: true,
        };
        20
    ];
    let revenue = Revenue::new(10);
    for said in told(&stories) {
        let Said::Order(event) = said else { continue };
        let log = SharedLog::default();
        log.0.say(event.as_ref());
        let mut reader = log.reader(&positions(Table::OrderEvents)).unwrap();
        let records = reader.poll(1 << 20, std::time::Duration::ZERO).unwrap();
        let (batch, _) = Table::OrderEvents.decode(&records);
        revenue.take(Table::OrderEvents, &Shape::of(Table::OrderEvents).fit(&batch).unwrap());
    }
    revenue.set_ready();
    assert!(!revenue.is_ready());
    assert!(revenue.is_empty());
}

fn positions(table: Table) -> Vec<inzira_event_log::Position> {
    let topic = table.topics()[0];
    (0..topic.partitions())
        .map(|partition| inzira_event_log::Position { topic, partition, offset: 0 })
        .collect()
}

#[test]
fn arc_is_shared_between_the_follower_and_the_requests() {
    fn shareable<T: Send + Sync>(_: &Arc<T>) {}
    shareable(&Arc::new(Revenue::new(1)));
}
