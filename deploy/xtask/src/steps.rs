//! Steps with a line each, and at the end what took how long.
//!
//! In:    named pieces of work.
//! Out:   a heading before each, a table after all; an error that lists those that failed.
//! Never: stops at the first failure: the later steps say more.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::shell::{in_ci, spell_time};

/// How a step ended.
pub enum Outcome {
    Done,
    /// Not run, with the reason; a failure under `CI=true`.
    Skipped(String),
}

struct Line {
    name: String,
    took: Duration,
    failed: bool,
    remark: String,
}

/// A run of steps.
#[derive(Default)]
pub struct Steps {
    lines: Vec<Line>,
    only: Option<String>,
}

impl Steps {
    /// All steps, or the one named.
    pub fn new(only: Option<String>) -> Self {
        Self { lines: Vec::new(), only }
    }

    /// Whether a step is to run.
    pub fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }

    /// Runs one step; false when it failed.
    pub fn step(&mut self, name: &str, says: &str, work: impl FnOnce() -> Result<Outcome>) -> bool {
        if !self.wants(name) {
            return true;
        }
        println!("\n== {name}: {says}");
        let begun = Instant::now();
        let (failed, remark) = match work() {
            Ok(Outcome::Done) => (false, String::new()),
            Ok(Outcome::Skipped(reason)) => (in_ci(), format!("skipped: {reason}")),
            Err(error) => (true, format!("{error:#}")),
        };
        let took = begun.elapsed();
        if !remark.is_empty() {
            println!("   {remark}");
        }
        println!("   {} {}", if failed { "FAILED after" } else { "took" }, spell_time(took));
        self.lines.push(Line { name: name.to_owned(), took, failed, remark });
        !failed
    }

    /// Prints the table; an error when a step failed or none ran.
    pub fn finish(self) -> Result<()> {
        println!("\nWhat took how long");
        for line in &self.lines {
            let mark = if line.failed { "FAILED" } else { "ok" };
            let remark = line.remark.lines().next().unwrap_or_default();
            println!("  {:<10} {:>12}  {:<6} {}", line.name, spell_time(line.took), mark, remark);
        }
        let total = self.lines.iter().map(|line| line.took).sum();
        println!("  {:<10} {:>12}", "in all", spell_time(total));
        let failed: Vec<&str> =
            self.lines.iter().filter(|line| line.failed).map(|line| line.name.as_str()).collect();
        if self.lines.is_empty() {
            bail!("no step of that name");
        }
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_does_not_hide_the_next_and_is_named_at_the_end() {
        let mut steps = Steps::new(None);
        let mut ran = 0;
        assert!(!steps.step("first", "fails", || bail!("broken")));
        assert!(steps.step("second", "works", || {
            ran += 1;
            Ok(Outcome::Done)
        }));
        assert_eq!(ran, 1);
        assert_eq!(steps.finish().unwrap_err().to_string(), "failed: first");
    }

    #[test]
    fn a_name_that_no_step_has_is_an_error() {
        let mut steps = Steps::new(Some("nothing".to_owned()));
        steps.step("first", "is not wanted", || bail!("must not run"));
        assert!(steps.finish().is_err());
    }
}
