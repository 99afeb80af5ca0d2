//! The real Kafka, Postgres, Redis and MinIO on this machine, for tests and benchmarks.
//!
//! In:    `up`, `down`, `status`.
//! Out:   running, healthy services on loopback, and `target/stack/env` with their addresses.
//! Keeps: `target/stack/`: a folder, a log and a pid a service, the ports it chose.
//! Never: ends a process that it did not start: a pid counts only with its start time.

mod health;
mod kafka;
mod minio;
mod postgres;
mod redis;
mod service;
mod state;
mod tools;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::shell::{in_ci, spell_time, target};
use service::Running;
use state::State;
use tools::Tools;

/// The folder that everything of the stack lies in.
pub fn folder() -> PathBuf {
    target().join("stack")
}

/// The file of `KEY=VALUE` lines that tests read.
pub fn env_file() -> PathBuf {
    folder().join("env")
}

/// Brings every service up that this machine can run. Says at the top what is missing.
pub fn up() -> Result<()> {
    let begun = Instant::now();
    let folder = folder();
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let _lock = lock(&folder)?;
    let tools = Tools::prepare(&folder)?;
    let mut state = State::load(&folder)?;
    let mut failed = Vec::new();
    for name in service::NAMES {
        if let Some(reason) = tools.missing_for(name) {
            println!("  {name:<9} skipped: {reason}");
            state.running.remove(name);
            continue;
        }
        if let Err(error) = bring_up(name, &folder, &mut state, &tools) {
            println!("  {name:<9} FAILED: {error:#}");
            failed.push(name);
        }
        state.save(&folder)?;
    }
    let env = addresses(&state, &tools);
    write_env(&folder, &env)?;
    println!(
        "  stack     up after {}; addresses in {}",
        spell_time(begun.elapsed()),
        env_file().display()
    );
    if !failed.is_empty() {
        bail!("not up: {}", failed.join(", "));
    }
    if in_ci() && tools.skips_anything() {
        bail!("something was skipped, and CI=true makes that a failure");
    }
    Ok(())
}

/// Starts one service unless it runs already.
fn bring_up(name: &str, folder: &Path, state: &mut State, tools: &Tools) -> Result<()> {
    let home = folder.join(name);
    std::fs::create_dir_all(&home)?;
    if let Some(running) = state.running.get(name).filter(|running| running.is_alive()) {
        health::wait(name, running, state, &folder.join(format!("{name}.log")))?;
        println!("  {name:<9} runs already on {}", state.address(name)?);
        return Ok(());
    }
    let begun = Instant::now();
    state.choose_ports(name)?;
    println!("  {name:<9} starting on {} …", state.address(name)?);
    let mut command = match name {
        "kafka" => kafka::prepare(&home, state, tools)?,
        "minio" => minio::prepare(&home, state, tools)?,
        "postgres" => postgres::prepare(&home, state, tools)?,
        "redis" => redis::prepare(&home, state, tools)?,
        other => bail!("no service is called {other}"),
    };
    let log = folder.join(format!("{name}.log"));
    let running = Running::start(&mut command, &log)?;
    std::fs::write(folder.join(format!("{name}.pid")), format!("{}\n", running.pid))?;
    state.running.insert(name.to_owned(), running.clone());
    state.save(folder)?;
    health::wait(name, &running, state, &log)?;
    println!("  {name:<9} ready after {}", spell_time(begun.elapsed()));
    Ok(())
}

/// Ends what `up` started, politely first.
pub fn down(wipe: bool) -> Result<()> {
    let folder = folder();
    if !folder.exists() {
        println!("  stack     was never up");
        return Ok(());
    }
    let _lock = lock(&folder)?;
    let mut state = State::load(&folder)?;
    for name in service::NAMES {
        match state.running.remove(name) {
            Some(running) if running.is_alive() => {
                let begun = Instant::now();
                running.stop(service::patience(name))?;
                println!("  {name:<9} ended after {}", spell_time(begun.elapsed()));
            }
            _ => println!("  {name:<9} did not run"),
        }
        let _ = std::fs::remove_file(folder.join(format!("{name}.pid")));
        if wipe {
            let _ = std::fs::remove_dir_all(folder.join(name));
            if name == "postgres" {
                let _ = std::fs::remove_dir_all(postgres::folder_elsewhere(&folder));
            }
        }
    }
    let _ = std::fs::remove_file(env_file());
    state.save(&folder)
}

/// Shows what runs and where.
pub fn status() -> Result<()> {
    let folder = folder();
    let state = State::load(&folder)?;
    let mut all_up = true;
    for name in service::NAMES {
        let log = folder.join(format!("{name}.log"));
        match state.running.get(name).filter(|running| running.is_alive()) {
            Some(running) => {
                let healthy = health::is_healthy(name, &state);
                all_up &= healthy;
                let word = if healthy { "healthy" } else { "NOT HEALTHY" };
                println!(
                    "  {name:<9} {word}, pid {}, {}, log {}",
                    running.pid,
                    state.address(name)?,
                    log.display()
                );
            }
            None => {
                all_up = false;
                println!("  {name:<9} does not run");
            }
        }
    }
    if all_up {
        println!("  env       {}", env_file().display());
        Ok(())
    } else {
        bail!("not everything is up: `cargo xtask stack up`")
    }
}

/// Whether any service of this checkout runs.
pub fn anything_runs() -> bool {
    State::load(&folder()).is_ok_and(|state| service::NAMES.iter().any(|name| state.is_up(name)))
}

/// The addresses of the last `up`, from its file; empty when there is none.
pub fn env() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(env_file()).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn addresses(state: &State, tools: &Tools) -> Vec<(String, String)> {
    let mut env = Vec::new();
    let mut add = |key: &str, value: String| env.push((key.to_owned(), value));
    if state.is_up("kafka") {
        add("INZIRA_TEST_KAFKA", format!("127.0.0.1:{}", state.port("kafka")));
    }
    if state.is_up("postgres") {
        let port = state.port("postgres");
        add("INZIRA_TEST_POSTGRES", format!("postgres://postgres@127.0.0.1:{port}/postgres"));
    }
    if state.is_up("redis") {
        add("INZIRA_TEST_REDIS", format!("redis://127.0.0.1:{}", state.port("redis")));
    }
    if state.is_up("minio") {
        let endpoint = format!("http://127.0.0.1:{}", state.port("minio"));
        let bucket = minio::BUCKET;
        add("INZIRA_TEST_S3", format!("s3://{bucket}?endpoint={endpoint}&region=us-east-1"));
        add("AWS_ACCESS_KEY_ID", state.key_id.clone());
        add("AWS_SECRET_ACCESS_KEY", state.key_secret.clone());
    }
    for (key, path) in tools.for_tests() {
        add(key, path.display().to_string());
    }
    env
}

fn write_env(folder: &Path, env: &[(String, String)]) -> Result<()> {
    let text: String = env.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    let fresh = folder.join("env.new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, env_file()).context("writing the env file")
}

/// One `up` or `down` at a time in a folder.
fn lock(folder: &Path) -> Result<File> {
    let file = File::create(folder.join("lock"))?;
    if file.try_lock().is_err() {
        println!("  another `stack up` or `stack down` is at work; waiting for it");
        file.lock()?;
    }
    Ok(file)
}
