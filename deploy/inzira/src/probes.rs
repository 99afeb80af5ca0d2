//! What each room says on `/readyz`.
//!
//! In:    a room's own figures.
//! Out:   whether it does its work, whether the process is of use without it, and the figures.
//! Never: holds a room open: a probe looks, and outlives what it looks at.

use std::sync::Arc;

use futures::future::ready;
use inzira_api::Api;
use inzira_archive::ArchiveWatch;
use inzira_event_log::{Durability, EventLog};
use inzira_fan_out::FanOutWatch;
use inzira_flow::FlowWatch;
use inzira_query::Questions;
use inzira_schemas::{Clock, Micros};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::admin::{Health, Probe};

/// Says at once what `look` sees.
fn at_once(look: impl Fn() -> Health + Send + Sync + 'static) -> Probe {
    Box::new(move || Box::pin(ready(look())))
}

/// What an answer of the event log is worth.
pub fn log(log: &dyn EventLog) -> Probe {
    let durable = match log.durability() {
        Durability::PowerLoss => "an answer survives power loss",
        Durability::ProcessKill => {
            "an answer survives a kill of broker or service; power loss only with replication"
        }
    };
    at_once(move || Health { ready: true, needed: true, detail: json!({"durability": durable}) })
}

/// Where the flow stands; its failure ends the process.
pub fn flow(watch: FlowWatch, failed: CancellationToken) -> Probe {
    at_once(move || {
        let health = watch.health();
        if health.error.is_some() {
            failed.cancel();
        }
        let detail = json!({
            "error": health.error,
            "epoch": health.epoch,
            "committed_epoch": health.committed_epoch,
            "replay_left": health.replay_left,
            "uncommitted_bytes": health.uncommitted_bytes,
            "snapshot_epoch": health.snapshot_epoch,
            "watermark": health.watermark.map(Micros::to_rfc3339),
        });
        Health { ready: health.ready, needed: true, detail }
    })
}

/// How far each table is behind the log, and what is wrong with it.
pub fn archive(watch: ArchiveWatch, clock: Arc<dyn Clock>) -> Probe {
    at_once(move || {
        let health = watch.health();
        let tables = health.tables.iter().map(|table| {
            let figures = json!({
                "version": table.version,
                "files": table.files,
                "lag_records": table.lag.iter().map(|(_, lag)| lag).sum::<u64>(),
                "buffered_rows": table.buffered_rows,
                "undecodable": table.undecodable,
                "error": table.failing,
            });
            (table.table.to_string(), figures)
        });
        let tables: serde_json::Map<String, Value> = tables.collect();
        let detail = json!({
            "lag_records": health.lag_records(),
            "last_commit_age_s": health.last_commit_age_s(clock.now()),
            "tables": tables,
        });
        Health { ready: health.is_ready(), needed: false, detail }
    })
}

/// Whether buyers hear of events, and how many listen.
pub fn fan_out(watch: FanOutWatch) -> Probe {
    at_once(move || {
        let health = watch.health();
        let detail = json!({"watchers": watch.watchers(), "error": health.as_ref().err()});
        Health { ready: health.is_ok(), needed: true, detail }
    })
}

/// How fresh answers to questions are.
pub fn query(questions: Arc<Questions>) -> Probe {
    at_once(move || {
        let health = questions.health();
        let detail = json!({
            "data_as_of": health.data_as_of.to_rfc3339(),
            "tail_bytes": health.tail_bytes,
            "rollup_ready": health.rollup_ready,
        });
        Health { ready: true, needed: false, detail }
    })
}

/// Whether the database answers, and how many events wait to be carried to the log.
pub fn api(api: &Arc<Api>) -> Probe {
    let api = Arc::downgrade(api);
    Box::new(move || {
        let api = api.upgrade();
        Box::pin(async move {
            let answer = match api {
                Some(api) => api.ready().await,
                None => Err("it has ended".to_owned()),
            };
            let detail = match &answer {
                Ok(waiting) => json!({"outbox_waiting": waiting}),
                Err(error) => json!({"error": error}),
            };
            Health { ready: answer.is_ok(), needed: true, detail }
        })
    })
}
