//! Postgres, as a user that is not root, in a folder which that user can reach.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::state::State;
use super::tools::Tools;
use crate::shell::{is_root, output, run_logged, started_at};

pub fn prepare(home: &Path, state: &State, tools: &Tools) -> Result<Command> {
    let bin = tools.postgres.as_deref().context("postgres is missing")?;
    let owner = if is_root() { Some(postgres_user()?) } else { None };
    let home = reachable(home, owner)?;
    let data = home.join("data");
    if !data.join("PG_VERSION").exists() {
        let _ = std::fs::remove_dir_all(&data);
        let mut initdb = as_user(&bin.join("initdb"), owner, &home);
        initdb
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
            .arg("--pgdata")
            .arg(&data);
        run_logged(&mut initdb, &home.join("initdb.log"), Duration::from_secs(120))?;
    }
    drop_stale_pid_file(&data);
    let mut command = as_user(&bin.join("postgres"), owner, &home);
    command.arg("-D").arg(&data).arg("-p").arg(state.port("postgres").to_string()).args([
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
        "-c",
        "max_connections=300",
        "-c",
        "shared_buffers=256MB",
    ]);
    Ok(command)
}

/// A server that was killed leaves its pid behind. Postgres takes a dead process that nobody has
/// collected for a living one, and would not start.
fn drop_stale_pid_file(data: &Path) {
    let file = data.join("postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
    if pid.is_some_and(|pid| started_at(pid).is_none()) {
        let _ = std::fs::remove_file(file);
    }
}

/// Where Postgres keeps its data when its user cannot reach the checkout.
pub fn folder_elsewhere(stack: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    stack.hash(&mut hasher);
    std::env::temp_dir().join(format!("inzira-stack-postgres-{:016x}", hasher.finish()))
}

fn as_user(program: &Path, owner: Option<(u32, u32)>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(home);
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command
}

fn postgres_user() -> Result<(u32, u32)> {
    let id = |which: &str| -> Result<u32> {
        let text = output(Command::new("id").args([which, "postgres"]))?;
        text.trim().parse().context("reading the id of the user postgres")
    };
    Ok((id("-u")?, id("-g")?))
}

/// `home` itself when its user can walk to it, else a folder under the temporary one.
fn reachable(home: &Path, owner: Option<(u32, u32)>) -> Result<PathBuf> {
    let Some((uid, gid)) = owner else { return Ok(home.to_path_buf()) };
    let open = |folder: &Path| folder.metadata().is_ok_and(|meta| meta.mode() & 0o001 != 0);
    let home = match home.parent() {
        Some(stack) if !stack.ancestors().all(open) => {
            let elsewhere = folder_elsewhere(stack);
            println!("  postgres  its user cannot reach the checkout: {}", elsewhere.display());
            std::fs::create_dir_all(&elsewhere)?;
            elsewhere
        }
        _ => home.to_path_buf(),
    };
    std::os::unix::fs::chown(&home, Some(uid), Some(gid)).context("handing over the folder")?;
    Ok(home)
}
