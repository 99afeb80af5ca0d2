//! `cargo xtask faults NAME`: breaks a running house on purpose and counts what that cost.
//!
//! In:    a fault by name, a number of cycles, a seed.
//! Out:   progress, then one last line of figures; exit 1 when a promise did not hold.
//! Never: asks the service itself what it lost: a ledger outside and another reader say.

mod kill;
mod readers;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fault {
    /// kill -9 of the whole service at random moments, with requests in flight
    Kill,
}

#[derive(Parser)]
#[command(
    about = "Breaks a running service on purpose",
    after_help = "Example: faults kill --cycles 50 --real"
)]
struct Cli {
    #[arg(value_enum)]
    fault: Fault,
    /// How often
    #[arg(long, default_value_t = 50)]
    cycles: u32,
    /// On Kafka, Postgres, Redis and MinIO instead of everything embedded
    #[arg(long)]
    real: bool,
    /// The same seed kills after the same waits
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.fault {
        Fault::Kill => kill::run(cli.cycles, cli.real, cli.seed).await,
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
