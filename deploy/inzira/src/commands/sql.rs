//! `inzira sql`: asks the archive and the log's tail, in a process of its own.
//!
//! In:    one question, as an argument or a file.
//! Out:   rows on standard output or in a file; `--timing` adds `elapsed_ms: N` on standard error.
//! Never: writes anything but its answer.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use inzira_event_log::Access;
use inzira_query::format::{Format, write};
use inzira_query::sql::Limits;
use inzira_query::{Mode, QueryConfig, Questions};
use inzira_schemas::SystemClock;

use crate::allow;
use crate::config::{Config, ConfigError};
use crate::serve::open_store;

/// Options of `inzira sql`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inzira sql \"SELECT count(*) FROM fixes\"\n  inzira sql \"SELECT h3_r9, count(*) n FROM positions GROUP BY 1 ORDER BY n DESC LIMIT 10\" --format csv\n  inzira sql --file report.sql --format parquet --output report.parquet --timing"
)]
pub struct SqlArgs {
    /// The question
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    question: Option<String>,
    /// A file that holds the question
    #[arg(long, value_name = "F")]
    file: Option<PathBuf>,
    /// table, csv, json, ndjson, parquet, arrow (a file) or arrows (a stream)
    #[arg(long, default_value = "table")]
    format: Format,
    /// Where the answer goes; default: standard output
    #[arg(long, value_name = "F")]
    output: Option<PathBuf>,
    /// Print `elapsed_ms: N` on standard error, from asking to the last row
    #[arg(long)]
    timing: bool,
    /// Seconds until a question is given up
    #[arg(long, default_value_t = 300)]
    timeout: u64,
}

/// Runs it.
pub async fn run(args: SqlArgs, config: &Config) -> anyhow::Result<()> {
    allow::check(config)?;
    let text = match (&args.question, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => {
            std::fs::read_to_string(path).with_context(|| path.display().to_string())?
        }
        (None, None) => bail!("no question"),
    };
    let binary = matches!(args.format, Format::Parquet | Format::Arrow | Format::ArrowStream);
    if binary && args.output.is_none() && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        bail!("this format is not for a terminal: give --output FILE");
    }
    let questions = open(config).await?;
    let limits = Limits { rows_max: u64::MAX, time_max: Duration::from_secs(args.timeout) };
    let mut answer = questions.sql(&text, limits).await?;
    let written = match &args.output {
        Some(path) => {
            let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
            let mut out = std::io::BufWriter::new(file);
            let written = write(&mut answer, args.format, &mut out).await?;
            out.flush()?;
            eprintln!("{} rows in {}", written.rows, path.display());
            written
        }
        None => {
            let written = write(&mut answer, args.format, std::io::stdout()).await?;
            if args.format == Format::Table {
                println!();
            }
            written
        }
    };
    if args.timing {
        eprintln!("elapsed_ms: {:.1}", answer.elapsed().as_secs_f64() * 1e3);
        eprintln!("rows: {}", written.rows);
    }
    Ok(())
}

/// Opens log and store to read them only.
async fn open(config: &Config) -> anyhow::Result<Arc<Questions>> {
    let log = inzira_event_log::open(config.get("INZIRA_LOG"), &config.data, Access::ReadOnly)
        .await
        .map_err(|error| {
            let text = format!("INZIRA_LOG: {error} (is INZIRA_DATA the service's folder?)");
            ConfigError(vec![text])
        })?;
    let store = open_store(config).await?;
    let query = QueryConfig { mode: Mode::Once, ..QueryConfig::default() };
    Ok(Questions::open(log, store, query, Arc::new(SystemClock)).await?)
}
