//! Tables, views, H3 and formats through SQL.

use inzira_archive::Table;
use inzira_schemas::wire;

use crate::questions::{Mode, QueryConfig};
use crate::sql::Limits;
use crate::testing::{
    HandArchive, SharedLog, at, config, csv, fix, number, order, payment, questions,
};

fn once() -> QueryConfig {
    QueryConfig { mode: Mode::Once, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_view_is_listed_and_described() {
    let log = SharedLog::default();
    let ask = questions(&log, &HandArchive::new(&log), once()).await;
    let listed = csv(&ask, "SHOW TABLES").await;
    for name in [
        "fixes",
        "positions",
        "positions_all",
        "tracking_events",
        "trips",
        "order_events",
        "orders",
        "payment_events",
        "payments",
        "fraud_decisions",
    ] {
        assert!(listed.contains(&format!(",{name},")), "{name}: {listed}");
        let columns = csv(&ask, &format!("DESCRIBE {name}")).await;
        assert!(columns.contains("event_id"), "{name}: {columns}");
    }
    let columns = csv(&ask, "DESCRIBE orders").await;
    for name in ["paid_at", "assigned_at", "picked_up_at", "delivered_at", "cancelled_at"] {
        assert!(columns.contains(name), "{columns}");
    }
    assert_eq!(
        number(&ask, "SELECT count(*) FROM information_schema.tables WHERE table_name = 'trips'")
            .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_shows_its_latest_state_and_the_times_it_went_through() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    // An agent's clock dated the order an hour ahead of everything that followed.
    let mut asked = order("ord_1", "pending_payment", at(3_600));
    asked.envelope.as_mut().unwrap().recorded_at_us = at(0).0;
    log.0.say(&asked);
    log.0.say(&order("ord_1", "confirmed", at(10)));
    archive.commit(Table::OrderEvents, usize::MAX).await;
    let mut assigned = order("ord_1", "assigned", at(10));
    assigned.driver_id = "drv_7".to_owned();
    log.0.say(&assigned);
    log.0.say(&order("ord_2", "confirmed", at(5)));
    log.0.say(&order("ord_2", "cancelled", at(6)));
    let ask = questions(&log, &archive, once()).await;
    let rows = csv(
        &ask,
        "SELECT order_id, state, driver_id, paid_at, assigned_at, cancelled_at \
         FROM orders ORDER BY order_id",
    )
    .await;
    let lines: Vec<&str> = rows.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "ord_1,assigned,drv_7,2026-02-01T12:00:10.000000Z,2026-02-01T12:00:10.000000Z,",
            "ord_2,cancelled,,2026-02-01T12:00:05.000000Z,,2026-02-01T12:00:06.000000Z",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_shows_its_latest_state_and_when_money_moved() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    log.0.say(&payment("pay_1", "ord_1", "submitted", at(0), 1_000));
    log.0.say(&payment("pay_1", "ord_1", "captured", at(1), 1_000));
    let mut refunded = payment("pay_1", "ord_1", "refunded", at(9), 1_000);
    refunded.refunded_minor = 400;
    log.0.say(&refunded);
    log.0.say(&payment("pay_2", "ord_1", "failed", at(0), 1_000));
    let ask = questions(&log, &archive, once()).await;
    let rows = csv(
        &ask,
        "SELECT payment_id, state, refunded_minor, captured_at, refunded_at FROM payments ORDER BY 1",
    )
    .await;
    let lines: Vec<&str> = rows.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "pay_1,refunded,400,2026-02-01T12:00:01.000000Z,2026-02-01T12:00:09.000000Z",
            "pay_2,failed,0,,",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_show_only_the_newest_revision() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    let position = |revision: u32, seconds: i64| wire::Position {
        envelope: Some(wire::Envelope::by_system(
            format!("evt_{revision}_{seconds}"),
            "position.updated",
            at(seconds),
            at(seconds),
        )),
        driver_id: "drv_1".to_owned(),
        measured_at_us: at(seconds).0,
        received_at_us: at(seconds).0,
        source: if revision == 0 { "live" } else { "smoothed" }.to_owned(),
        revision,
        ..Default::default()
    };
    for (revision, seconds) in [(0, 1), (0, 2), (1, 2), (2, 2), (0, 3)] {
        log.0.say(&position(revision, seconds));
    }
    archive.commit(Table::PositionsAll, 3).await;
    let ask = questions(&log, &archive, once()).await;
    assert_eq!(number(&ask, "SELECT count(*) FROM positions_all").await, 5);
    assert_eq!(number(&ask, "SELECT count(*) FROM positions").await, 3);
    assert_eq!(number(&ask, "SELECT sum(revision) FROM positions").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_and_bounds_choose_the_files_and_the_answer_stays_right() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    for day in 0..4_i64 {
        for n in 0..10_u64 {
            log.0.say(&fix("a", Some(n), at(day * 86_400 + n as i64)));
        }
        archive.commit(Table::Fixes, usize::MAX).await;
    }
    let ask = questions(&log, &archive, once()).await;
    let day = "SELECT count(*) FROM fixes WHERE event_date = '2026-02-02'";
    assert_eq!(number(&ask, day).await, 10);
    let plan = csv(&ask, &format!("EXPLAIN {day} AND lat < 0")).await;
    assert!(plan.contains("event_date=2026-02-02"), "{plan}");
    assert!(!plan.contains("event_date=2026-02-01"), "{plan}");
    let within = "SELECT count(*) FROM fixes WHERE measured_at >= '2026-02-03T00:00:00Z' \
                  AND seq < 5 AND driver_id = 'drv_a'";
    assert_eq!(number(&ask, within).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_h3_functions_are_sql_functions_over_columns_literals_and_nulls() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    log.0.say(&fix("a", Some(1), at(0)));
    let ask = questions(&log, &archive, once()).await;
    let same = "SELECT count(*) FROM fixes WHERE h3_latlng_to_cell(lat, lon, 9) = h3_r9 \
                AND h3_get_resolution(h3_cell_to_parent(h3_r9, 7)) = 7 \
                AND h3_string_to_h3(h3_h3_to_string(h3_r9)) = h3_r9 \
                AND abs(h3_cell_to_lat(h3_r9) - lat) < 0.01 \
                AND abs(h3_cell_to_lng(h3_r9) - lon) < 0.01 \
                AND h3_cell_to_boundary_wkt(h3_r9) LIKE 'POLYGON ((30.%' \
                AND array_length(h3_grid_disk(h3_r9, 2)) = 19";
    assert_eq!(number(&ask, same).await, 1);
    let text = csv(
        &ask,
        "SELECT h3_h3_to_string(h3_latlng_to_cell(37.3615593, -122.0553238, 7)) AS cell, \
         h3_cell_to_parent(NULL, 5) AS none, h3_latlng_to_cell(91, 0, 5) AS nowhere, \
         h3_cell_to_lat(7) AS invalid",
    )
    .await;
    assert_eq!(text.lines().nth(1), Some("87283472bffffff,,,"));
    let wrong =
        crate::testing::failure(&ask, "SELECT h3_cell_to_lat('x')", Limits::default()).await;
    assert!(wrong.contains("h3_cell_to_lat takes (cell BIGINT)"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_inside_a_cell_is_asked_of_the_files_as_a_range() {
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    log.0.say(&fix("a", Some(1), at(0)));
    archive.commit(Table::Fixes, usize::MAX).await;
    log.0.say(&fix("a", Some(2), at(1)));
    let ask = questions(&log, &archive, once()).await;
    let inside = "h3_cell_to_parent(h3_r9, 6) = h3_latlng_to_cell(-1.95, 30.06, 6)";
    let elsewhere = "h3_cell_to_parent(h3_r9, 6) IN (h3_latlng_to_cell(-2.9, 29.0, 6))";
    let count = |which: &str| format!("SELECT count(*) FROM fixes WHERE {which}");
    assert_eq!(number(&ask, &count(inside)).await, 2);
    assert_eq!(number(&ask, &count(elsewhere)).await, 0);
    let plan = csv(&ask, &format!("EXPLAIN {}", count(inside))).await;
    assert!(plan.contains("h3_r9@0 >= 61") || plan.contains("h3_r9 >= Int64(61"), "{plan}");
    let renamed = "SELECT count(*) FROM (SELECT h3_cell_to_parent(h3_r9, 7) AS h3_r9 FROM fixes) \
                   WHERE h3_cell_to_parent(h3_r9, 6) = h3_latlng_to_cell(-1.95, 30.06, 6)";
    assert_eq!(number(&ask, renamed).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_holds_the_same_rows() {
    use crate::format::{Format, write};
    let log = SharedLog::default();
    let archive = HandArchive::new(&log);
    for n in 0..3 {
        log.0.say(&fix("a", Some(n), at(n as i64)));
    }
    let ask = questions(&log, &archive, once()).await;
    for format in [
        Format::Table,
        Format::Csv,
        Format::Json,
        Format::Ndjson,
        Format::Parquet,
        Format::Arrow,
        Format::ArrowStream,
    ] {
        for (filter, rows) in [("true", 3), ("false", 0)] {
            let text =
                format!("SELECT driver_id, seq, measured_at, speed_mps FROM fixes WHERE {filter}");
            let mut answer = ask.sql(&text, Limits::default()).await.unwrap();
            let mut out = Vec::new();
            let written = write(&mut answer, format, &mut out).await.unwrap();
            assert_eq!(written.rows, rows, "{format:?}");
            read_back(format, &out, rows);
        }
    }
}

fn read_back(format: crate::Format, out: &[u8], rows: u64) {
    use crate::Format;
    let text = || String::from_utf8(out.to_vec()).unwrap();
    let read: u64 = match format {
        Format::Table => text().matches("drv_a").count() as u64,
        Format::Csv => {
            assert!(text().starts_with("driver_id,seq,measured_at,speed_mps\n"), "{}", text());
            text().lines().count() as u64 - 1
        }
        Format::Json => {
            let value: serde_json::Value = serde_json::from_slice(out).unwrap();
            let list = value.as_array().unwrap();
            assert!(list.iter().all(|row| row["speed_mps"].is_null()));
            list.len() as u64
        }
        Format::Ndjson => text().lines().count() as u64,
        Format::Parquet => {
            let bytes = bytes::Bytes::copy_from_slice(out);
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes)
                .unwrap()
                .build()
                .unwrap()
                .map(|batch| batch.unwrap().num_rows() as u64)
                .sum()
        }
        Format::Arrow => {
            let reader =
                arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(out), None).unwrap();
            reader.map(|batch| batch.unwrap().num_rows() as u64).sum()
        }
        Format::ArrowStream => {
            let reader = arrow::ipc::reader::StreamReader::try_new(out, None).unwrap();
            reader.map(|batch| batch.unwrap().num_rows() as u64).sum()
        }
    };
    assert_eq!(read, rows, "{format:?}");
}
