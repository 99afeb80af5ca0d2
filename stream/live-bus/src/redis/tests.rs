//! What the Redis bus promises beyond the contract: names, lifetimes, outages.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::contract::{self, position, until};

/// The shared Redis of the tests; `None` when there is none here.
fn shared() -> Option<String> {
    let url = std::env::var("INZIRA_TEST_REDIS").ok();
    if url.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "INZIRA_TEST_REDIS is not set");
        println!("skipped: INZIRA_TEST_REDIS is not set (cargo xtask stack up)");
    }
    url
}

/// A Redis of our own, to kill.
struct Own {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Own {
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let process = Self::spawn(port, folder.path());
        if process.is_none() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "no redis-server here");
            println!("skipped: no redis-server here (cargo xtask stack up)");
        }
        Some(Self { process: process?, port, folder })
    }

    fn spawn(port: u16, folder: &Path) -> Option<Child> {
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "redis-server did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(child)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Back, and empty.
    fn restart(&mut self) {
        self.process = Self::spawn(self.port, self.folder.path()).unwrap();
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn ask<T: redis::FromRedisValue>(bus: &RedisBus, command: &[&str]) -> T {
    let mut request = redis::cmd(command[0]);
    for argument in &command[1..] {
        request.arg(*argument);
    }
    request.query_async(&mut bus.connection.clone()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_contract() {
    let Some(url) = shared() else { return };
    contract::holds(Arc::new(RedisBus::connect(&url).await.unwrap())).await;
}

#[tokio::test]
async fn others_find_the_position_under_the_names_of_the_sources() {
    let Some(url) = shared() else { return };
    let bus = RedisBus::connect(&url).await.unwrap();
    let order_id = OrderId::new();
    let key = format!("order:{order_id}:location");
    let mut other = Client::open(url).unwrap().get_async_pubsub().await.unwrap();
    other.subscribe(&key).await.unwrap();
    let sent = position(Some(&order_id), 1);
    bus.publish(std::slice::from_ref(&sent)).await.unwrap();

    let message: String = other.on_message().next_message().await.get_payload().unwrap();
    let stored: String = ask(&bus, &["GET", &key]).await;
    for json in [&message, &stored] {
        assert_eq!(serde_json::from_str::<LivePosition>(json).unwrap(), sent);
    }
    let left: i64 = ask(&bus, &["TTL", &key]).await;
    assert!(left > 6 * 24 * 3600, "an order stays until it closes: {left} s");
    let left: i64 = ask(&bus, &["TTL", &format!("driver:{}:position", sent.driver_id)]).await;
    assert!((60..=120).contains(&left), "a driver stays while matchable: {left} s");
    let left: i64 = ask(&bus, &["TTL", &format!("cell:{}", sent.h3_r9)]).await;
    assert!((60..=120).contains(&left), "a cell goes with its drivers: {left} s");

    bus.close(&order_id).await.unwrap();
    assert_eq!(ask::<i64>(&bus, &["EXISTS", &key]).await, 0);
}

/// The next message of a stream, within a limit.
trait NextMessage {
    async fn next_message(self) -> redis::Msg;
}

impl<S: futures::Stream<Item = redis::Msg> + Unpin> NextMessage for S {
    async fn next_message(mut self) -> redis::Msg {
        let next = futures::StreamExt::next(&mut self);
        tokio::time::timeout(Duration::from_secs(5), next).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn versions_beyond_what_lua_counts_are_told_apart() {
    let Some(url) = shared() else { return };
    let bus = RedisBus::connect(&url).await.unwrap();
    let order_id = OrderId::new();
    let with = |version| LivePosition { version, ..position(Some(&order_id), 1) };
    // Equal as doubles, which is how Lua holds numbers.
    bus.publish(&[with(u64::MAX - 1)]).await.unwrap();
    bus.publish(&[with(u64::MAX)]).await.unwrap();
    bus.publish(&[with(u64::MAX - 2), with(9)]).await.unwrap();
    assert_eq!(bus.last(&order_id).await.unwrap().unwrap().version, u64::MAX);
}

#[tokio::test]
async fn what_one_process_publishes_another_one_sees() {
    let Some(url) = shared() else { return };
    let (flow, fan_out) =
        (RedisBus::connect(&url).await.unwrap(), RedisBus::connect(&url).await.unwrap());
    let order_id = OrderId::new();
    let mut watch = fan_out.watch(&order_id).await.unwrap();
    let sent = position(Some(&order_id), 1);
    flow.publish(std::slice::from_ref(&sent)).await.unwrap();
    until(&mut watch, Some(&sent)).await;
    flow.close(&order_id).await.unwrap();
    until(&mut watch, None).await;
    drop(fan_out);
    let ended = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.unwrap();
    assert!(ended.is_err(), "a watch ends with its bus");
}

#[tokio::test]
async fn an_order_that_nobody_watches_is_no_longer_listened_to() {
    let Some(url) = shared() else { return };
    let bus = RedisBus::connect(&url).await.unwrap();
    let order_id = OrderId::new();
    let channel = format!("order:{order_id}:location");
    let (first, second) =
        (bus.watch(&order_id).await.unwrap(), bus.watch(&order_id).await.unwrap());
    let listeners = async |expected: i64| {
        let begun = Instant::now();
        loop {
            let (_, found): (String, i64) = ask(&bus, &["PUBSUB", "NUMSUB", &channel]).await;
            if found == expected {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "{found}, not {expected}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    listeners(1).await;
    drop(first);
    let sent = position(Some(&order_id), 1);
    bus.publish(std::slice::from_ref(&sent)).await.unwrap();
    let mut second = second;
    until(&mut second, Some(&sent)).await;
    drop(second);
    listeners(0).await;
    assert_eq!(bus.watches.len(), 0);
    // And back again, with the last value.
    let mut third = bus.watch(&order_id).await.unwrap();
    until(&mut third, Some(&sent)).await;
    listeners(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_is_said_quickly_and_its_return_is_noticed() {
    let Some(mut own) = Own::start() else { return };
    let bus = RedisBus::connect(&own.url()).await.unwrap();
    let (order_id, other) = (OrderId::new(), OrderId::new());
    let before = position(Some(&order_id), 1);
    bus.publish(std::slice::from_ref(&before)).await.unwrap();
    let mut watch = bus.watch(&order_id).await.unwrap();
    until(&mut watch, Some(&before)).await;

    own.kill();
    let begun = Instant::now();
    let during = position(Some(&order_id), 2);
    bus.publish(std::slice::from_ref(&during)).await.unwrap_err();
    bus.last(&order_id).await.unwrap_err();
    bus.watch(&other).await.unwrap_err();
    bus.near(&[1], Micros(0)).await.unwrap_err();
    bus.close(&other).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(15), "took {:?}", begun.elapsed());
    assert_eq!(*watch.borrow(), Some(before), "the last known stays in sight");

    own.restart();
    let after = position(Some(&order_id), 3);
    let begun = Instant::now();
    while bus.publish(std::slice::from_ref(&after)).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never came back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Published once and never again: found by reading, or by the message.
    until(&mut watch, Some(&after)).await;
    let next = position(Some(&order_id), 4);
    bus.publish(std::slice::from_ref(&next)).await.unwrap();
    until(&mut watch, Some(&next)).await;
    assert_eq!(bus.last(&order_id).await.unwrap(), Some(next));
}
