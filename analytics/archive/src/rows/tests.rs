//! Rows from records.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type};
use bytes::Bytes;
use inzira_event_log::NewRecord;
use inzira_schemas::{Event, Topic};

use super::*;

fn record<E: Event>(event: &E) -> Record {
    let new = NewRecord::of(event);
    Record {
        topic: new.topic,
        partition: new.partition(),
        offset: 7,
        appended_at_us: 0,
        key: new.key,
        value: new.value,
        headers: new.headers,
    }
}

fn fix(event_id: &str, measured_at: &str) -> wire::Fix {
    let measured_at = Micros::parse_rfc3339(measured_at).unwrap();
    wire::Fix {
        envelope: Some(wire::Envelope::by_system(
            event_id.to_owned(),
            "fix.accepted",
            measured_at,
            measured_at,
        )),
        driver_id: "drv_1".to_owned(),
        device_id: "dev_1".to_owned(),
        measured_at_us: measured_at.0,
        lat: -1.95,
        lon: 30.06,
        ..Default::default()
    }
}

#[test]
fn an_absent_value_is_null_and_never_the_one_of_the_row_before() {
    let mut first = fix("evt_a", "2026-01-31T23:59:59.999999Z");
    first.speed_mps = Some(3.5);
    first.seq = Some(9);
    if let Some(envelope) = first.envelope.as_mut() {
        envelope.reason = "a reason".to_owned();
    }
    let second = fix("evt_b", "2026-02-01T00:00:00Z");
    let (batch, bad) = Table::Fixes.decode(&[record(&first), record(&second)]);
    assert!(bad.is_empty());
    assert_eq!(batch.schema(), Table::Fixes.schema());
    let speed = batch.column_by_name("speed_mps").unwrap().as_primitive::<Float64Type>();
    assert_eq!((speed.value(0), speed.is_null(1)), (3.5, true));
    let seq = batch.column_by_name("seq").unwrap().as_primitive::<Int64Type>();
    assert_eq!((seq.value(0), seq.is_null(1)), (9, true));
    assert!(batch.column_by_name("reason").unwrap().is_null(1));
    let date = batch.column_by_name("event_date").unwrap().as_string::<i32>();
    assert_eq!((date.value(0), date.value(1)), ("2026-01-31", "2026-02-01"));
}

#[test]
fn bytes_that_are_no_event_are_told_apart_by_their_place() {
    let mut broken = record(&fix("evt_a", "2026-02-01T00:00:00Z"));
    broken.value = Bytes::from_static(b"\xff\xff\xff");
    let mut no_envelope = record(&fix("evt_a", "2026-02-01T00:00:00Z"));
    no_envelope.value = wire::Fix::default().encode_to_vec().into();
    let far = record(&wire::Fix { measured_at_us: i64::MAX, ..fix("e", "2026-02-01T00:00:00Z") });
    let good = record(&fix("evt_b", "2026-02-01T00:00:00Z"));
    let (batch, bad) = Table::Fixes.decode(&[broken, no_envelope, far, good]);
    assert_eq!(batch.num_rows(), 1);
    let ids = batch.column_by_name("event_id").unwrap().as_string::<i32>();
    assert_eq!(ids.value(0), "evt_b");
    assert_eq!(bad.len(), 3);
    assert_eq!((bad[0].topic, bad[0].offset), (Topic::GpsFixes, 7));
    assert_eq!(bad[1].reason, "no event id");
}

#[test]
fn every_table_turns_its_own_message_into_one_row_of_its_schema() {
    let envelope = fix("evt_a", "2026-02-01T00:00:00Z").envelope;
    let records = [
        record(&fix("evt_a", "2026-02-01T00:00:00Z")),
        record(&wire::Position { envelope: envelope.clone(), ..Default::default() }),
        record(&wire::TrackingEvent { envelope: envelope.clone(), ..Default::default() }),
        record(&wire::Trip { envelope: envelope.clone(), ..Default::default() }),
        record(&wire::OrderEvent { envelope: envelope.clone(), ..Default::default() }),
        record(&wire::PaymentEvent { envelope: envelope.clone(), ..Default::default() }),
        record(&wire::FraudDecision {
            envelope,
            reasons: vec!["velocity".to_owned()],
            ..Default::default()
        }),
    ];
    for table in Table::ALL {
        let (batch, bad) = table.decode(&records);
        assert!(bad.is_empty(), "{table}: {bad:?}");
        assert_eq!((batch.num_rows(), batch.schema()), (1, table.schema()), "{table}");
        for column in table.sort_columns().iter().chain([&table.date_column()]) {
            assert!(batch.column_by_name(column).is_some(), "{table}.{column}");
        }
        for columns in table.key_columns() {
            assert!(columns.iter().all(|name| batch.column_by_name(name).is_some()), "{table}");
        }
        assert_eq!(table.name().parse(), Ok(table));
    }
}
