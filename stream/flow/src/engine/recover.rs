//! Finds where to go on.
//!
//! In:    the log and the store, as a kill left them.
//! Out:   the one transactor, the newest snapshot, the epochs to replay, where to begin.
//! Never: reads before it has fenced whoever wrote last: what is read then is final.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inzira_event_log::{EventLog, Position, Transactor};
use inzira_schemas::{Micros, Topic, wire};
use inzira_store::ObjectStore;

use super::feed::Part;
use super::snapshot::{self, Restored};
use super::tick::RecordedEpoch;
use crate::FlowError;
use crate::rules::Tick;
use crate::stages::{INPUTS, class_of};

/// The name under which one flow writes.
pub const TRANSACTOR: &str = "inzira-flow";
const POLL_BYTES: usize = 1024 * 1024;
const POLL_WAIT: Duration = Duration::from_millis(200);
/// Polls that may bring nothing before the end is reached.
const EMPTY_POLLS_MAX: usize = 150;

/// Where to go on.
pub struct Recovered {
    /// The one writer.
    pub transactor: Box<dyn Transactor>,
    /// One more than the last start's.
    pub generation: u64,
    /// State to load.
    pub restored: Restored,
    /// Epochs to replay in silence.
    pub plan: Vec<RecordedEpoch>,
    /// The tick of the snapshot, or none: before the first replayed epoch.
    pub from: Tick,
    /// Where every input partition begins.
    pub start: BTreeMap<Part, u64>,
    /// Where every input partition ends now.
    pub ends: BTreeMap<Part, u64>,
}

/// Fences, then reads what was committed.
pub async fn recover(
    log: Arc<dyn EventLog>,
    store: &dyn ObjectStore,
) -> Result<Recovered, FlowError> {
    let transactor = log.transactor(TRANSACTOR).await?;
    let newest = newest_progress(log.clone()).await?;
    let found = match &newest {
        Some(newest) => snapshot::newest(store, Some(newest.epoch)).await?,
        // Nothing was ever committed to this log: a snapshot can only be another log's.
        None => None,
    };
    let (from, cuts, progress_from, restored) = match found {
        Some((manifest, restored)) => (
            Tick { epoch: manifest.epoch, now: manifest.now_us, watermark: manifest.watermark_us },
            manifest.cuts,
            manifest.progress_offset,
            restored,
        ),
        None => (Tick::default(), Vec::new(), 0, Restored::new()),
    };
    let plan = read_progress(log.clone(), progress_from)
        .await?
        .into_iter()
        .filter(|progress| progress.epoch > from.epoch)
        .map(recorded)
        .collect();
    let (start, ends) = start_of(log.as_ref(), &cuts).await?;
    Ok(Recovered {
        transactor,
        generation: newest.map_or(1, |newest| newest.generation + 1),
        restored,
        plan,
        from,
        start,
        ends,
    })
}

/// Begins every partition at its cut, or at the oldest record that is kept.
async fn start_of(
    log: &dyn EventLog,
    cuts: &[(u8, u32, u64)],
) -> Result<(BTreeMap<Part, u64>, BTreeMap<Part, u64>), FlowError> {
    let known: BTreeMap<Part, u64> =
        cuts.iter().map(|(class, partition, offset)| ((*class, *partition), *offset)).collect();
    let (mut start, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for topic in INPUTS {
        let Some(class) = class_of(topic) else { continue };
        for head in log.heads(topic).await? {
            let part = (class, head.partition);
            let begin = known.get(&part).copied().unwrap_or(head.start);
            if begin < head.start {
                return Err(FlowError::Log(inzira_event_log::LogError::Gone {
                    topic,
                    partition: head.partition,
                    start: head.start,
                    asked: begin,
                }));
            }
            start.insert(part, begin);
            ends.insert(part, head.end);
        }
    }
    Ok((start, ends))
}

/// The last progress record of all.
pub async fn newest_progress(
    log: Arc<dyn EventLog>,
) -> Result<Option<wire::FlowProgress>, FlowError> {
    let heads = log.heads(Topic::FlowProgress).await?;
    let Some(head) = heads.first().copied() else { return Ok(None) };
    // Offsets may have gaps (transaction markers): look back farther until a record is found.
    let mut back = 64;
    loop {
        let from = head.end.saturating_sub(back).max(head.start);
        let newest = read_progress(log.clone(), from).await?.into_iter().next_back();
        if newest.is_some() || from == head.start {
            return Ok(newest);
        }
        back = back.saturating_mul(16);
    }
}

/// Every progress record from an offset to the end as it is now.
pub async fn read_progress(
    log: Arc<dyn EventLog>,
    from: u64,
) -> Result<Vec<wire::FlowProgress>, FlowError> {
    let heads = log.heads(Topic::FlowProgress).await?;
    let Some(head) = heads.first().copied() else { return Ok(Vec::new()) };
    let begin = Position {
        topic: Topic::FlowProgress,
        partition: head.partition,
        offset: from.max(head.start),
    };
    if begin.offset >= head.end {
        return Ok(Vec::new());
    }
    let read = move || {
        let mut reader = log.reader(&[begin])?;
        let mut found = Vec::new();
        let mut empty = 0;
        while reader.positions().first().is_some_and(|at| at.offset < head.end) {
            let records = reader.poll(POLL_BYTES, POLL_WAIT)?;
            empty = if records.is_empty() { empty + 1 } else { 0 };
            if empty > EMPTY_POLLS_MAX {
                return Err(FlowError::Engine(
                    "flow.progress did not come to its end within 30 s".to_owned(),
                ));
            }
            for record in records.iter().filter(|record| record.offset < head.end) {
                let progress = record.decode::<wire::FlowProgress>().map_err(|error| {
                    FlowError::Engine(format!(
                        "flow.progress@{} is no progress: {error}",
                        record.offset
                    ))
                })?;
                found.push(progress);
            }
        }
        Ok(found)
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| FlowError::Engine(format!("reading progress broke: {error}")))?
}

/// A progress record as the ticker and the feeds want it.
pub fn recorded(progress: wire::FlowProgress) -> RecordedEpoch {
    let ends = progress
        .cuts
        .iter()
        .filter_map(|cut| {
            let topic: Topic = cut.topic.parse().ok()?;
            Some((class_of(topic)?, cut.partition, cut.offset))
        })
        .collect();
    RecordedEpoch {
        tick: Tick {
            epoch: progress.epoch,
            now: Micros(progress.now_us),
            watermark: Micros(progress.watermark_us),
        },
        ends,
    }
}
