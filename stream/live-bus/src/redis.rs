//! The live bus between processes, on one Redis.
//!
//! In:    positions, in batches: one script a batch, which sets and publishes what is newer.
//! Out:   `order:{orderId}:location`, as a key (JSON) and as a channel of the same name; watches
//!        fed by one subscriber connection.
//! Keeps: an order for a week after its last position or until it closes, a driver for two
//!        minutes, the word that an order is closed for an hour. All of it may be lost.
//! Never: waits longer than a few seconds; leaves a watcher on an old value once Redis is back.

mod watches;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use inzira_schemas::{Micros, OrderId};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script};
use tokio_util::sync::CancellationToken;

use crate::open::OpenError;
use crate::{BusUnavailable, LiveBus, LivePosition, Watch};
use watches::Watches;

/// Positions that one script takes: Redis serves nobody else meanwhile, about half a millisecond.
const BATCH_MAX: usize = 100;
/// Keys that one request asks for.
const KEYS_MAX: usize = 500;
/// Twice as long as a driver is matchable.
const KEEP_DRIVER_S: u64 = 120;
/// A shipment may stand at a border for days.
const KEEP_ORDER_S: u64 = 7 * 24 * 3600;
/// Longer than any worker goes without hearing that an order has closed.
const KEEP_CLOSED_S: u64 = 3600;
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Tries at a connection that is lost, for one call.
const RETRIES: usize = 2;

/// The bus on a Redis.
pub struct RedisBus {
    connection: ConnectionManager,
    publish: Script,
    watches: Watches,
    /// Ends the subscriber with the bus.
    stop: CancellationToken,
}

impl RedisBus {
    /// Connects and starts the subscriber.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let client = Client::open(url)
            .map_err(|error| OpenError::Config(format!("the URL of Redis: {error}")))?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(RETRIES)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500))
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT));
        let connection = client
            .get_connection_manager_with_config(config)
            .await
            .map_err(|error| OpenError::Unavailable(format!("Redis: {error}")))?;
        let stop = CancellationToken::new();
        let watches = Watches::start(client, connection.clone(), stop.clone());
        let publish = Script::new(include_str!("redis/publish.lua"));
        Ok(Self { connection, publish, watches, stop })
    }

    async fn publish_batch(&self, positions: &[LivePosition]) -> Result<(), RedisError> {
        let mut call = self.publish.arg(KEEP_DRIVER_S);
        call.arg(KEEP_ORDER_S);
        for position in positions {
            let order_id = position.order_id.as_ref().map_or("", |order_id| order_id.as_str());
            call.arg(order_id)
                .arg(position.driver_id.as_str())
                .arg(position.version)
                .arg(position.h3_r9)
                .arg(position.measured_at.0)
                .arg(to_json(position)?);
        }
        twice(|| {
            let (call, mut connection) = (&call, self.connection.clone());
            async move { call.invoke_async::<()>(&mut connection).await }
        })
        .await
    }

    /// The drivers that stand in these cells, as far as the index knows.
    async fn drivers_in(&self, cells: &[i64], since: Micros) -> Result<Vec<String>, RedisError> {
        let mut request = redis::pipe();
        for cell in cells {
            request
                .cmd("ZRANGEBYSCORE")
                .arg(format!("cell:{cell}"))
                .arg(format!("({}", since.0))
                .arg("+inf");
        }
        let found: Vec<Vec<String>> = twice(|| {
            let (request, mut connection) = (&request, self.connection.clone());
            async move { request.query_async(&mut connection).await }
        })
        .await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn positions_of(&self, drivers: &[String]) -> Result<Vec<LivePosition>, RedisError> {
        let mut request = redis::cmd("MGET");
        for driver in drivers {
            request.arg(format!("driver:{driver}:position"));
        }
        let found: Vec<Option<String>> = twice(|| {
            let (request, mut connection) = (&request, self.connection.clone());
            async move { request.query_async(&mut connection).await }
        })
        .await?;
        Ok(found.iter().flatten().filter_map(|json| from_json(json)).collect())
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[async_trait]
impl LiveBus for RedisBus {
    async fn publish(&self, positions: &[LivePosition]) -> Result<(), BusUnavailable> {
        // Sent one behind the other on one connection, not one after the other's answer.
        let batches = positions.chunks(BATCH_MAX).map(|batch| self.publish_batch(batch));
        try_join_all(batches).await.map_err(unavailable)?;
        Ok(())
    }

    async fn last(&self, order_id: &OrderId) -> Result<Option<LivePosition>, BusUnavailable> {
        let key = location(order_id);
        let json: Option<String> = twice(|| {
            let (mut connection, key) = (self.connection.clone(), &key);
            async move { redis::cmd("GET").arg(key).query_async(&mut connection).await }
        })
        .await
        .map_err(unavailable)?;
        Ok(json.as_deref().and_then(from_json))
    }

    async fn watch(&self, order_id: &OrderId) -> Result<Watch, BusUnavailable> {
        let mut watch = self.watches.join(order_id);
        if let Some(last) = self.last(order_id).await? {
            self.watches.offer(order_id, &last);
        }
        // What is known already counts as news to a watcher who has just come.
        watch.mark_changed();
        Ok(watch)
    }

    async fn near(
        &self,
        cells: &[i64],
        since: Micros,
    ) -> Result<Vec<LivePosition>, BusUnavailable> {
        let mut found = Vec::new();
        for cells in cells.chunks(KEYS_MAX) {
            let mut drivers = self.drivers_in(cells, since).await.map_err(unavailable)?;
            drivers.sort_unstable();
            drivers.dedup();
            for drivers in drivers.chunks(KEYS_MAX) {
                let positions = self.positions_of(drivers).await.map_err(unavailable)?;
                // The index may lag behind a driver who has just left; the position does not.
                found.extend(positions.into_iter().filter(|position| {
                    position.measured_at > since && cells.contains(&position.h3_r9)
                }));
            }
        }
        Ok(found)
    }

    async fn close(&self, order_id: &OrderId) -> Result<(), BusUnavailable> {
        let mut request = redis::pipe();
        let closed = format!("order:{order_id}:closed");
        request.atomic();
        request.cmd("SET").arg(closed).arg(1).arg("EX").arg(KEEP_CLOSED_S).ignore();
        request.cmd("DEL").arg(location(order_id)).ignore();
        // An empty message: nothing is known any more.
        request.cmd("PUBLISH").arg(location(order_id)).arg("").ignore();
        twice(|| {
            let (request, mut connection) = (&request, self.connection.clone());
            async move { request.query_async::<()>(&mut connection).await }
        })
        .await
        .map_err(unavailable)
    }
}

/// The key and the channel of an order's position.
fn location(order_id: &OrderId) -> String {
    format!("order:{order_id}:location")
}

fn to_json(position: &LivePosition) -> Result<String, RedisError> {
    serde_json::to_string(position).map_err(|error| {
        RedisError::from((redis::ErrorKind::Client, "a position is not JSON", error.to_string()))
    })
}

/// `None` for what is not ours to read, which is said once a message.
fn from_json(json: &str) -> Option<LivePosition> {
    serde_json::from_str(json)
        .inspect_err(|error| tracing::warn!(%error, "a position on the live bus is not readable"))
        .ok()
}

/// Asks again where the connection was lost: all that is asked here may be done twice, and after
/// a restart of Redis the first request is the one that finds out.
async fn twice<T, F>(mut ask: impl FnMut() -> F) -> Result<T, RedisError>
where
    F: Future<Output = Result<T, RedisError>>,
{
    match ask().await {
        Err(error) if error.is_io_error() || error.is_connection_dropped() => ask().await,
        outcome => outcome,
    }
}

fn unavailable(error: RedisError) -> BusUnavailable {
    BusUnavailable(error.to_string())
}

/// Whose position a channel carries; `None` when it is none of ours.
fn order_of(channel: &str) -> Option<OrderId> {
    OrderId::parse(channel.strip_prefix("order:")?.strip_suffix(":location")?).ok()
}
