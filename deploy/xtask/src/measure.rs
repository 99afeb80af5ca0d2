//! `bench` and `faults`: the release build of programs in `tests/`, with their own arguments.
//!
//! In:    the name of a measurement and what follows it.
//! Out:   whatever the program prints; its last line is `key=value` pairs, its exit code ours.
//! Never: measures a debug build.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::shell::{self, cargo, spell_time, target};
use crate::stack;

/// The first release build takes about half an hour on two cores.
const BUILD_LIMIT: Duration = Duration::from_secs(5400);

#[derive(Args)]
pub struct MeasureArgs {
    /// Which one, then its own options
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds and becomes the program `name` of the tests package, beside a release `inzira`.
fn run_release(name: &str, args: &[String]) -> Result<()> {
    let begun = Instant::now();
    let mut build = cargo();
    // The whole workspace: one set of features, so that no other build undoes this one.
    build.args(["build", "--release", "--workspace", "--bins"]);
    shell::run(&mut build, BUILD_LIMIT)?;
    eprintln!("release build: {}", spell_time(begun.elapsed()));
    let mut program = Command::new(target().join("release").join(name));
    program.args(args).envs(stack::env());
    // exec returns only when it failed.
    Err(program.exec()).with_context(|| format!("starting target/release/{name}"))
}

/// As the command line asks; `--real` brings the services up first.
pub fn run(name: &str, args: &MeasureArgs) -> Result<()> {
    if args.args.iter().any(|arg| arg == "--real") {
        stack::up()?;
    }
    run_release(name, &args.args)
}
