//! `cargo xtask test`: every check and every test, on both sides of each seam.
//!
//! In:    a fresh clone, or a warm one.
//! Out:   a step a line, what took how long, and a closing `N passed, N failed`.
//! Keeps: one target folder and one set of features, so that nothing is built twice.
//! Never: ends services that ran before it came.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::shell::{cargo, run, run_watched};
use crate::steps::{Outcome, Steps};
use crate::{licences, pages, stack};

const QUICK: Duration = Duration::from_secs(300);
const BUILD: Duration = Duration::from_secs(3600);
/// All tests together, both sides of each seam.
const TESTS: Duration = Duration::from_secs(2700);

#[derive(Args)]
pub struct TestArgs {
    /// One step alone: fmt, licences, pages, clippy, build, stack, browser, tests, end
    #[arg(long)]
    only: Option<String>,
    /// Leave out the real services: their tests say that they were skipped
    #[arg(long)]
    no_services: bool,
}

#[derive(Default, Debug, PartialEq)]
struct Count {
    passed: u64,
    failed: u64,
}

pub fn test(args: &TestArgs) -> Result<()> {
    let mut steps = Steps::new(args.only.clone());
    let mut count = Count::default();
    steps.step("fmt", "cargo fmt --all --check", || {
        run(cargo().args(["fmt", "--all", "--check"]), QUICK).map(|()| Outcome::Done)
    });
    steps.step("licences", "licences, sources and doubled versions", || {
        licences::check().map(|()| Outcome::Done)
    });
    // Before anything is compiled: the program carries the pages within it.
    steps.step("pages", "npm ci; lint, types, unit tests, build", pages::check);
    steps.step("clippy", "all targets, warnings denied", || {
        let mut clippy = cargo();
        clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
        run(&mut clippy, BUILD).map(|()| Outcome::Done)
    });
    let built = steps.step("build", "programs and tests, seven minutes when fresh", build);
    let mut ours_to_end = false;
    let mut env = Vec::new();
    if args.no_services {
        println!("\n== stack: left out, as asked");
    } else {
        env = stack::env();
        let ran_before = stack::anything_runs();
        steps.step("stack", "Kafka, Postgres, Redis, MinIO", || {
            ours_to_end = !ran_before;
            let outcome = stack::up();
            // What came up is used even when the rest did not.
            env = stack::env();
            outcome.map(|()| Outcome::Done)
        });
    }
    steps.step("browser", "the pages in headless Chromium", || pages::in_browser(&env));
    if built {
        steps.step("tests", "cargo test --workspace", || run_tests(&env, &mut count));
    }
    if ours_to_end {
        steps.step("end", "ends the services", || stack::down(true).map(|()| Outcome::Done));
    }
    let outcome = steps.finish();
    if count != Count::default() {
        println!("\n{} passed, {} failed", count.passed, count.failed);
    }
    outcome
}

fn build() -> Result<Outcome> {
    // The programs too: tests of the whole system start them as processes.
    run(cargo().args(["build", "--workspace", "--bins"]), BUILD)?;
    run(cargo().args(["test", "--workspace", "--no-run"]), BUILD)?;
    Ok(Outcome::Done)
}

fn run_tests(env: &[(String, String)], count: &mut Count) -> Result<Outcome> {
    let mut tests = cargo();
    tests
        .args(["test", "--workspace", "--no-fail-fast"])
        .envs(env.iter().map(|(key, value)| (key, value)));
    let outcome = run_watched(&mut tests, TESTS, |line| count.add(line));
    outcome?;
    if count.passed == 0 {
        bail!("not one test ran");
    }
    Ok(Outcome::Done)
}

impl Count {
    /// Adds what a closing line of the test harness says:
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        for part in rest.split([';', '.']) {
            let mut words = part.split_whitespace();
            match (words.next().and_then(|number| number.parse::<u64>().ok()), words.next()) {
                (Some(number), Some("passed")) => self.passed += number,
                (Some(number), Some("failed")) => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_the_harness_are_summed() {
        let mut count = Count::default();
        count.add("running 3 tests");
        count.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; finished in 0.1s");
        count.add("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured");
        assert_eq!(count, Count { passed: 7, failed: 2 });
    }
}
