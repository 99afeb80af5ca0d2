//! Who watches which order, and the one connection that feeds them all.
//!
//! In:    messages of `order:{orderId}:location`.
//! Out:   the newest of each to its watchers.
//! Keeps: one entry an order that is watched, until nobody watches it any more.
//! Never: queues behind a watcher; counts on a message: after each subscription, and on every
//!        new connection, the last positions are read again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use inzira_schemas::OrderId;
use redis::aio::{ConnectionManager, PubSubSink, PubSubStream};
use redis::{Client, Msg, RedisError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{ANSWER_LIMIT, CONNECT_LIMIT, KEYS_MAX, from_json, location, order_of};
use crate::memory::replace_if_newer;
use crate::{LivePosition, Watch};

/// How often entries without a watcher are dropped, and a silent connection is tried.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A connection that lived this long was a good one: the next waits little again.
const GOOD_AFTER: Duration = Duration::from_secs(10);

type Entries = HashMap<OrderId, watch::Sender<Option<LivePosition>>>;

/// The watches of one process.
#[derive(Clone, Default)]
pub(super) struct Watches(Arc<Shared>);

#[derive(Default)]
struct Shared {
    entries: Mutex<Entries>,
    /// Something was added to `entries`.
    added: Notify,
}

impl Watches {
    /// Starts the subscriber; it ends, and every watch with it, when `stop` is cancelled.
    pub(super) fn start(
        client: Client,
        connection: ConnectionManager,
        stop: CancellationToken,
    ) -> Self {
        let watches = Self::default();
        let subscriber = Subscriber { client, connection, watches: watches.clone() };
        tokio::spawn(async move {
            tokio::select! {
                () = subscriber.run() => {}
                () = stop.cancelled() => {}
            }
        });
        watches
    }

    /// One more watcher of an order.
    pub(super) fn join(&self, order_id: &OrderId) -> Watch {
        let mut entries = self.entries();
        if let Some(sender) = entries.get(order_id) {
            return sender.subscribe();
        }
        let (sender, watch) = watch::channel(None);
        entries.insert(order_id.clone(), sender);
        drop(entries);
        self.0.added.notify_one();
        watch
    }

    /// Shows a position to the watchers of an order, if it is news.
    pub(super) fn offer(&self, order_id: &OrderId, position: &LivePosition) {
        if let Some(sender) = self.entries().get(order_id) {
            sender.send_if_modified(|last| replace_if_newer(last, position));
        }
    }

    fn closed(&self, order_id: &OrderId) {
        if let Some(sender) = self.entries().get(order_id) {
            sender.send_if_modified(|last| last.take().is_some());
        }
    }

    /// Those of `wanted` that are not in `there`.
    fn missing(&self, there: &HashSet<OrderId>) -> Vec<OrderId> {
        self.entries().keys().filter(|order_id| !there.contains(*order_id)).cloned().collect()
    }

    /// Drops what nobody watches.
    fn sweep(&self) {
        // Joining takes the same lock: nobody can come between the look and the drop.
        self.entries().retain(|_, sender| sender.receiver_count() > 0);
    }

    fn is_watched(&self, order_id: &OrderId) -> bool {
        self.entries().contains_key(order_id)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // What a panic left behind is still whole: each change is one insert or remove.
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries().len()
    }
}

/// The task that owns the subscriber connection.
struct Subscriber {
    client: Client,
    /// For reading last positions.
    connection: ConnectionManager,
    watches: Watches,
}

impl Subscriber {
    /// Connects again and again; gives up never.
    async fn run(self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let begun = Instant::now();
            if let Err(error) = self.serve().await {
                tracing::warn!(%error, "the live bus lost its subscriber connection");
            }
            if begun.elapsed() > GOOD_AFTER {
                backoff = BACKOFF_MIN;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One connection's life.
    async fn serve(&self) -> Result<(), RedisError> {
        let connecting = self.client.get_async_pubsub();
        let (mut sink, mut stream) = limited(CONNECT_LIMIT, connecting).await?.split();
        let mut subscribed = HashSet::new();
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.subscribe(&mut sink, &mut stream, &mut subscribed).await?;
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => self.deliver(&message),
                    None => return Err(gone("Redis closed the connection")),
                },
                () = self.watches.0.added.notified() => {
                    self.subscribe(&mut sink, &mut stream, &mut subscribed).await?;
                }
                _ = sweep.tick() => {
                    self.watches.sweep();
                    self.unsubscribe(&mut sink, &mut subscribed).await?;
                    limited(ANSWER_LIMIT, sink.ping::<redis::Value>()).await?;
                }
            }
        }
    }

    /// Subscribes to what is wanted and not there yet, then reads those positions once: a message
    /// from before the subscription is not missed, and one from after it is not older.
    async fn subscribe(
        &self,
        sink: &mut PubSubSink,
        stream: &mut PubSubStream,
        subscribed: &mut HashSet<OrderId>,
    ) -> Result<(), RedisError> {
        let missing = self.watches.missing(subscribed);
        for some in missing.chunks(KEYS_MAX) {
            let channels: Vec<String> = some.iter().map(location).collect();
            limited(ANSWER_LIMIT, sink.subscribe(&channels)).await?;
            subscribed.extend(some.iter().cloned());
            self.read_last(some).await?;
            // What came meanwhile is taken at once: the library's queue has no bound of its own.
            while let Some(Some(message)) = futures::FutureExt::now_or_never(stream.next()) {
                self.deliver(&message);
            }
        }
        Ok(())
    }

    async fn unsubscribe(
        &self,
        sink: &mut PubSubSink,
        subscribed: &mut HashSet<OrderId>,
    ) -> Result<(), RedisError> {
        let idle: Vec<OrderId> = subscribed
            .iter()
            .filter(|order_id| !self.watches.is_watched(order_id))
            .cloned()
            .collect();
        for some in idle.chunks(KEYS_MAX) {
            let channels: Vec<String> = some.iter().map(location).collect();
            limited(ANSWER_LIMIT, sink.unsubscribe(&channels)).await?;
            for order_id in some {
                subscribed.remove(order_id);
            }
        }
        // Someone who joined meanwhile found its channel on its way out: subscribe again.
        self.watches.0.added.notify_one();
        Ok(())
    }

    async fn read_last(&self, orders: &[OrderId]) -> Result<(), RedisError> {
        let mut request = redis::cmd("MGET");
        for order_id in orders {
            request.arg(location(order_id));
        }
        let mut connection = self.connection.clone();
        let found: Vec<Option<String>> = request.query_async(&mut connection).await?;
        for (order_id, json) in orders.iter().zip(found) {
            if let Some(position) = json.as_deref().and_then(from_json) {
                self.watches.offer(order_id, &position);
            }
        }
        Ok(())
    }

    fn deliver(&self, message: &Msg) {
        let Some(order_id) = order_of(message.get_channel_name()) else { return };
        let json = message.get_payload_bytes();
        if json.is_empty() {
            self.watches.closed(&order_id);
        } else if let Some(position) = std::str::from_utf8(json).ok().and_then(from_json) {
            self.watches.offer(&order_id, &position);
        }
    }
}

/// A request on the subscriber connection, which has no limit of its own.
async fn limited<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    timeout(limit, request).await.unwrap_or_else(|_| Err(gone("no answer in time")))
}

fn gone(reason: &'static str) -> RedisError {
    RedisError::from((redis::ErrorKind::Io, reason))
}
