//! `cargo xtask demo`: pages, program, then the program itself takes over.
//!
//! In:    a checkout with Rust, a C compiler and, for the pages, Node.
//! Out:   everything running on this machine until Ctrl-C.
//! Never: stands between Ctrl-C and the program: it becomes the program.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::pages;
use crate::shell::{cargo, find_tool, run, target};
use crate::steps::{Outcome, Steps};

/// The first build takes about ten minutes on two cores.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

#[derive(Args)]
pub struct DemoArgs {
    /// Also give an address and a QR code with which a real phone joins
    #[arg(long)]
    lan: bool,
    /// Phones on the road
    #[arg(long)]
    drivers: Option<u32>,
    /// How many times faster than life they drive
    #[arg(long)]
    speed: Option<f64>,
    /// Anything else for `inzira demo`
    #[arg(last = true)]
    more: Vec<String>,
}

/// Builds what is stale and becomes `inzira demo`.
pub fn demo(args: &DemoArgs) -> Result<()> {
    let mut steps = Steps::new(None);
    let mut ready = steps.step("tools", "what a demo needs", check_tools);
    if ready {
        // Pages that fail to build are said, and do not keep the service from running.
        steps.step("pages", "npm ci, npm run build", pages::build_if_stale);
        ready = steps.step("build", "inzira, first time about ten minutes", || {
            let mut build = cargo();
            build.args(["build", "--profile", "demo", "--package", "inzira"]);
            run(&mut build, BUILD_LIMIT).map(|()| Outcome::Done)
        });
    }
    let outcome = steps.finish();
    if !ready {
        return outcome;
    }
    println!();
    let mut program = Command::new(target().join("demo/inzira"));
    program.arg("demo");
    if args.lan {
        program.arg("--lan");
    }
    if let Some(drivers) = args.drivers {
        program.arg("--drivers").arg(drivers.to_string());
    }
    if let Some(speed) = args.speed {
        program.arg("--speed").arg(speed.to_string());
    }
    // exec returns only when it failed.
    Err(program.args(&args.more).exec()).context("starting target/demo/inzira")
}

fn check_tools() -> Result<Outcome> {
    let compiler = ["cc", "gcc", "clang"].into_iter().find(|name| find_tool(name).is_some());
    let npm = find_tool("npm").is_some();
    println!("   Rust: yes, C compiler: {}, Node: {}", compiler.unwrap_or("no"), spell(npm));
    if compiler.is_none() {
        bail!("no C compiler: `apt-get install build-essential`");
    }
    Ok(Outcome::Done)
}

fn spell(yes: bool) -> &'static str {
    if yes { "yes" } else { "no (the pages will be those built before, or none)" }
}
