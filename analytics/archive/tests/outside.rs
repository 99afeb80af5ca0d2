//! A reader that shares nothing with us, DuckDB, reads every table as we wrote it.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;
use std::time::Duration;

use common::*;
use inzira_archive::Table;
use inzira_event_log::{EventLog, NewRecord};
use inzira_schemas::wire;

/// Prints one line a question: the answer as JSON.
const SCRIPT: &str = r#"
import duckdb, glob, json, os, sys, importlib.util
root, questions = sys.argv[1], sys.argv[2:]
found = importlib.util.find_spec("duckdb_extension_delta")
folder = os.path.dirname(found.origin) if found.origin else list(found.submodule_search_locations)[0]
extension = glob.glob(folder + "/extensions/*/delta.duckdb_extension")[0]
db = duckdb.connect(config={"allow_unsigned_extensions": "true"})
db.execute(f"LOAD '{extension}'")
db.execute("SET TimeZone = 'UTC'")
for table in os.listdir(root + "/tables"):
    db.execute(f"CREATE VIEW {table} AS SELECT * FROM delta_scan('{root}/tables/{table}')")
for question in questions:
    print(json.dumps(db.execute(question).fetchall(), default=str))
"#;

fn ask(python: &str, root: &std::path::Path, questions: &[&str]) -> Vec<String> {
    let output = Command::new(python)
        .args(["-c", SCRIPT, root.to_str().unwrap()])
        .args(questions)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_reads_every_table_as_it_was_written() {
    let Ok(python) = std::env::var("INZIRA_TEST_DUCKDB_PYTHON") else {
        assert!(std::env::var("CI").is_err(), "INZIRA_TEST_DUCKDB_PYTHON must be set in CI");
        println!("skipped: INZIRA_TEST_DUCKDB_PYTHON is not set (cargo xtask stack up)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let store = disk(folder.path()).await;
    let log = MemoryLog::default();
    let mut config = quick();
    config.merge_files = 4;
    config.checkpoint_every = 3;
    let archive = run(config, &log, &store);
    for round in 0..10_i64 {
        for at in round * 30..(round + 1) * 30 {
            log.append(vec![NewRecord::of(&fix("a", at, None))]).await.unwrap();
        }
        log.append(rich(round)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(90)).await;
    }
    archive.until(|health| rows(health, Table::Fixes) == 300).await;
    archive.finish().await;

    let counts: Vec<String> = Table::ALL
        .iter()
        .map(|table| format!("SELECT count(*), count(DISTINCT event_id) FROM {table}"))
        .collect();
    let mut questions: Vec<&str> = counts.iter().map(String::as_str).collect();
    questions.extend([
        "SELECT event_date, min(measured_at)::VARCHAR, max(measured_at)::VARCHAR, count(seq), round(sum(lat), 4) \
         FROM fixes GROUP BY ALL",
        "SELECT count(*) FROM fixes WHERE measured_at >= TIMESTAMPTZ '2026-03-01 00:04:00Z'",
        "SELECT count(*) FROM fixes WHERE driver_id = 'drv_b'",
        "SELECT DISTINCT reasons, late, score FROM fraud_decisions",
        "SELECT sum(gross_minor), any_value(weight_g), count(agent_id), min(currency) \
         FROM order_events",
    ]);
    let answers = ask(&python, folder.path(), &questions);
    assert_eq!(answers[0], "[[300, 300]]");
    for table in [Table::Trips, Table::OrderEvents, Table::FraudDecisions] {
        let index = Table::ALL.iter().position(|one| *one == table).unwrap();
        assert_eq!(answers[index], "[[10, 10]]", "{table}");
    }
    let lat: f64 = (0..300).map(|at| -1.95 + f64::from(at) * 1e-5).sum();
    let expected = format!(
        r#"[["2026-03-01", "2026-03-01 00:00:00+00", "2026-03-01 00:04:59+00", 0, {:.4}]]"#,
        lat
    );
    assert_eq!(answers[7], expected);
    assert_eq!(answers[8], "[[60]]");
    assert_eq!(answers[9], "[[0]]");
    assert_eq!(answers[10], r#"[[["velocity", "new device"], true, 71]]"#);
    assert_eq!(answers[11], r#"[[15000, 2500, 0, "RWF"]]"#);
}

/// One record of each other topic, every kind of column filled.
fn rich(round: i64) -> Vec<NewRecord> {
    let envelope = fix("other", round, None).envelope;
    let order = wire::OrderEvent {
        envelope: envelope.clone(),
        order_id: format!("ord_{round}"),
        currency: "RWF".to_owned(),
        gross_minor: 1_500,
        weight_g: Some(2_500),
        ..Default::default()
    };
    let decision = wire::FraudDecision {
        envelope: envelope.clone(),
        score: 71,
        reasons: vec!["velocity".to_owned(), "new device".to_owned()],
        late: true,
        ..Default::default()
    };
    let trip = wire::Trip { envelope, line: "_p~iF~ps|U".to_owned(), ..Default::default() };
    vec![NewRecord::of(&order), NewRecord::of(&decision), NewRecord::of(&trip)]
}
