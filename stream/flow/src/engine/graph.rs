//! The dataflow: the same on every worker.
//!
//! In:    items at the epoch that took them in; one `Close` an epoch from every worker.
//! Out:   finished epochs, on worker 0.
//! Keeps: batches of epochs that are not closed yet, each with its capabilities.
//! Never: applies an epoch before every worker has closed it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, Input, Probe};
use timely::dataflow::{InputHandle, ProbeHandle, Scope, StreamVec};
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;
use tokio::sync::mpsc::UnboundedSender;

use super::publish::EpochOut;
use super::shared::Shared;
use super::snapshot::{Part, SnapshotNews, StageName};
use super::tick::TickMessage;
use crate::rules::join::Command;
use crate::rules::orders::Note;
use crate::rules::{Candidate, KEY_GROUPS, Key, group_of, key_of};
use crate::stages::alerts::AlertsStage;
use crate::stages::drivers::{Count, DriversOut, DriversStage};
use crate::stages::groups::KeyGroups;
use crate::stages::orders::{OrdersOut, OrdersStage};
use crate::stages::{Item, Output};

/// Groups written down in one go between two epochs.
const GROUPS_AT_ONCE: usize = 2;

/// A worker closes an epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Close {
    /// The tick.
    pub message: TickMessage,
    /// How far the worker's partitions moved in it.
    pub cuts: Vec<(u8, u32, u64)>,
}

/// The state of one worker, before its graph is built.
pub struct Stages {
    /// Orders.
    pub orders: OrdersStage,
    /// Drivers.
    pub drivers: DriversStage,
    /// Alerts.
    pub alerts: AlertsStage,
}

/// What a worker's graph is connected to.
#[derive(Clone)]
pub struct Ends {
    /// Where finished epochs go; only worker 0 uses it.
    pub epochs: UnboundedSender<EpochOut>,
    /// Where state goes that was written down.
    pub snapshots: UnboundedSender<SnapshotNews>,
    /// The others.
    pub shared: Arc<Shared>,
    /// What the drivers' stage counted, at its end.
    pub counted: std::sync::mpsc::Sender<Count>,
}

/// The handles by which a worker feeds its graph.
pub struct Graph {
    /// Order events.
    pub orders: InputHandle<u64, CapacityContainerBuilder<Vec<Item>>>,
    /// Fixes.
    pub fixes: InputHandle<u64, CapacityContainerBuilder<Vec<Item>>>,
    /// Closings.
    pub closes: InputHandle<u64, CapacityContainerBuilder<Vec<Close>>>,
    /// How far the sink has come.
    pub probe: ProbeHandle<u64>,
}

/// The worker that holds the state of a key.
pub fn worker_of(key: Key, peers: usize) -> u64 {
    (group_of(key) * peers / KEY_GROUPS) as u64
}

/// Builds the graph.
pub fn build(scope: Scope<'_, u64>, stages: Stages, ends: &Ends) -> Graph {
    let (orders_in, orders) = scope.new_input::<Vec<Item>>();
    let (fixes_in, fixes) = scope.new_input::<Vec<Item>>();
    let (closes_in, closes) = scope.new_input::<Vec<Close>>();
    let (commands, notes, echoes) =
        orders_operator(scope, orders, closes.clone(), stages.orders, ends);
    let (candidates, told) =
        drivers_operator(scope, (fixes, commands), closes.clone(), stages.drivers, ends);
    let alerts = alerts_operator(scope, (candidates, notes), closes.clone(), stages.alerts, ends);
    let probe = sink_operator(scope, (echoes, told, alerts), closes, ends);
    Graph { orders: orders_in, fixes: fixes_in, closes: closes_in, probe }
}

/// A batch that waits for its epoch to be closed by everyone.
struct Waiting<A, B, const N: usize> {
    a: Vec<A>,
    b: Vec<B>,
    close: Option<(Close, [Capability<u64>; N])>,
}

impl<A, B, const N: usize> Default for Waiting<A, B, N> {
    fn default() -> Self {
        Self { a: Vec::new(), b: Vec::new(), close: None }
    }
}

/// The oldest epoch, once no input can bring more for it.
fn ready<A, B, const N: usize>(
    epochs: &mut BTreeMap<u64, Waiting<A, B, N>>,
    frontiers: &[MutableAntichain<u64>],
) -> Option<Waiting<A, B, N>> {
    let epoch = *epochs.keys().next()?;
    let open = frontiers.iter().any(|frontier| frontier.less_equal(&epoch));
    if open { None } else { epochs.remove(&epoch) }
}

/// Writes a stage's state down a little at a time.
struct StateWriter {
    stage: StageName,
    worker: usize,
    epoch: u64,
    ends: Ends,
    activator: Activator,
}

impl StateWriter {
    fn new(scope: Scope<'_, u64>, stage: StageName, ends: &Ends, activator: Activator) -> Self {
        Self { stage, worker: scope.index(), epoch: 0, ends: ends.clone(), activator }
    }

    /// After an epoch: begins when the tick says so; at the end nothing may be left over.
    fn after<V>(&mut self, groups: &mut KeyGroups<V>, message: &TickMessage)
    where
        V: Serialize + serde::de::DeserializeOwned,
    {
        if message.snapshot {
            groups.begin_snapshot();
            self.epoch = message.tick.epoch;
        }
        if message.stop {
            self.go_on(groups, usize::MAX);
        }
    }

    fn go_on<V>(&mut self, groups: &mut KeyGroups<V>, count: usize)
    where
        V: Serialize + serde::de::DeserializeOwned,
    {
        if !groups.is_writing() {
            return;
        }
        match groups.write_some(count) {
            Some(groups) => {
                let part =
                    Part { epoch: self.epoch, worker: self.worker, stage: self.stage, groups };
                // Nobody listening: there is no snapshot, the log is still whole.
                let _ = self.ends.snapshots.send(SnapshotNews::Part(part));
            }
            None => self.activator.activate(),
        }
    }
}

type Outputs3<'s> =
    (StreamVec<'s, u64, Output>, StreamVec<'s, u64, Output>, StreamVec<'s, u64, Output>);
type Streams3<'s> =
    (StreamVec<'s, u64, Command>, StreamVec<'s, u64, Note>, StreamVec<'s, u64, Output>);

fn orders_operator<'s>(
    scope: Scope<'s, u64>,
    items: StreamVec<'s, u64, Item>,
    closes: StreamVec<'s, u64, Close>,
    mut stage: OrdersStage,
    ends: &Ends,
) -> Streams3<'s> {
    let peers = scope.peers();
    let mut builder = OperatorBuilder::new("orders".to_owned(), scope);
    let mut items =
        builder.new_input(items, Exchange::new(move |i: &Item| worker_of(i.key, peers)));
    let mut closes = builder.new_input(closes, Pipeline);
    let (commands, commands_stream) = builder.new_output::<Vec<Command>>();
    let (notes, notes_stream) = builder.new_output::<Vec<Note>>();
    let (outputs, outputs_stream) = builder.new_output::<Vec<Output>>();
    let mut commands = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(commands);
    let mut notes = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(notes);
    let mut outputs = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(outputs);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut writer = StateWriter::new(scope, StageName::Orders, ends, activator);
    builder.build(move |_capabilities| {
        let mut epochs: BTreeMap<u64, Waiting<Item, (), 3>> = BTreeMap::new();
        let mut out = OrdersOut::default();
        move |frontiers| {
            items.for_each(|time, batch| epochs.entry(*time.time()).or_default().a.append(batch));
            closes.for_each(|time, batch| {
                for close in batch.drain(..) {
                    let held = [time.retain(0), time.retain(1), time.retain(2)];
                    epochs.entry(*time.time()).or_default().close = Some((close, held));
                }
            });
            while let Some(mut epoch) = ready(&mut epochs, frontiers) {
                let Some((close, held)) = epoch.close else { continue };
                let message = close.message;
                stage.run(&message.tick, &mut epoch.a, message.replay.is_some(), &mut out);
                commands.activate().session(&held[0]).give_container(&mut out.commands);
                notes.activate().session(&held[1]).give_container(&mut out.notes);
                outputs.activate().session(&held[2]).give_container(&mut out.outputs);
                out = OrdersOut::default();
                writer.after(&mut stage.groups, &message);
            }
            writer.go_on(&mut stage.groups, GROUPS_AT_ONCE);
        }
    });
    (commands_stream, notes_stream, outputs_stream)
}

fn drivers_operator<'s>(
    scope: Scope<'s, u64>,
    (fixes, commands): (StreamVec<'s, u64, Item>, StreamVec<'s, u64, Command>),
    closes: StreamVec<'s, u64, Close>,
    mut stage: DriversStage,
    ends: &Ends,
) -> (StreamVec<'s, u64, Candidate>, StreamVec<'s, u64, Output>) {
    let peers = scope.peers();
    let mut builder = OperatorBuilder::new("drivers".to_owned(), scope);
    let mut fixes =
        builder.new_input(fixes, Exchange::new(move |i: &Item| worker_of(i.key, peers)));
    let mut commands = builder
        .new_input(commands, Exchange::new(move |c: &Command| worker_of(key_of(&c.driver), peers)));
    let mut closes = builder.new_input(closes, Pipeline);
    let (candidates, candidates_stream) = builder.new_output::<Vec<Candidate>>();
    let (outputs, outputs_stream) = builder.new_output::<Vec<Output>>();
    let mut candidates = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(candidates);
    let mut outputs = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(outputs);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut writer = StateWriter::new(scope, StageName::Drivers, ends, activator);
    let counted = ends.counted.clone();
    builder.build(move |_capabilities| {
        let mut epochs: BTreeMap<u64, Waiting<Item, Command, 2>> = BTreeMap::new();
        let mut out = DriversOut::default();
        move |frontiers| {
            fixes.for_each(|time, batch| epochs.entry(*time.time()).or_default().a.append(batch));
            commands
                .for_each(|time, batch| epochs.entry(*time.time()).or_default().b.append(batch));
            closes.for_each(|time, batch| {
                for close in batch.drain(..) {
                    let held = [time.retain(0), time.retain(1)];
                    epochs.entry(*time.time()).or_default().close = Some((close, held));
                }
            });
            while let Some(mut epoch) = ready(&mut epochs, frontiers) {
                let Some((close, held)) = epoch.close else { continue };
                let message = close.message;
                let silent = message.replay.is_some();
                stage.run(&message.tick, &mut epoch.b, &mut epoch.a, silent, &mut out);
                candidates.activate().session(&held[0]).give_container(&mut out.candidates);
                outputs.activate().session(&held[1]).give_container(&mut out.outputs);
                out = DriversOut::default();
                writer.after(&mut stage.groups, &message);
                if message.stop {
                    // Whoever does not ask for the count has dropped the other end.
                    let _ = counted.send(stage.count);
                }
            }
            writer.go_on(&mut stage.groups, GROUPS_AT_ONCE);
        }
    });
    (candidates_stream, outputs_stream)
}

fn alerts_operator<'s>(
    scope: Scope<'s, u64>,
    (candidates, notes): (StreamVec<'s, u64, Candidate>, StreamVec<'s, u64, Note>),
    closes: StreamVec<'s, u64, Close>,
    mut stage: AlertsStage,
    ends: &Ends,
) -> StreamVec<'s, u64, Output> {
    let peers = scope.peers();
    let mut builder = OperatorBuilder::new("alerts".to_owned(), scope);
    let mut candidates = builder.new_input(
        candidates,
        Exchange::new(move |c: &Candidate| worker_of(key_of(&c.order), peers)),
    );
    let mut notes =
        builder.new_input(notes, Exchange::new(move |n: &Note| worker_of(key_of(&n.order), peers)));
    let mut closes = builder.new_input(closes, Pipeline);
    let (outputs, outputs_stream) = builder.new_output::<Vec<Output>>();
    let mut outputs = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(outputs);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut writer = StateWriter::new(scope, StageName::Alerts, ends, activator);
    builder.build(move |_capabilities| {
        let mut epochs: BTreeMap<u64, Waiting<Candidate, Note, 1>> = BTreeMap::new();
        move |frontiers| {
            candidates
                .for_each(|time, batch| epochs.entry(*time.time()).or_default().a.append(batch));
            notes.for_each(|time, batch| epochs.entry(*time.time()).or_default().b.append(batch));
            closes.for_each(|time, batch| {
                for close in batch.drain(..) {
                    epochs.entry(*time.time()).or_default().close = Some((close, [time.retain(0)]));
                }
            });
            while let Some(mut epoch) = ready(&mut epochs, frontiers) {
                let Some((close, held)) = epoch.close else { continue };
                let message = close.message;
                let silent = message.replay.is_some();
                let mut out = Vec::new();
                stage.run(&message.tick, &mut epoch.b, &mut epoch.a, silent, &mut out);
                outputs.activate().session(&held[0]).give_container(&mut out);
                writer.after(&mut stage.groups, &message);
            }
            writer.go_on(&mut stage.groups, GROUPS_AT_ONCE);
        }
    });
    outputs_stream
}

/// Gathers an epoch on worker 0 and hands it over. An epoch that not every worker has closed
/// is never handed over, whatever the frontier says: workers that stop early drop their claims.
fn sink_operator<'s>(
    scope: Scope<'s, u64>,
    (echoes, told, alerts): Outputs3<'s>,
    closes: StreamVec<'s, u64, Close>,
    ends: &Ends,
) -> ProbeHandle<u64> {
    let peers = scope.peers();
    let mut builder = OperatorBuilder::new("sink".to_owned(), scope);
    let mut echoes = builder.new_input(echoes, Exchange::new(|_: &Output| 0));
    let mut told = builder.new_input(told, Exchange::new(|_: &Output| 0));
    let mut alerts = builder.new_input(alerts, Exchange::new(|_: &Output| 0));
    let mut closes = builder.new_input(closes, Exchange::new(|_: &Close| 0));
    let (_done, done_stream) = builder.new_output::<Vec<()>>();
    let ends = ends.clone();
    builder.build(move |_capabilities| {
        let mut epochs: BTreeMap<u64, Waiting<Vec<Output>, Close, 1>> = BTreeMap::new();
        move |frontiers| {
            let mut keep = |epoch: u64, from: usize, batch: &mut Vec<Output>| {
                let kept = &mut epochs.entry(epoch).or_default().a;
                kept.resize_with(3, Vec::new);
                kept[from].append(batch);
            };
            echoes.for_each(|time, batch| keep(*time.time(), 0, batch));
            told.for_each(|time, batch| keep(*time.time(), 1, batch));
            alerts.for_each(|time, batch| keep(*time.time(), 2, batch));
            closes.for_each(|time, batch| epochs.entry(*time.time()).or_default().b.append(batch));
            while let Some(epoch) = ready(&mut epochs, frontiers) {
                if epoch.b.len() == peers && !ends.shared.is_halted() {
                    hand_over(in_order(epoch.a), epoch.b, &ends);
                }
            }
        }
    });
    let (probe, _) = done_stream.probe();
    probe
}

/// Positions and trips, then the events of orders in the order of their causes, however they
/// travelled.
fn in_order(parts: Vec<Vec<Output>>) -> Vec<Output> {
    let mut parts = parts.into_iter();
    let (echoes, told, alerts) = (parts.next(), parts.next(), parts.next());
    let mut events: Vec<Output> = echoes.into_iter().chain(alerts).flatten().collect();
    events.sort_by_key(|output| output.origin);
    let mut outputs = told.unwrap_or_default();
    outputs.append(&mut events);
    outputs
}

fn hand_over(outputs: Vec<Output>, closes: Vec<Close>, ends: &Ends) {
    let Some(message) = closes.first().map(|close| close.message) else { return };
    ends.shared.epoch.store(message.tick.epoch, Ordering::Release);
    if message.replay.is_some() {
        ends.shared.committed_epoch.store(message.tick.epoch, Ordering::Release);
        return;
    }
    let cuts: Vec<_> = closes.into_iter().flat_map(|close| close.cuts).collect();
    let bytes = outputs.iter().map(Output::size_bytes).sum::<usize>() + 24 * cuts.len();
    ends.shared.uncommitted_bytes.fetch_add(bytes, Ordering::AcqRel);
    let epoch = EpochOut { tick: message.tick, snapshot: message.snapshot, cuts, outputs, bytes };
    // The publisher ends only when the flow does: then nothing more is to be committed.
    let _ = ends.epochs.send(epoch);
}
