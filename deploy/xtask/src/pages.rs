//! The pages of `api/web`: built with Node when it is there.
//!
//! In:    `api/web` and its lock file.
//! Out:   `api/web/dist`, or a plain word about why not.
//! Never: fetches or builds again what has not changed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::Args;

use crate::shell::{find_tool, root, run};
use crate::steps::Outcome;

const LIMIT: Duration = Duration::from_secs(900);

#[derive(Args)]
pub struct ShotsArgs {
    /// What to look at, as the script in api/web takes it; nothing: every state of every page
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pages: Vec<String>,
}

fn web() -> PathBuf {
    root().join("api/web")
}

/// Why pages cannot be built here; `None` when they can.
fn cannot() -> Option<String> {
    if !web().join("package.json").exists() {
        Some("no pages in api/web yet".to_owned())
    } else if find_tool("npm").is_none() {
        Some("no npm: install Node 20 or newer (`apt-get install nodejs npm`)".to_owned())
    } else {
        None
    }
}

/// Builds the pages when they are older than their sources.
pub fn build_if_stale() -> Result<Outcome> {
    let web = web();
    if let Some(reason) = cannot() {
        let old =
            if web.join("dist/index.html").exists() { ", the built ones are used" } else { "" };
        return Ok(Outcome::Skipped(format!("{reason}{old}")));
    }
    let newest = newest_source(&web)?;
    let built = modified(&web.join("dist/index.html"));
    if built.is_some_and(|built| built > newest) {
        println!("   up to date");
        return Ok(Outcome::Done);
    }
    install(&web)?;
    npm(&["run", "build"])?;
    Ok(Outcome::Done)
}

/// Every check that the pages have, then the build.
pub fn check() -> Result<Outcome> {
    if let Some(reason) = cannot() {
        return Ok(Outcome::Skipped(reason));
    }
    install(&web())?;
    for script in ["lint", "typecheck", "test", "build", "size"] {
        npm(&["run", "--if-present", script])?;
    }
    Ok(Outcome::Done)
}

/// The pages' own tests in a real browser.
pub fn in_browser(env: &[(String, String)]) -> Result<Outcome> {
    if let Some(reason) = cannot() {
        return Ok(Outcome::Skipped(reason));
    }
    if find_tool("chromium").is_none() {
        return Ok(Outcome::Skipped("no chromium: `apt-get install chromium`".to_owned()));
    }
    install(&web())?;
    let mut tests = Command::new("npm");
    tests.current_dir(web()).args(["run", "--if-present", "e2e"]);
    run(tests.envs(env.iter().map(|(key, value)| (key, value))), LIMIT)?;
    Ok(Outcome::Done)
}

/// `npm run shots -- …` in `api/web`.
pub fn shots(args: &ShotsArgs) -> Result<()> {
    if let Some(reason) = cannot() {
        anyhow::bail!("{reason}");
    }
    install(&web())?;
    let mut script = vec!["run", "shots", "--"];
    script.extend(args.pages.iter().map(String::as_str));
    npm(&script)
}

/// `npm ci`, unless the folder is as new as the lock file.
fn install(web: &Path) -> Result<()> {
    let lock = modified(&web.join("package-lock.json"));
    let installed = modified(&web.join("node_modules/.package-lock.json"));
    match (lock, installed) {
        (Some(lock), Some(installed)) if installed >= lock => Ok(()),
        _ => npm(&["ci", "--no-audit", "--no-fund"]),
    }
}

fn npm(args: &[&str]) -> Result<()> {
    run(Command::new("npm").current_dir(web()).args(args), LIMIT)
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|meta| meta.modified()).ok()
}

/// When any source of the pages changed last; what is made from them does not count.
fn newest_source(folder: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name == "node_modules" || name == "dist" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        let changed = if entry.file_type()?.is_dir() {
            newest_source(&entry.path())?
        } else {
            modified(&entry.path()).unwrap_or(newest)
        };
        newest = newest.max(changed);
    }
    Ok(newest)
}
