//! The one binary: reads the configuration, runs one command, leaves with a clear exit code.
//!
//! In:    arguments, a TOML file, the environment.
//! Out:   0 done, 1 failed, 2 bad usage, 78 bad configuration; errors are one line.
//! Never: decides anything about a fix, an order or a franc: the rooms do.

mod admin;
mod allow;
mod commands;
mod config;
mod http;
mod probes;
mod serve;
mod telemetry;

use std::path::PathBuf;
use std::process::ExitCode;

/// The platform's own allocator took a fifth of a fix's way from the socket to the log.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::commands::{demo, log, replay, serve as serving, smooth, sql, verify};
use crate::config::{Config, ConfigError};

/// Exit code of a bad configuration (`EX_CONFIG` of sysexits).
const EXIT_CONFIG: u8 = 78;

#[derive(Parser)]
#[command(
    name = "inzira",
    version,
    about = "Streaming telemetry, bookings and analytics: from a phone's fix to a buyer's map and into SQL",
    after_help = "Examples:\n  inzira demo\n  inzira serve --roles ingest,flow\n  inzira sql \"SELECT count(*) FROM fixes\""
)]
struct Cli {
    /// Configuration file; default: inzira.toml in the working folder, if there is one
    #[arg(long, global = true, env = "INZIRA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the roles (default: all, embedded) until SIGTERM
    Serve(serving::ServeArgs),
    /// Everything in a fresh folder, with a fleet of phones that move
    Demo(demo::DemoArgs),
    /// Plays real traces through the device endpoints of a running service
    Replay(replay::ReplayArgs),
    /// Smooths a trace to CSV; with the truth, the error before and after
    Smooth(smooth::SmoothArgs),
    /// Asks the archive and the log's tail in SQL
    Sql(sql::SqlArgs),
    /// Prints events
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Checks the Parquet files
    #[command(subcommand)]
    Archive(verify::ArchiveCommand),
    /// Checks the audit chain
    #[command(subcommand)]
    Audit(verify::AuditCommand),
    /// Checks the ledger
    #[command(subcommand)]
    Ledger(verify::LedgerCommand),
    /// Prints the effective configuration, secrets hidden
    #[command(after_help = "Example:\n  INZIRA_WORKERS=4 inzira config")]
    Config,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let file =
        cli.config.or_else(|| Some(PathBuf::from("inzira.toml")).filter(|path| path.exists()));
    let config = match Config::load(file.as_deref(), std::env::vars()) {
        Ok(config) => config,
        Err(error) => return fail(&error.into()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(run(cli.command, config));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run(command: Command, config: Config) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serving::run(args, &config).await,
        Command::Demo(args) => demo::run(args, config, on_interrupt()).await,
        Command::Smooth(args) => smooth::run(&args),
        Command::Sql(args) => sql::run(args, &config).await,
        Command::Log(command) => log::run(command, &config).await,
        Command::Archive(verify::ArchiveCommand::Verify) => verify::archive(&config).await,
        Command::Audit(verify::AuditCommand::Verify) => verify::audit(&config).await,
        Command::Ledger(verify::LedgerCommand::Verify) => verify::ledger(&config).await,
        Command::Replay(args) => replay::run(args, &config, on_interrupt()).await,
        Command::Config => {
            print!("{}", config.shown());
            allow::check(&config)?;
            Ok(())
        }
    }
}

/// Cancelled by Ctrl-C.
fn on_interrupt() -> CancellationToken {
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            cancelled.cancel();
        }
    });
    stop
}

/// One clear line for a wrong option; help and version as they are.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        print!("{error}");
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let kept: Vec<&str> =
        lines.iter().copied().take_while(|line| !line.starts_with("Usage:")).collect();
    match kept.as_slice() {
        [] => eprintln!("error: give a command (see inzira --help)"),
        kept => eprintln!("{} (see --help)", kept.join(" ")),
    }
    ExitCode::from(2)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<clap::Error>() {
        return usage(error);
    }
    eprintln!("error: {error:#}");
    if error.chain().any(|cause| cause.is::<ConfigError>()) {
        ExitCode::from(EXIT_CONFIG)
    } else {
        ExitCode::FAILURE
    }
}
