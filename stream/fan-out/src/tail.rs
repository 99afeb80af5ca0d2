//! Reads `tracking.events` as it is committed.
//!
//! In:    every partition, from its end at the start.
//! Out:   records to the hub, with the places up to which each partition was read.
//! Never: gives up: what cannot be read now is tried again from the same place, and said in
//!        `/readyz` meanwhile.
//!
//! Readers of the log block, so this is a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use inzira_event_log::{LogError, LogReader, Position};
use inzira_schemas::Topic;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;

const POLL_BYTES: usize = 1 << 20;
const POLL_WAIT: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_millis(500);

/// Runs until `stop`.
pub(crate) async fn run(hub: Arc<Hub>, stop: CancellationToken) {
    let Some(places) = stop.run_until_cancelled(begin(&hub)).await else { return };
    let (done, ended) = tokio::sync::oneshot::channel::<()>();
    let reporter = Arc::clone(&hub);
    let thread = std::thread::Builder::new().name("fan-out-tail".to_owned()).spawn(move || {
        follow(&hub, places, &stop);
        drop(done);
    });
    match thread {
        // Ends with the thread, however that ends.
        Ok(_) => drop(ended.await),
        Err(error) => reporter.report(Some(format!("no thread for the tail: {error}"))),
    }
}

async fn begin(hub: &Hub) -> Vec<Position> {
    loop {
        match hub.log.heads(Topic::TrackingEvents).await {
            Ok(heads) => {
                let place = |head: &inzira_event_log::Head| Position {
                    topic: Topic::TrackingEvents,
                    partition: head.partition,
                    offset: head.end,
                };
                let places: Vec<Position> = heads.iter().map(place).collect();
                hub.begin(&places);
                return places;
            }
            Err(error) => {
                tracing::warn!(%error, "the log cannot be found yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn follow(hub: &Hub, mut places: Vec<Position>, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let ended = hub
            .log
            .reader(&places)
            .and_then(|mut reader| read_on(hub, reader.as_mut(), &mut places, stop));
        match ended {
            Ok(()) => return,
            Err(LogError::Gone { partition, start, .. }) => {
                // Watchers that were behind will learn it when they ask the log themselves.
                tracing::error!(partition, start, "events were dropped before they were read");
                for place in places.iter_mut().filter(|place| place.partition == partition) {
                    place.offset = start;
                }
                hub.begin(&places);
            }
            Err(error) => {
                tracing::error!(%error, "the tail of the log cannot be read");
                hub.report(Some(error.to_string()));
                std::thread::sleep(RETRY);
            }
        }
    }
}

fn read_on(
    hub: &Hub,
    reader: &mut dyn LogReader,
    places: &mut Vec<Position>,
    stop: &CancellationToken,
) -> Result<(), LogError> {
    let mut troubled = true;
    while !stop.is_cancelled() {
        let records = reader.poll(POLL_BYTES, POLL_WAIT)?;
        *places = reader.positions();
        hub.take(&records, places);
        if troubled {
            hub.report(None);
            troubled = false;
        }
    }
    Ok(())
}
