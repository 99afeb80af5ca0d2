//! What `stack` remembers between calls: ports, keys and the processes it started.
//!
//! In:    `target/stack/state.json`.
//! Out:   the same ports again as long as they are free.
//! Never: leaves half a file.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::service::Running;

/// Below the range from which the kernel takes ports for outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

#[derive(Default, Serialize, Deserialize)]
pub struct State {
    /// Ports by use: `kafka`, `kafka-controller`, `minio`, `minio-console`, …
    ports: BTreeMap<String, u16>,
    pub running: BTreeMap<String, Running>,
    /// MinIO's keys, made once.
    pub key_id: String,
    pub key_secret: String,
}

impl State {
    pub fn load(folder: &Path) -> Result<Self> {
        let file = folder.join("state.json");
        let mut state: Self = match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is not ours; delete it", file.display()))?,
            Err(_) => Self::default(),
        };
        if state.key_id.is_empty() {
            state.key_id = random_hex(10)?;
            state.key_secret = random_hex(20)?;
        }
        Ok(state)
    }

    pub fn save(&self, folder: &Path) -> Result<()> {
        let fresh = folder.join("state.json.new");
        std::fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&fresh, folder.join("state.json")).context("saving the stack's state")
    }

    /// The port of a use; 0 when none was chosen.
    pub fn port(&self, name: &str) -> u16 {
        self.ports.get(name).copied().unwrap_or_default()
    }

    pub fn address(&self, name: &str) -> Result<String> {
        match self.port(name) {
            0 => bail!("{name} has no port"),
            port => Ok(format!("127.0.0.1:{port}")),
        }
    }

    pub fn is_up(&self, name: &str) -> bool {
        self.running.get(name).is_some_and(Running::is_alive)
    }

    /// Chooses the ports of a service that is about to start: the same as last time when free.
    pub fn choose_ports(&mut self, name: &str) -> Result<()> {
        let uses: &[&str] = match name {
            "kafka" => &["kafka", "kafka-controller"],
            "minio" => &["minio", "minio-console"],
            "postgres" => &["postgres"],
            "redis" => &["redis"],
            other => bail!("no service is called {other}"),
        };
        for used in uses {
            if !is_free(self.port(used)) {
                let port = self.free_port()?;
                self.ports.insert((*used).to_owned(), port);
            }
        }
        Ok(())
    }

    fn free_port(&self) -> Result<u16> {
        let mut bytes = [0; 2];
        random(&mut bytes)?;
        let span = PORTS.end - PORTS.start;
        let first = u16::from_le_bytes(bytes) % span;
        (0..span)
            .map(|step| PORTS.start + (first + step) % span)
            .find(|port| !self.ports.values().any(|taken| taken == port) && is_free(*port))
            .context("no free port from 20000 to 32000")
    }
}

fn is_free(port: u16) -> bool {
    port != 0 && TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn random(bytes: &mut [u8]) -> Result<()> {
    std::fs::File::open("/dev/urandom")?.read_exact(bytes).context("reading /dev/urandom")
}

fn random_hex(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// 22 characters of random base 64, as Kafka names a cluster.
pub fn cluster_id() -> Result<String> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = [0; 22];
    random(&mut bytes)?;
    // The last of 22 characters carries 2 bits of the 128: only A, Q, g and w leave none over.
    let mut id: String =
        bytes[..21].iter().map(|byte| char::from(LETTERS[usize::from(*byte) % 62])).collect();
    id.push(char::from(b"AQgw"[usize::from(bytes[21]) % 4]));
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_the_same_while_free_and_differ_from_each_other() {
        let mut state = State::default();
        for name in super::super::service::NAMES {
            state.choose_ports(name).unwrap();
        }
        let first = state.ports.clone();
        let distinct: std::collections::BTreeSet<u16> = first.values().copied().collect();
        assert_eq!(distinct.len(), 6);
        let taken = TcpListener::bind(("127.0.0.1", state.port("redis"))).unwrap();
        state.choose_ports("redis").unwrap();
        assert_ne!(state.port("redis"), first["redis"], "its port was taken by another");
        drop(taken);
        state.choose_ports("minio").unwrap();
        assert_eq!(state.port("minio"), first["minio"]);
    }
}
