//! `inzira serve`: runs the roles until SIGTERM or Ctrl-C.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use inzira_simulators::client::FirstLogins;

use crate::admin::Board;
use crate::config::Config;
use crate::serve::{Role, Running, start};
use crate::telemetry;

/// Options of `inzira serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inzira serve\n  INZIRA_LOG=kafka://h:9092 INZIRA_BUS=redis://h inzira serve --roles ingest,flow,fan-out,api"
)]
pub struct ServeArgs {
    /// What this process does; default: everything
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Role::ALL)]
    roles: Vec<Role>,
}

/// Runs until it is told to leave.
pub async fn run(args: ServeArgs, config: &Config) -> anyhow::Result<()> {
    telemetry::start_logs(config.get("INZIRA_LOG_LEVEL"))?;
    let board = Board::new(Some(telemetry::start_metrics()?));
    let running = started(config, &args.roles, board).await?;
    println!("listening http=http://{} admin=http://{}", running.http, running.admin);
    tokio::select! {
        outcome = told_to_leave() => outcome?,
        () = running.failed() => {
            running.stop(Duration::ZERO).await?;
            bail!("a room failed; see the log");
        }
    }
    // A second signal leaves at once: whatever was answered is durable already.
    tokio::spawn(async {
        if told_to_leave().await.is_ok() {
            std::process::exit(1);
        }
    });
    running.stop(Duration::from_secs(config.drain_wait_seconds)).await
}

/// Starts, and keeps the log-ins of a first start for the folder's owner.
pub async fn started(
    config: &Config,
    roles: &[Role],
    board: Arc<Board>,
) -> anyhow::Result<Running> {
    let running = start(config, roles, board).await?;
    if let Some(first) = &running.first_logins {
        let path = config.data.join(FirstLogins::FILE);
        let text = serde_json::to_string_pretty(first)?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        println!("first start: log-ins are in {} (for its owner alone)", path.display());
    }
    Ok(running)
}

async fn told_to_leave() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        outcome = tokio::signal::ctrl_c() => outcome?,
    }
    Ok(())
}
