//! `cargo xtask faults NAME`: breaks a running house on purpose and counts what that cost.
//!
//! In:    a fault by name, a number of cycles, a seed.
//! Out:   progress, then one last line of figures; exit 1 when a promise did not hold.
//! Never: asks the service itself what it lost: a ledger outside and another reader say.

mod account;
mod broker;
mod kill;
mod readers;
mod town;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use inzira_tests::ledger::Ledger;
use inzira_tests::{House, Mode};

use crate::town::Town;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fault {
    /// kill -9 of the whole service, aimed at one seam after the other
    Kill,
    /// kill -9 of the Kafka broker while phones send (--real only)
    Broker,
}

#[derive(Parser)]
#[command(
    about = "Breaks a running service on purpose",
    after_help = "Example: faults kill --cycles 50 --real"
)]
struct Cli {
    #[arg(value_enum)]
    fault: Fault,
    /// How often; 50 kills of the service, 5 of the broker unless said otherwise
    #[arg(long)]
    cycles: Option<u32>,
    /// On Kafka, Postgres, Redis and MinIO instead of everything embedded
    #[arg(long)]
    real: bool,
    /// The same seed kills after the same waits
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A running house with a town that lives on it.
pub struct Scene {
    mode: Mode,
    house: House,
    town: Town,
}

impl Scene {
    /// Starts the house and settles the town.
    async fn set(real: bool) -> anyhow::Result<Self> {
        let mode = if real { Mode::Real } else { Mode::Embedded };
        let house = House::start(mode)
            .await?
            .context("the real services are not there: cargo xtask stack up")?;
        let path = std::env::temp_dir().join(format!("inzira-ledger-{}", std::process::id()));
        let town = Town::settle(&house, Arc::new(Ledger::at(&path)?)).await?;
        Ok(Self { mode, house, town })
    }
}

/// The value below which `share` of all lie; 0 without any.
fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share) as usize).copied().unwrap_or_default()
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.fault {
        Fault::Kill => kill::run(cli.cycles.unwrap_or(50), cli.real, cli.seed).await,
        Fault::Broker => broker::run(cli.cycles.unwrap_or(5), cli.real, cli.seed).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
