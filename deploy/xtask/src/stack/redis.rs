//! Redis: nothing on disk; it is never the only copy of anything.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::state::State;
use super::tools::Tools;

pub fn prepare(home: &Path, state: &State, tools: &Tools) -> Result<Command> {
    let mut command = Command::new(tools.redis.as_deref().context("redis-server is missing")?);
    command
        .arg("--port")
        .arg(state.port("redis").to_string())
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(home);
    Ok(command)
}
