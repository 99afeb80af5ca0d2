//! One background process: started apart from us, known by pid and start time, ended politely.
//!
//! In:    a command.
//! Out:   a process in a group of its own, whose output goes to a log file.
//! Never: signals a pid that has been given to another process.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::shell::{spelled, started_at};

/// Every service, in the order of starting.
pub const NAMES: [&str; 4] = ["kafka", "minio", "postgres", "redis"];

/// How long a service may take to end before it is killed.
pub fn patience(name: &str) -> Duration {
    Duration::from_secs(if name == "kafka" { 20 } else { 10 })
}

/// A process that we started.
#[derive(Clone, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    /// Kernel ticks since boot, from `/proc/PID/stat`.
    pub started_ticks: u64,
    /// The signal that asks it to end: Postgres ends its sessions on SIGINT.
    interrupt: bool,
}

impl Running {
    /// Starts a command in a process group of its own.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("writing {}", log.display()))?;
        let name = spelled(command);
        let child = command
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting `{name}`"))?;
        let started_ticks = started_at(child.id())
            .with_context(|| format!("`{name}` ended at once; see {}", log.display()))?;
        let interrupt = name.starts_with("postgres");
        Ok(Self { pid: child.id(), started_ticks, interrupt })
    }

    /// Whether the very process that we started still runs.
    pub fn is_alive(&self) -> bool {
        started_at(self.pid) == Some(self.started_ticks)
    }

    /// Asks it to end, and kills its group after `patience`.
    pub fn stop(&self, patience: Duration) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid)?);
        let polite = if self.interrupt { Signal::SIGINT } else { Signal::SIGTERM };
        let _ = kill(pid, polite);
        let begun = Instant::now();
        while self.is_alive() {
            if begun.elapsed() > patience {
                let _ = killpg(pid, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}
