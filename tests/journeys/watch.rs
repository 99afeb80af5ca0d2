//! A buyer: watches an order, keeps every frame, resumes after a break.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;

/// What a buyer has seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Every frame but pings, in order, with the moment of its arrival (microseconds UTC).
    pub frames: Vec<(i64, Value)>,
    /// How often the line broke.
    pub breaks: u64,
    cursor: Option<String>,
}

impl Seen {
    /// Frames of one kind of event, repeats included.
    pub fn count(&self, kind: &str) -> usize {
        let is = |frame: &Value| frame["type"] == "event" && frame["event"] == kind;
        self.frames.iter().filter(|(_, frame)| is(frame)).count()
    }
}

/// A watcher that runs until it is dropped.
pub struct Watcher {
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Watches `url` (`ws://…/live`) with a gateway key, authenticating with `token` in the first
    /// frame.
    pub fn start(url: String, gateway_key: String, token: String) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), CancellationToken::new());
        let task =
            tokio::spawn(watch(Line { url, gateway_key, token }, seen.clone(), stop.clone()));
        Self { seen, stop, task: Some(task) }
    }

    /// Looks over the buyer's shoulder.
    pub fn shared(&self) -> Arc<Mutex<Seen>> {
        self.seen.clone()
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().map(|seen| seen.clone()).unwrap_or_default()
    }

    /// Waits until `wanted` holds of what was seen; false after `most`.
    pub async fn until(&self, most: Duration, wanted: impl Fn(&Seen) -> bool) -> bool {
        let began = std::time::Instant::now();
        while began.elapsed() < most {
            if wanted(&self.seen()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        wanted(&self.seen())
    }

    /// Stops watching.
    pub async fn end(mut self) -> Seen {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            let ended = task.await;
            if let Err(error) = ended {
                eprintln!("a watcher failed: {error}");
            }
        }
        self.seen()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Where to and as whom.
struct Line {
    url: String,
    gateway_key: String,
    token: String,
}

async fn watch(line: Line, seen: Arc<Mutex<Seen>>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let after = seen.lock().ok().and_then(|seen| seen.cursor.clone());
        let address = match after {
            Some(cursor) => format!("{}?after={cursor}", line.url),
            None => line.url.clone(),
        };
        tokio::select! {
            () = until_it_breaks(&address, &line, &seen) => {}
            () = stop.cancelled() => return,
        }
        if let Ok(mut seen) = seen.lock() {
            seen.breaks += 1;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_it_breaks(address: &str, with: &Line, seen: &Arc<Mutex<Seen>>) {
    let Ok(mut request) = address.into_client_request() else { return };
    let Ok(key) = with.gateway_key.parse() else { return };
    request.headers_mut().insert("x-inzira-key", key);
    let Ok((mut line, _)) = connect_async(request).await else { return };
    let auth = json!({"type": "auth", "token": with.token}).to_string();
    if line.send(Message::text(auth)).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = line.next().await {
        let Message::Text(text) = message else { continue };
        let Ok(frame) = serde_json::from_str::<Value>(&text) else { continue };
        let Ok(mut seen) = seen.lock() else { return };
        if let Some(cursor) = frame["cursor"].as_str() {
            seen.cursor = Some(cursor.to_owned());
        }
        if frame["type"] != "ping" {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let now_us = now.map(|since| since.as_micros() as i64).unwrap_or_default();
            seen.frames.push((now_us, frame));
        }
    }
}
