//! Whether a service answers what it is for, spoken in its own protocol.
//!
//! In:    a port on loopback.
//! Out:   true once it serves; an error when its process ended or its time is up.
//! Never: takes an open port for a healthy service.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::service::Running;
use super::state::State;
use crate::shell::{spell_time, tail};

/// How long a service may take to become healthy: the slowest needs 5 s on an idle machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits until the service answers.
pub fn wait(name: &str, running: &Running, state: &State, log: &Path) -> Result<()> {
    let begun = Instant::now();
    let mut next_word = Duration::from_secs(5);
    while !is_healthy(name, state) {
        let waited = begun.elapsed();
        if !running.is_alive() {
            bail!("its process ended; {}:\n{}", log.display(), tail(log, 15));
        }
        if waited > LIMIT {
            bail!("no answer within {}; {}:\n{}", spell_time(LIMIT), log.display(), tail(log, 15));
        }
        if waited > next_word {
            println!("  {name:<9} still starting after {} …", spell_time(waited));
            next_word += Duration::from_secs(5);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Asks once.
pub fn is_healthy(name: &str, state: &State) -> bool {
    let port = state.port(name);
    match name {
        "kafka" => kafka(port),
        "minio" => minio(port),
        "postgres" => postgres(port),
        "redis" => redis(port),
        _ => None,
    }
    .unwrap_or(false)
}

/// Sends `question` and reads up to `N` bytes of the answer.
fn ask<const N: usize>(port: u16, question: &[u8]) -> Option<[u8; N]> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    stream.write_all(question).ok()?;
    let mut answer = [0; N];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

/// A Metadata request, version 0, for all topics: answered once the broker serves. The answer
/// lists the brokers behind its length and correlation id.
fn kafka(port: u16) -> Option<bool> {
    // length, key 3, version 0, correlation id 7, no client id, no topics named
    const METADATA: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0];
    let answer: [u8; 12] = ask(port, &METADATA)?;
    let brokers = i32::from_be_bytes([answer[8], answer[9], answer[10], answer[11]]);
    Some(answer[4..8] == [0, 0, 0, 7] && brokers == 1)
}

fn minio(port: u16) -> Option<bool> {
    let question = format!(
        "GET /minio/health/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    );
    let answer: [u8; 12] = ask(port, question.as_bytes())?;
    Some(&answer == b"HTTP/1.1 200")
}

/// The first message of a session; `R` means it let us in, `E` that it is still starting.
fn postgres(port: u16) -> Option<bool> {
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let mut question = u32::try_from(body.len() + 4).ok()?.to_be_bytes().to_vec();
    question.extend_from_slice(body);
    let answer: [u8; 1] = ask(port, &question)?;
    Some(&answer == b"R")
}

fn redis(port: u16) -> Option<bool> {
    let answer: [u8; 5] = ask(port, b"PING\r\n")?;
    Some(&answer == b"+PONG")
}
