//! A lean HTTP/1.1 client for load: one connection, requests made beforehand, answers skimmed.
//!
//! In:    bytes of a whole request.
//! Out:   the status code.
//! Never: more than one request under way on a connection.

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One keep-alive connection.
pub struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    /// Connects.
    pub async fn to(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| address.to_owned())?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(1024) })
    }

    /// Sends a request and waits for the whole answer.
    pub async fn ask(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("closed in the middle of an answer");
            }
            if let Some(head_end) = find(&self.buffer, b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.buffer[..head_end])?;
                let status = head.get(9..12).and_then(|text| text.parse().ok());
                let length = head
                    .lines()
                    .find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned)
                    })
                    .and_then(|text| text.trim().parse::<usize>().ok())
                    .context("an answer without its length")?;
                while self.buffer.len() < head_end + 4 + length {
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        bail!("closed in the middle of a body");
                    }
                }
                return status.context("an answer without a status");
            }
        }
    }
}

/// A `POST` of fixes as JSON.
pub fn fixes_request(token: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /api/v1/tracking/location HTTP/1.1\r\nhost: l\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
