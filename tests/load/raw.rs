//! The raw heat map: every fix counted by cell, by us and by DuckDB, over the same Parquet files
//! and with the same number of threads, in turns.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use inzira_archive::Table;
use inzira_event_log::Access;
use inzira_query::{Format, Limits, QueryConfig, Questions, write};
use inzira_schemas::SystemClock;
use inzira_tests::outside::{duckdb, said};

/// Fixes in the files.
const FIXES: usize = 3_000_000;
/// Best of so many, after one to warm up.
const RUNS: usize = 5;

/// Milliseconds each.
pub struct Raw {
    pub ours_ms: f64,
    pub duckdb_ms: f64,
}

const SCRIPT: &str = r#"
import sys, time, duckdb
threads, runs, files = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
db = duckdb.connect(config={'threads': threads})
best, rows = None, None
for run in range(runs + 1):
    began = time.perf_counter()
    rows = db.execute("SELECT h3_r9 AS cell, count(*) AS n, avg(speed_mps) AS speed "
                      "FROM read_parquet(?) GROUP BY 1", [files]).fetchall()
    took = (time.perf_counter() - began) * 1e3
    if run > 0:
        best = took if best is None else min(best, took)
cells = len(rows)
total, = db.execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchone()
print(best, cells, total)
"#;

/// Writes the files with the archive's own writer, then asks.
pub async fn run() -> anyhow::Result<Raw> {
    let folder = tempfile::tempdir()?;
    let store = inzira_store::open("file:", folder.path()).await?;
    let records = inzira_archive::bench::records(FIXES);
    inzira_archive::bench::run(&records, &store).await?;
    drop(records);
    let state = inzira_archive::committed(&store, Table::Fixes).await?.context("no table")?;
    let root = folder.path().join("store/tables/fixes");
    let files: Vec<String> =
        state.files.keys().map(|path| root.join(path).display().to_string()).collect();

    let log = inzira_event_log::open("file:", folder.path(), Access::ReadWrite).await?;
    let config = QueryConfig::default();
    let threads = config.engine.threads;
    let questions = Questions::open(log, store, config, Arc::new(SystemClock)).await?;
    let text = "SELECT h3_r9 AS cell, count(*) AS n, avg(speed_mps) AS speed FROM fixes GROUP BY 1";
    let (mut ours_ms, mut cells) = (f64::MAX, 0);
    for run in 0..=RUNS {
        let began = Instant::now();
        let rows = questions.sql(text, Limits::default()).await?.collect().await?;
        if run > 0 {
            ours_ms = ours_ms.min(began.elapsed().as_secs_f64() * 1e3);
        }
        cells = rows.iter().map(|batch| batch.num_rows()).sum::<usize>();
    }
    let mut csv = Vec::new();
    let mut answer = questions.sql(text, Limits::default()).await?;
    write(&mut answer, Format::Csv, &mut csv).await?;
    let counted: i64 = std::str::from_utf8(&csv)?
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').nth(1)?.parse::<i64>().ok())
        .sum();
    let python = duckdb()?;
    let output = said(
        Command::new(&python.python)
            .args(["-c", SCRIPT, &threads.to_string(), &RUNS.to_string()])
            .args(&files),
    )?;
    let words: Vec<&str> = output.split_whitespace().collect();
    let [duckdb_ms, their_cells, their_count] = words.as_slice() else {
        anyhow::bail!("duckdb printed {output:?}");
    };
    anyhow::ensure!(
        (cells, counted) == (their_cells.parse()?, their_count.parse()?),
        "we found {counted} fixes in {cells} cells, DuckDB {their_count} in {their_cells}"
    );
    Ok(Raw { ours_ms, duckdb_ms: duckdb_ms.parse()? })
}
