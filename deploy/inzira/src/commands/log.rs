//! `inzira log dump`: prints events as JSON lines.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use inzira_event_log::{Access, EventLog, Position, Record};
use inzira_schemas::{Event, Topic, wire};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{Config, ConfigError};

/// What can be done with the log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Prints the events of a topic as JSON lines, partition by partition
    Dump(DumpArgs),
}

/// Options of `inzira log dump`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inzira log dump tracking.events --partition 3 --from 1042")]
pub struct DumpArgs {
    /// gps.fixes, gps.backlog, orders, payments, positions, tracking.events, trips, …
    topic: String,
    /// First offset in each partition
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this partition
    #[arg(long)]
    partition: Option<u32>,
    /// At most so many events
    #[arg(long)]
    limit: Option<u64>,
}

/// Bytes asked for at a time.
const POLL_BYTES: usize = 4 << 20;

/// Runs it. Reads up to the present end and leaves.
pub async fn run(command: LogCommand, config: &Config) -> anyhow::Result<()> {
    let LogCommand::Dump(args) = command;
    let topic: Topic = args.topic.parse()?;
    let log = inzira_event_log::open(config.get("INZIRA_LOG"), &config.data, Access::ReadOnly)
        .await
        .map_err(|error| ConfigError(vec![format!("INZIRA_LOG: {error}")]))?;
    let heads = log.heads(topic).await?;
    let wanted =
        heads.into_iter().filter(|head| args.partition.is_none_or(|p| p == head.partition));
    let (from, until): (Vec<Position>, Vec<u64>) = wanted
        .map(|head| {
            let offset = args.from.max(head.start);
            (Position { topic, partition: head.partition, offset }, head.end)
        })
        .unzip();
    let limit = args.limit.unwrap_or(u64::MAX);
    tokio::task::spawn_blocking(move || print(log.as_ref(), &from, &until, limit)).await?
}

fn print(log: &dyn EventLog, from: &[Position], until: &[u64], limit: u64) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut reader = log.reader(from)?;
    let mut printed = 0;
    while reader.positions().iter().zip(until).any(|(at, end)| at.offset < *end) {
        for record in reader.poll(POLL_BYTES, Duration::from_secs(1))? {
            if printed == limit {
                return Ok(());
            }
            serde_json::to_writer(&mut out, &line(&record)).context("writing")?;
            out.write_all(b"\n")?;
            printed += 1;
        }
    }
    out.flush()?;
    Ok(())
}

fn line(record: &Record) -> Value {
    let event = match record.topic {
        Topic::GpsFixes | Topic::GpsBacklog => event::<wire::Fix>(record),
        Topic::Orders => event::<wire::OrderEvent>(record),
        Topic::Payments => event::<wire::PaymentEvent>(record),
        Topic::Positions => event::<wire::Position>(record),
        Topic::TrackingEvents => event::<wire::TrackingEvent>(record),
        Topic::Trips => event::<wire::Trip>(record),
        Topic::FraudDecisions => event::<wire::FraudDecision>(record),
        Topic::DeadLetter => event::<wire::DeadLetter>(record),
        Topic::FlowProgress => event::<wire::FlowProgress>(record),
    };
    json!({
        "topic": record.topic.name(),
        "partition": record.partition,
        "offset": record.offset,
        "key": String::from_utf8_lossy(&record.key),
        "event": event,
    })
}

fn event<E: Event + Serialize>(record: &Record) -> Value {
    match record.decode::<E>() {
        Ok(event) => json!(event),
        Err(error) => json!({ "undecodable": error.to_string() }),
    }
}
