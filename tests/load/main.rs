//! `cargo xtask bench NAME`: measures one room, prints one last line of figures.
//!
//! In:    the name of a room's benchmark.
//! Out:   `bench=NAME key=value …`; under a minute each.
//! Never: asserts on a time: ratios of one run count, absolute figures inform.

mod eta;
mod flow;
mod http;
mod ingest;
mod live;
mod raw;
mod rooms;
mod smoothing;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// The same as in the service: rooms are measured in this process too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Devices to the durable log: one-fix POSTs and batches
    Ingest,
    /// The rules in process with workers exchanging, then log to committed log
    Flow,
    /// From a phone's POST to a buyer's frame
    Live,
    /// From the log to committed Parquet, and how fresh SQL is
    Archive,
    /// The revenue heatmap, uncached
    Heatmap,
    /// Tracks against the truth, raw and smoothed
    Smoothing,
    /// Time to go against trips that were not learned from
    Eta,
}

#[derive(Parser)]
#[command(about = "Measures one room", after_help = "Example: bench ingest --seconds 15")]
struct Cli {
    #[arg(value_enum)]
    name: Name,
    /// How long the measured part runs
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Which noise is made (smoothing), which trips are kept back (eta)
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.name {
        Name::Ingest => ingest::run(cli.seconds).await,
        Name::Flow => flow::run(cli.seconds).await,
        Name::Live => live::run(cli.seconds).await,
        Name::Archive => rooms::archive(cli.seconds).await,
        Name::Heatmap => rooms::heatmap().await,
        Name::Smoothing => smoothing::run(cli.seed),
        Name::Eta => eta::run(cli.seed),
    };
    match outcome {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
