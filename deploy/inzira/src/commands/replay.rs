//! `inzira replay`: plays real traces through the device endpoints of a running service.
//!
//! In:    trace files or folders, a pace, a log-in.
//! Out:   a progress bar, then one line: sent, accepted, set aside by reason, fixes a second.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use inzira_schemas::{Clock, SystemClock};
use inzira_simulators::client::{FirstLogins, Service};
use inzira_simulators::replay::{Counts, Pace, Plan, Protocol, Replay, schedule};
use inzira_simulators::traces;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::Config;

/// How phones speak in a replay.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Speech {
    /// Our own JSON.
    Json,
    /// Traccar Client's form.
    Osmand,
    /// OwnTracks.
    Owntracks,
}

/// Options of `inzira replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inzira replay bus.gpx --speed 10\n  inzira replay cabs/ --flat-out --batch 500\n  inzira replay old.csv --as-is --to http://10.0.0.5:8000"
)]
pub struct ReplayArgs {
    /// Trace files or folders: CSV, GPX, PLT, NDJSON, cabspotting, Porto; found by content
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How the phones speak
    #[arg(long, value_enum, default_value_t = Speech::Json)]
    protocol: Speech,
    /// Times as fast as it happened; the gaps that the fixes carry stay true
    #[arg(long, default_value_t = 1.0, conflicts_with = "flat_out")]
    speed: f64,
    /// As fast as the service takes it; the newest fix is now
    #[arg(long)]
    flat_out: bool,
    /// Times untouched, as a backlog
    #[arg(long)]
    as_is: bool,
    /// Press the carried times together with the pace: always fresh, but so many times faster
    #[arg(long, conflicts_with_all = ["as_is", "flat_out"])]
    squeeze: bool,
    /// Only so many seconds before the end of each track
    #[arg(long, value_name = "SECONDS")]
    last: Option<i64>,
    /// Address of the service
    #[arg(long, value_name = "URL")]
    to: Option<Url>,
    /// Fixes a request at most (protocol json)
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Vehicles that send at the same moment
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Phone number of an operator; default: first-logins.json in the data folder
    #[arg(long, env = "INZIRA_LOGIN")]
    login: Option<String>,
    /// The operator's password
    #[arg(long, env = "INZIRA_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

/// Runs it.
pub async fn run(args: ReplayArgs, config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    if !(args.speed.is_finite() && args.speed > 0.0) {
        bail!("--speed must be more than 0");
    }
    let read = traces::read_all(&args.files)?;
    eprintln!(
        "{} vehicles, {} fixes{}",
        read.tracks.len(),
        read.len(),
        if read.skipped > 0 {
            format!(", {} lines held no point", read.skipped)
        } else {
            String::new()
        }
    );
    let service = log_in(&args, config).await?;
    let plan = Plan {
        pace: if args.flat_out { Pace::FlatOut } else { Pace::Times(args.speed) },
        as_is: args.as_is,
        squeeze: args.squeeze,
        last_s: args.last,
    };
    let plans = schedule(&read.tracks, plan, SystemClock.now());
    let total: usize = plans.iter().map(|plan| plan.fixes.len()).sum();
    let counts = Arc::new(Counts::default());
    let replay = Replay {
        service,
        protocol: match args.protocol {
            Speech::Json => Protocol::Json,
            Speech::Osmand => Protocol::Osmand,
            Speech::Owntracks => Protocol::Owntracks,
        },
        batch_fixes: args.batch,
        connections: args.connections,
        counts: counts.clone(),
        stop,
    };
    let bar = bar(total as u64)?;
    let drawn = tokio::spawn(draw(bar.clone(), counts));
    let summary = replay.run(plans).await;
    drawn.abort();
    bar.finish_and_clear();
    let summary = summary?;
    println!("{summary}");
    if summary.unsent > 0 {
        bail!("{} fixes were never answered", summary.unsent);
    }
    Ok(())
}

async fn log_in(args: &ReplayArgs, config: &Config) -> anyhow::Result<Service> {
    let first = FirstLogins::read(&config.data).unwrap_or_default();
    let key = config.optional("INZIRA_GATEWAY_KEY").unwrap_or_else(|| first.gateway_key.clone());
    let base = match &args.to {
        Some(url) => url.clone(),
        None => Url::parse(&config.public_url()).context("INZIRA_PUBLIC_URL")?,
    };
    let (phone, password) = match (&args.login, &args.password, first.of("operator")) {
        (Some(phone), Some(password), _) => (phone.clone(), password.clone()),
        (None, None, Some(login)) => (login.phone.clone(), login.password.clone()),
        _ => bail!(
            "no log-in: give --login and --password of an operator, or point INZIRA_DATA at the \
             folder of the service ({} has no {})",
            config.data.display(),
            FirstLogins::FILE
        ),
    };
    let mut service = Service::at(base, &key);
    service.log_in(&phone, &password).await?;
    Ok(service)
}

fn bar(total: u64) -> anyhow::Result<ProgressBar> {
    let style =
        ProgressStyle::with_template("{bar:40} {pos}/{len} fixes, {per_sec}, {eta} to go, {msg}")?;
    Ok(ProgressBar::new(total).with_style(style))
}

async fn draw(bar: ProgressBar, counts: Arc<Counts>) {
    loop {
        bar.set_position(counts.done());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
