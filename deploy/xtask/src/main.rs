//! What a developer and a checker run: `cargo xtask COMMAND`.
//!
//! In:    a command and its arguments.
//! Out:   progress, a line a step; at the end what took how long; exit 1 when a promise fails.
//! Keeps: everything it makes in the target folder, what is costly to make again in
//!        `~/.cache/inzira`.
//! Never: touches a process or a file that it did not make.

mod demo;
mod licences;
mod measure;
mod pages;
mod shell;
mod stack;
mod steps;
mod test;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, real services, checks, benchmarks.")]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Build and start everything on this machine, with a fleet of phones on the road
    Demo(demo::DemoArgs),
    /// Run every check and every test, on both sides of each seam
    Test(test::TestArgs),
    /// Start, end or show the real Kafka, Postgres, Redis and MinIO that tests use
    Stack {
        #[command(subcommand)]
        action: StackAction,
    },
    /// Check the licences, sources and doubled versions of all dependencies
    Licences,
    /// Take screenshots of the pages with headless Chromium: `shots [PAGE…]`
    Shots(pages::ShotsArgs),
    /// Measure one thing with the release build: `bench ingest|flow|live|archive|heatmap|…`
    Bench(measure::MeasureArgs),
    /// Break things and count what was lost: `faults kill|broker [--real] [--cycles N] [--seed N]`
    Faults(measure::MeasureArgs),
}

#[derive(Subcommand, Clone, Copy)]
enum StackAction {
    /// Install what is missing, start what does not run, wait until all are healthy
    Up,
    /// End exactly what `up` started
    Down {
        /// Also delete the services' data
        #[arg(long)]
        wipe: bool,
    },
    /// Show what runs, where, and where its log is
    Status,
}

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        None => Args::command().print_help().map_err(anyhow::Error::from),
        Some(Command::Demo(args)) => demo::demo(&args),
        Some(Command::Test(args)) => test::test(&args),
        Some(Command::Stack { action: StackAction::Up }) => stack::up(),
        Some(Command::Stack { action: StackAction::Down { wipe } }) => stack::down(wipe),
        Some(Command::Stack { action: StackAction::Status }) => stack::status(),
        Some(Command::Licences) => licences::check(),
        Some(Command::Shots(args)) => pages::shots(&args),
        Some(Command::Bench(args)) => measure::run("bench", &args),
        Some(Command::Faults(args)) => measure::run("faults", &args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
