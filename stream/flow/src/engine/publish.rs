//! Commits epochs: outputs and progress in one transaction of the log.
//!
//! In:    finished epochs, in order.
//! Out:   `positions`, `tracking.events`, `trips`, `deadletter` and one `flow.progress` record
//!        an epoch; orders that closed are dropped from the live bus after the commit.
//! Keeps: epochs that wait while a transaction is under way; the next one takes them together,
//!        up to 4 MiB. The ticker stops while too much waits.
//! Never: guesses what became of a commit: it fences itself and reads the progress back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use inzira_event_log::{EventLog, Header, LogError, NewRecord, Transactor};
use inzira_live_bus::LiveBus;
use inzira_schemas::{EVENT_SCHEMA, OrderId, Topic, event_id, wire};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::recover::{self, TRANSACTOR};
use super::shared::Shared;
use super::snapshot::{CommittedEpoch, SnapshotNews};
use crate::FlowError;
use crate::rules::Tick;
use crate::stages::{INPUTS, Output};

/// One transaction takes about this much.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
const GROUP_EPOCHS: usize = 2_000;
/// Epochs that have input and no output may wait this long for company.
const QUIET: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// How often a commit whose outcome is unknown is looked up before the flow gives up.
const LOOK_UPS: usize = 10;
const BUS_PATIENCE: Duration = Duration::from_secs(2);

/// An epoch that has left the graph.
#[derive(Debug)]
pub struct EpochOut {
    /// Its tick.
    pub tick: Tick,
    /// State is being written down as of this epoch.
    pub snapshot: bool,
    /// Class, partition, next offset, of each partition that moved.
    pub cuts: Vec<(u8, u32, u64)>,
    /// Its records.
    pub outputs: Vec<Output>,
    /// About how many bytes they take.
    pub bytes: usize,
}

impl EpochOut {
    /// Nothing happened in it.
    fn is_empty(&self) -> bool {
        self.cuts.is_empty() && self.outputs.is_empty() && !self.snapshot
    }
}

/// Commits epochs.
pub struct Publisher {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The one writer of our name.
    pub transactor: Box<dyn Transactor>,
    /// Counts every start of the flow.
    pub generation: u64,
    /// The live bus.
    pub bus: Arc<dyn LiveBus>,
    /// The others.
    pub shared: Arc<Shared>,
    /// Told of committed snapshots.
    pub snapshots: UnboundedSender<SnapshotNews>,
    /// Where every partition stands after the last commit.
    pub cuts: BTreeMap<(u8, u32), u64>,
}

impl Publisher {
    /// Commits what comes until the graph is gone.
    pub async fn run(mut self, mut epochs: UnboundedReceiver<EpochOut>) {
        while let Some(first) = epochs.recv().await {
            let group = gather(first, &mut epochs).await;
            if self.shared.is_halted() {
                return;
            }
            if let Err(error) = self.commit(group).await {
                return self.shared.fail(error);
            }
        }
    }

    async fn commit(&mut self, group: Vec<EpochOut>) -> Result<(), FlowError> {
        let Some(last_epoch) = group.last().map(|epoch| epoch.tick.epoch) else { return Ok(()) };
        let bytes: usize = group.iter().map(|epoch| epoch.bytes).sum();
        let told: Vec<&EpochOut> = group.iter().filter(|epoch| !epoch.is_empty()).collect();
        if let Some(last_told) = told.last().map(|epoch| epoch.tick.epoch) {
            let wanted = told.iter().any(|epoch| epoch.snapshot);
            let progress_offset = if wanted {
                when_not_busy(&self.shared, || progress_end(self.log.as_ref())).await?
            } else {
                0
            };
            let records = self.records(&told);
            metrics::counter!("flow_committed_records_total").increment(records.len() as u64);
            let began = std::time::Instant::now();
            self.transact(records, last_told).await?;
            metrics::histogram!("flow_commit_seconds").record(began.elapsed().as_secs_f64());
            fail::fail_point!("after_commit_before_ack", |_| Ok(()));
            self.note_cuts(&told, progress_offset);
            self.close_orders(&told);
        }
        self.shared.committed_epoch.store(last_epoch, Ordering::Release);
        self.shared.uncommitted_bytes.fetch_sub(bytes, Ordering::AcqRel);
        metrics::gauge!("flow_committed_epoch").set(last_epoch as f64);
        self.shared.wake(0);
        Ok(())
    }

    fn records(&self, told: &[&EpochOut]) -> Vec<NewRecord> {
        let mut records = Vec::new();
        for epoch in told {
            let mut counts: BTreeMap<(Topic, u32), u64> = BTreeMap::new();
            for output in &epoch.outputs {
                let record = new_record(output);
                *counts.entry((record.topic, record.partition())).or_default() += 1;
                records.push(record);
            }
            records.push(NewRecord::of(&self.progress(epoch, &counts)));
        }
        records
    }

    fn progress(
        &self,
        epoch: &EpochOut,
        counts: &BTreeMap<(Topic, u32), u64>,
    ) -> wire::FlowProgress {
        let number = epoch.tick.epoch.to_le_bytes();
        let id = event_id(&[b"flow.progress", &self.generation.to_le_bytes(), &number]);
        wire::FlowProgress {
            envelope: Some(wire::Envelope::by_system(
                id,
                "flow.progress",
                epoch.tick.now,
                epoch.tick.now,
            )),
            epoch: epoch.tick.epoch,
            generation: self.generation,
            now_us: epoch.tick.now.0,
            watermark_us: epoch.tick.watermark.0,
            cuts: epoch
                .cuts
                .iter()
                .map(|(class, partition, offset)| wire::Cut {
                    topic: INPUTS[usize::from(*class)].name().to_owned(),
                    partition: *partition,
                    offset: *offset,
                })
                .collect(),
            outputs: counts
                .iter()
                .map(|((topic, partition), count)| wire::Cut {
                    topic: topic.name().to_owned(),
                    partition: *partition,
                    offset: *count,
                })
                .collect(),
        }
    }

    /// One transaction, however often it has to be tried; `Ok` means committed, once.
    async fn transact(&mut self, records: Vec<NewRecord>, last_told: u64) -> Result<(), FlowError> {
        let mut pause = RETRY_FIRST;
        let mut unknown = 0;
        loop {
            if self.shared.is_halted() {
                return Err(FlowError::Engine("stopped before a commit".to_owned()));
            }
            fail::fail_point!("before_send", |_| Err(FlowError::Engine("before_send".to_owned())));
            fail::fail_point!("before_commit", |_| Err(FlowError::Engine(
                "before_commit".to_owned()
            )));
            match self.transactor.transact(records.clone()).await {
                Ok(()) => return Ok(()),
                Err(LogError::Busy(_) | LogError::Full) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_LAST);
                }
                Err(LogError::Unknown(reason)) => {
                    tracing::warn!(reason, "a commit's outcome is unknown, looking it up");
                    unknown += 1;
                    if unknown > LOOK_UPS {
                        return Err(FlowError::Log(LogError::Unknown(reason)));
                    }
                    if self.was_committed(last_told).await? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(FlowError::Log(error)),
            }
        }
    }

    /// Takes the name again, which ends what was under way one way or the other, and reads back
    /// whether `last_told` was committed. Waits for a log that is away.
    async fn was_committed(&mut self, last_told: u64) -> Result<bool, FlowError> {
        let log = self.log.clone();
        self.transactor = when_not_busy(&self.shared, || log.transactor(TRANSACTOR)).await?;
        let newest = when_not_busy(&self.shared, || recover::newest_progress(log.clone())).await?;
        Ok(newest.is_some_and(|progress| {
            progress.generation == self.generation && progress.epoch >= last_told
        }))
    }

    fn note_cuts(&mut self, told: &[&EpochOut], progress_offset: u64) {
        for epoch in told {
            for (class, partition, offset) in &epoch.cuts {
                self.cuts.insert((*class, *partition), *offset);
            }
            if epoch.snapshot {
                let cuts = self
                    .cuts
                    .iter()
                    .map(|((class, partition), offset)| (*class, *partition, *offset));
                let committed =
                    CommittedEpoch { tick: epoch.tick, cuts: cuts.collect(), progress_offset };
                // The writer outlives us; if it does not, there is no snapshot.
                let _ = self.snapshots.send(SnapshotNews::Committed(committed));
            }
        }
    }

    /// Orders that closed leave the live bus; it is not waited for, and not the only copy.
    fn close_orders(&self, told: &[&EpochOut]) {
        let closed: Vec<OrderId> = told
            .iter()
            .flat_map(|epoch| &epoch.outputs)
            .filter(|output| output.closes)
            .filter_map(|output| OrderId::parse(std::str::from_utf8(&output.key).ok()?).ok())
            .collect();
        if closed.is_empty() {
            return;
        }
        let bus = self.bus.clone();
        tokio::spawn(async move {
            for order in closed {
                match tokio::time::timeout(BUS_PATIENCE, bus.close(&order)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%order, %error, "a closed order stays on the live bus")
                    }
                    Err(_) => tracing::warn!(%order, "the live bus did not answer"),
                }
            }
        });
    }
}

/// Asks the log again while it is only busy: a broker that is away comes back.
async fn when_not_busy<T, F, E>(shared: &Shared, mut ask: impl FnMut() -> F) -> Result<T, FlowError>
where
    F: Future<Output = Result<T, E>>,
    E: Into<FlowError>,
{
    let mut pause = RETRY_FIRST;
    loop {
        match ask().await.map_err(Into::into) {
            Err(FlowError::Log(LogError::Busy(reason))) if !shared.is_halted() => {
                tracing::warn!(reason, "the flow waits for the log");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_LAST);
            }
            outcome => return outcome,
        }
    }
}

/// The end of `flow.progress`: before a commit it lies before everything that commit adds.
async fn progress_end(log: &dyn EventLog) -> Result<u64, FlowError> {
    Ok(log.heads(Topic::FlowProgress).await?.first().map_or(0, |head| head.end))
}

/// Takes what has gathered; epochs without output may wait a moment for more.
async fn gather(first: EpochOut, epochs: &mut UnboundedReceiver<EpochOut>) -> Vec<EpochOut> {
    let quiet_until = tokio::time::Instant::now() + QUIET;
    let mut bytes = first.bytes;
    let mut urgent = !first.outputs.is_empty() || first.snapshot;
    let mut group = vec![first];
    loop {
        let next = match epochs.try_recv() {
            Ok(epoch) => Some(epoch),
            Err(_) if urgent => None,
            Err(_) => tokio::time::timeout_at(quiet_until, epochs.recv()).await.ok().flatten(),
        };
        let Some(epoch) = next else { return group };
        bytes += epoch.bytes;
        urgent |= !epoch.outputs.is_empty() || epoch.snapshot;
        group.push(epoch);
        if bytes >= GROUP_BYTES || group.len() >= GROUP_EPOCHS {
            return group;
        }
    }
}

fn new_record(output: &Output) -> NewRecord {
    NewRecord {
        topic: output.topic(),
        key: output.key.clone(),
        value: output.value.clone(),
        headers: vec![
            header("event-id", output.event_id.clone()),
            header("event-type", output.event_type.clone()),
            header("schema", Bytes::from(EVENT_SCHEMA.to_string())),
        ],
    }
}

fn header(name: &str, value: Bytes) -> Header {
    Header { name: name.to_owned(), value }
}
