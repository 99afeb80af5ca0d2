//! Reads the tables with another engine than ours: DuckDB over the Delta log.
//!
//! In:    where the tables are.
//! Out:   rows a device and number; how many events repeat.
//! Never: uses code of the archive or the query room.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use inzira_tests::House;
use inzira_tests::ledger::FixName;

/// What DuckDB found.
#[derive(Debug, Default)]
pub struct Found {
    /// Rows of `fixes`, by device and number.
    pub fixes: BTreeMap<FixName, u64>,
    /// Event ids that stand more than once in `positions_all` or `tracking_events`.
    pub doubled_events: u64,
}

const SCRIPT: &str = r#"
import os, sys, duckdb
root, wheel = sys.argv[1], sys.argv[2:]
db = duckdb.connect()
for file in wheel:
    db.execute(f"INSTALL '{file}'")
    db.execute(f"LOAD '{file}'")
if root.startswith('s3:'):
    db.execute(f"""CREATE SECRET (TYPE s3, KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}',
        SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}', ENDPOINT '{os.environ["S3_ENDPOINT"]}',
        URL_STYLE 'path', USE_SSL false, REGION 'us-east-1')""")
scan = lambda table: f"delta_scan('{root}/tables/{table}')"
for device, seq, rows in db.execute(
        f"SELECT device_id, seq, count(*) FROM {scan('fixes')} GROUP BY ALL").fetchall():
    print('fix', device, seq, rows)
for table in ('fixes', 'positions_all', 'tracking_events'):
    doubled, = db.execute(f"SELECT count(*) FROM (SELECT event_id FROM {scan(table)} "
                          "GROUP BY event_id HAVING count(*) > 1)").fetchone()
    print('doubled', table, doubled)
"#;

/// Reads the tables of a house that has stopped.
pub fn duckdb(house: &House) -> anyhow::Result<Found> {
    let (root, endpoint) = tables(house)?;
    let python = python()?;
    let output = Command::new(&python.program)
        .args(["-c", SCRIPT, &root])
        .args(&python.extensions)
        .env("S3_ENDPOINT", endpoint)
        .output()
        .context("starting python")?;
    if !output.status.success() {
        bail!("duckdb: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut found = Found::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["fix", device_id, seq, rows] => {
                let name = FixName { device_id: (*device_id).to_owned(), seq: seq.parse()? };
                found.fixes.insert(name, rows.parse()?);
            }
            ["doubled", _, count] => found.doubled_events += count.parse::<u64>()?,
            _ => bail!("duckdb printed {line:?}"),
        }
    }
    Ok(found)
}

fn tables(house: &House) -> anyhow::Result<(String, String)> {
    match house.variable("INZIRA_STORE") {
        Some(store) => {
            let url = url::Url::parse(store)?;
            let endpoint = url.query_pairs().find(|(name, _)| name == "endpoint");
            let endpoint = endpoint.map(|(_, value)| value.into_owned()).unwrap_or_default();
            let host = endpoint.trim_start_matches("http://").to_owned();
            let bucket = url.host_str().context("no bucket")?;
            Ok((format!("s3://{bucket}{}", url.path().trim_end_matches('/')), host))
        }
        None => Ok((house.data().join("store").display().to_string(), String::new())),
    }
}

struct Python {
    program: PathBuf,
    extensions: Vec<String>,
}

/// A virtual environment with DuckDB and its extensions, made once in the target folder.
fn python() -> anyhow::Result<Python> {
    let given = std::env::var("INZIRA_TEST_DUCKDB_PYTHON").ok().map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/duckdb-venv");
    let venv = given
        .as_ref()
        .and_then(|program| program.ancestors().nth(2))
        .map_or_else(|| own.clone(), Path::to_path_buf);
    let program = venv.join("bin/python");
    if given.is_none() && !venv.join("ready").is_file() {
        eprintln!("making {} (once)", venv.display());
        sh(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        sh(Command::new(&program).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "duckdb==1.5.5",
            "duckdb-extension-delta==1.5.5",
            "duckdb-extension-httpfs==1.5.5",
        ]))?;
        std::fs::write(venv.join("ready"), "")?;
    }
    let found = Command::new("find")
        .arg(&venv)
        .args(["-name", "*.duckdb_extension"])
        .output()
        .context("finding the extensions")?;
    let mut extensions: Vec<String> =
        String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect();
    extensions.sort_by_key(|path| path.contains("delta"));
    if extensions.is_empty() {
        bail!("no DuckDB extension below {}", venv.display());
    }
    Ok(Python { program, extensions })
}

fn sh(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
