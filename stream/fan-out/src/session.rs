//! One watcher of one order, whatever the line.
//!
//! In:    the order, a cursor if it was here before, the bus, the tail.
//! Out:   a snapshot, missed events, then positions and events as they come; a reason at the end.
//! Keeps: one cursor and the newest position; events wait in the shared window or in the log.
//! Never: sends an event twice or skips one; holds a line to somebody who may no longer watch.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::ws::Utf8Bytes;
use inzira_live_bus::{LivePosition, Watch};
use inzira_schemas::identity::{Caller, OrderView};
use inzira_schemas::states::TrackingKind;
use tokio::time::{Instant, interval_at, timeout};

use crate::Shared;
use crate::frame::{self, Cursor, Frame, PositionBody};
use crate::tail::TailError;

/// Why a line ended; the number is the WebSocket close code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The watcher went away.
    Gone,
    /// The order is closed and everything was said.
    OrderClosed,
    /// We are leaving; come back after so many milliseconds.
    Draining { retry_after_ms: u64 },
    /// The cursor is none of ours.
    BadCursor,
    /// May not watch, or no longer.
    NotAllowed,
    /// Took no frame for too long; come back with the cursor.
    Slow,
    /// Ours: the log or identity cannot be asked. Come back.
    Unavailable,
}

impl End {
    /// WebSocket close code and reason.
    pub(crate) fn code(&self) -> (u16, String) {
        match self {
            End::Gone => (1000, "bye".to_owned()),
            End::OrderClosed => (1000, "order closed".to_owned()),
            End::Draining { retry_after_ms } => (1001, format!("retry_after_ms={retry_after_ms}")),
            End::BadCursor => (4400, "no cursor of ours: start without one".to_owned()),
            End::NotAllowed => (4401, "not allowed to watch this order".to_owned()),
            End::Slow => (4408, "too slow: come back with the last cursor".to_owned()),
            End::Unavailable => (1013, "try again in some seconds".to_owned()),
        }
    }
}

/// Where frames go.
#[async_trait]
pub(crate) trait Line: Send {
    /// Sends one frame; false when the watcher is gone.
    async fn send(&mut self, text: Utf8Bytes) -> bool;
    /// Waits until the watcher goes away.
    async fn gone(&mut self);
}

/// One watcher.
pub(crate) struct Session<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) caller: Caller,
    pub(crate) order: OrderView,
    /// Where it was before, if it was.
    pub(crate) after: Option<Cursor>,
}

/// Between two tries at a bus that is away.
const BUS_RETRY: Duration = Duration::from_secs(2);

impl Session<'_> {
    /// Runs until the watcher goes, the order closes or we leave.
    pub(crate) async fn run(mut self, line: &mut dyn Line) -> End {
        let bell = self.shared.tail.subscribe(&self.order.order_id);
        let end = self.watch(line, bell).await;
        self.shared.tail.unsubscribe(&self.order.order_id);
        let code = end.code().0.to_string();
        metrics::counter!("inzira_ws_closed_total", "code" => code).increment(1);
        end
    }

    async fn watch(
        &mut self,
        line: &mut dyn Line,
        mut bell: tokio::sync::watch::Receiver<u64>,
    ) -> End {
        let mut positions = self.positions().await;
        let mut cursor = match self.after {
            Some(after) if after > self.shared.tail.end(&self.order.order_id) => {
                return End::BadCursor;
            }
            Some(after) => after,
            None => self.shared.tail.end(&self.order.order_id),
        };
        if !self.send(line, self.snapshot(positions.as_mut(), cursor).into()).await {
            return End::Gone;
        }
        let limits = self.shared.limits.clone();
        let mut ping = interval_at(Instant::now() + limits.ping_every, limits.ping_every);
        let mut recheck = interval_at(Instant::now() + limits.recheck_every, limits.recheck_every);
        let mut bus_retry = interval_at(Instant::now() + BUS_RETRY, BUS_RETRY);
        let mut closed_since: Option<Instant> = None;
        loop {
            match self.events(line, cursor).await {
                Ok((next, closed)) => {
                    cursor = next;
                    if closed && closed_since.is_none() {
                        closed_since = Some(Instant::now());
                    }
                }
                Err(end) => return end,
            }
            let lingered = closed_since.map(|since| since + limits.linger);
            tokio::select! {
                changed = bell.changed() => if changed.is_err() { return End::Unavailable },
                newest = next_position(positions.as_mut()) => match newest {
                    Some(position) => {
                        if let Err(end) = self.position(line, &position, cursor).await {
                            return end;
                        }
                    }
                    None => positions = None,
                },
                _ = bus_retry.tick(), if positions.is_none() => {
                    positions = self.positions().await;
                    if positions.is_none() && !self.send(line, Frame::Stale.text().into()).await {
                        return End::Slow;
                    }
                },
                _ = ping.tick() => if !self.send(line, Frame::Ping.text().into()).await {
                    return End::Slow;
                },
                _ = recheck.tick() => if let Err(end) = self.look_again().await {
                    return end;
                },
                () = self.shared.stop.cancelled() => return self.leave().await,
                () = until(lingered) => return End::OrderClosed,
                () = line.gone() => return End::Gone,
            }
        }
    }

    /// Sends every event from `cursor` on; tells whether the order is closed by them.
    async fn events(&self, line: &mut dyn Line, cursor: Cursor) -> Result<(Cursor, bool), End> {
        let bytes_max = self.shared.limits.catch_up_bytes_max;
        let read = self.shared.tail.after(&self.order.order_id, cursor, bytes_max).await;
        let (events, next) = match read {
            Ok(read) => read,
            Err(TailError::TooFar) => return Err(End::BadCursor),
            Err(TailError::Log(error)) => {
                tracing::warn!(%error, "missed events cannot be read");
                return Err(End::Unavailable);
            }
        };
        let mut closed = false;
        for ready in events {
            closed |= [TrackingKind::Delivered, TrackingKind::Cancelled]
                .iter()
                .any(|kind| *ready.kind == *kind.as_str());
            if !self.send(line, ready.text).await {
                return Err(End::Slow);
            }
        }
        Ok((next, closed))
    }

    async fn position(
        &self,
        line: &mut dyn Line,
        position: &LivePosition,
        cursor: Cursor,
    ) -> Result<(), End> {
        let body = PositionBody::of(position, self.shared.clock.now());
        let order_id = self.order.order_id.as_str();
        let text = Frame::Position { order_id, position: body, cursor }.text();
        if self.send(line, text.into()).await { Ok(()) } else { Err(End::Slow) }
    }

    async fn send(&self, line: &mut dyn Line, text: Utf8Bytes) -> bool {
        metrics::counter!("inzira_ws_messages_total", "dir" => "out").increment(1);
        timeout(self.shared.limits.stall_max, line.send(text)).await.unwrap_or(false)
    }

    async fn positions(&self) -> Option<Watch> {
        self.shared.bus.watch(&self.order.order_id).await.ok()
    }

    fn snapshot(&self, positions: Option<&mut Watch>, cursor: Cursor) -> String {
        let newest = positions.and_then(|watch| watch.borrow_and_update().clone());
        let body = newest.map(|newest| PositionBody::of(&newest, self.shared.clock.now()));
        frame::snapshot(&self.order, body, cursor)
    }

    /// Whether the watcher may still watch.
    async fn look_again(&mut self) -> Result<(), End> {
        let asked = self.shared.identity.order_for(&self.caller, &self.order.order_id).await;
        match asked {
            Ok(Some(order)) => {
                self.order = order;
                Ok(())
            }
            Ok(None) => Err(End::NotAllowed),
            // Identity is away: nothing new is granted, nothing old is taken.
            Err(_) => Ok(()),
        }
    }

    /// Waits a little, each watcher another while, so that they do not all come back at once.
    async fn leave(&self) -> End {
        let spread_ms = u64::try_from(self.shared.limits.drain_spread.as_millis()).unwrap_or(0);
        let own = spread_of(self.order.order_id.as_str()) % spread_ms.max(1);
        tokio::time::sleep(Duration::from_millis(own)).await;
        End::Draining { retry_after_ms: 500 + own * 2 }
    }
}

/// The next newer position; never when there is no watch; `None` when the bus has gone.
async fn next_position(positions: Option<&mut Watch>) -> Option<LivePosition> {
    let Some(watch) = positions else { return std::future::pending().await };
    loop {
        watch.changed().await.ok()?;
        if let Some(position) = watch.borrow_and_update().clone() {
            return Some(position);
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// A number that differs between orders (FNV-1a).
fn spread_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
