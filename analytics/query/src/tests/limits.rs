//! Questions that would take too much end with a clear error, and the room lives on.

use std::time::{Duration, Instant};

use crate::questions::{Mode, QueryConfig};
use crate::session::EngineLimits;
use crate::sql::Limits;
use crate::testing::{HandArchive, SharedLog, config, failure, number, questions};

async fn small() -> std::sync::Arc<crate::Questions> {
    let log = SharedLog::default();
    let engine = EngineLimits { memory_bytes: 16 << 20, spill_bytes: 8 << 20, ..config().engine };
    let config = QueryConfig { mode: Mode::Once, engine, ..config() };
    questions(&log, &HandArchive::new(&log), config).await
}

const BIG: &str = "SELECT a.value AS a, b.value AS b FROM generate_series(1, 100000) AS a, \
                   generate_series(1, 100000) AS b";

#[tokio::test(flavor = "multi_thread")]
async fn a_cartesian_product_ends_at_the_row_limit() {
    let ask = small().await;
    let limits = Limits { rows_max: 1_000_000, ..Limits::default() };
    let words = failure(&ask, BIG, limits).await;
    assert!(words.contains("more than 1000000 rows: add LIMIT"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cartesian_product_that_is_counted_ends_at_the_time_limit() {
    let ask = small().await;
    let limits = Limits { time_max: Duration::from_secs(1), ..Limits::default() };
    let asked = Instant::now();
    let words =
        failure(&ask, &format!("SELECT count(*) FROM ({BIG}) AS x WHERE a % 7 = b % 5"), limits)
            .await;
    assert!(words.contains("longer than its limit of 1.0 s"), "{words}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(number(&ask, "SELECT 1").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_bomb_ends_with_a_clear_error_and_the_next_question_is_answered() {
    let ask = small().await;
    for bomb in [
        format!("SELECT a, b FROM ({BIG}) AS x ORDER BY b, a DESC"),
        format!("SELECT a, b, count(*) FROM ({BIG}) AS x GROUP BY a, b"),
        format!("SELECT count(*) FROM ({BIG}) AS x JOIN ({BIG}) AS y ON x.a + x.b = y.a * y.b"),
        format!("SELECT array_agg(a) FROM ({BIG}) AS x"),
    ] {
        let limits = Limits { time_max: Duration::from_secs(30), ..Limits::default() };
        let words = failure(&ask, &bomb, limits).await;
        assert!(words.contains("more memory than its limit"), "{bomb}: {words}");
        assert!(!words.contains('\n'), "{words}");
        assert_eq!(number(&ask, "SELECT 1").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_as_long_as_is_let_through_is_planned_and_run() {
    let ask = small().await;
    let chain = format!("SELECT {}1", "1+".repeat(990));
    assert_eq!(number(&ask, &chain).await, 991);
    let ors = format!("SELECT count(*) FROM fixes WHERE {}false", "seq = 1 OR ".repeat(490));
    assert_eq!(number(&ask, &ors).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_words() {
    let ask = small().await;
    let say = async |text: &str| failure(&ask, text, Limits::default()).await;
    assert!(say("SELEC 1").await.contains("Expected"), "{}", say("SELEC 1").await);
    assert!(say("SELECT * FROM secrets").await.contains("secrets' not found"));
    assert!(say("SELECT nothing FROM fixes").await.contains("nothing"));
    assert!(say("SELECT 1 / 0").await.to_lowercase().contains("divide by zero"));
    assert!(say("SELECT * FROM elsewhere.public.fixes").await.contains("not found"));
}
