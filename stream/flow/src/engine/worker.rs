//! One worker: takes input in, closes epochs, lets timely run.
//!
//! In:    its feed, its state, its handles.
//! Out:   nothing of its own.
//! Never: parks while input waits; leaves before the last tick, unless the flow is halted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Input, Inspect};
use timely::worker::Worker;

use super::feed::{Admitted, Feed};
use super::graph::{self, Close, Ends, Graph, Stages};
use super::tick::{RecordedEpoch, TickMessage, Ticker};

/// A worker other than the first sleeps this long at most.
const SLEEP: Duration = Duration::from_millis(50);

/// What one worker is given.
pub struct WorkerSetup {
    /// Its input.
    pub feed: Box<dyn Intake>,
    /// Its state.
    pub stages: Stages,
    /// Where its results go.
    pub ends: Ends,
    /// On worker 0.
    pub ticker: Option<Ticker>,
    /// Epochs to replay first.
    pub plan: Arc<Vec<RecordedEpoch>>,
    /// The first epoch there can be.
    pub first_epoch: u64,
}

/// Where a worker's input comes from: the log, or memory for measuring.
pub trait Intake: Send {
    /// Takes what is waiting into the epoch, within its budgets. True when more is waiting.
    fn admit(&mut self, into: &mut Admitted) -> bool;
    /// Takes exactly what a recorded epoch took, or `None` while it has not all been read.
    fn admit_recorded(&mut self, epoch: &RecordedEpoch) -> Option<Admitted>;
    /// After the replay.
    fn go_live(&mut self);
    /// How far each partition moved since the last call.
    fn take_moved(&mut self) -> Vec<(u8, u32, u64)>;
}

impl Intake for Feed {
    fn admit(&mut self, into: &mut Admitted) -> bool {
        Feed::admit(self, into)
    }
    fn admit_recorded(&mut self, epoch: &RecordedEpoch) -> Option<Admitted> {
        Feed::admit_recorded(self, epoch)
    }
    fn go_live(&mut self) {
        Feed::go_live(self);
    }
    fn take_moved(&mut self) -> Vec<(u8, u32, u64)> {
        Feed::take_moved(self)
    }
}

type Ticks = InputHandle<u64, CapacityContainerBuilder<Vec<TickMessage>>>;

/// Runs until the last tick, or until the flow is halted.
pub fn run(worker: &mut Worker, setup: WorkerSetup) {
    let WorkerSetup { mut feed, stages, ends, mut ticker, plan, first_epoch } = setup;
    let shared = ends.shared.clone();
    shared.register(worker.index());
    let arrived: Rc<RefCell<VecDeque<TickMessage>>> = Rc::default();
    let mut ticks = ticks_dataflow(worker, arrived.clone());
    let mut graph = worker.dataflow::<u64, _, _>(|scope| graph::build(scope, stages, &ends));
    // Epochs before the first are over: else the ticker would wait for them for ever.
    graph.orders.advance_to(first_epoch);
    graph.fixes.advance_to(first_epoch);
    graph.closes.advance_to(first_epoch);
    let mut admitted = Admitted::default();
    // While epochs are replayed nothing else may be taken in.
    let mut live = plan.is_empty();
    loop {
        if shared.is_halted() {
            break;
        }
        if let Some(ticker) = &mut ticker
            && let Some(message) = ticker.next(&shared, |epoch| !graph.probe.less_equal(&epoch))
        {
            ticks.advance_to(message.tick.epoch);
            ticks.send(message);
            ticks.advance_to(message.tick.epoch + 1);
        }
        if live {
            take_in(feed.as_mut(), &mut admitted, &ends);
        }
        let next = arrived.borrow().front().copied();
        if let Some(message) = next {
            let closed = match message.replay {
                Some(index) => replay(feed.as_mut(), &plan, index, &mut graph),
                None => {
                    // What waited when the tick was minted belongs to its epoch.
                    take_in(feed.as_mut(), &mut admitted, &ends);
                    send(&mut graph, &mut admitted);
                    true
                }
            };
            if closed {
                arrived.borrow_mut().pop_front();
                let cuts = if message.replay.is_some() { Vec::new() } else { feed.take_moved() };
                close(&mut graph, message, cuts);
                admitted = Admitted::default();
                if !live && message.replay.is_some_and(|index| index as usize + 1 == plan.len()) {
                    live = true;
                    feed.go_live();
                    shared.input_waits(worker.index());
                }
            }
            if closed && message.stop {
                break;
            }
        }
        let patience = match &ticker {
            Some(ticker) => ticker.patience(&shared),
            None if live => SLEEP,
            None => Duration::from_millis(1),
        };
        worker.step_or_park(Some(patience));
    }
    // What is in flight drains when the handles go; `execute` steps until then.
}

/// Ticks go from worker 0 to every worker's queue.
fn ticks_dataflow(worker: &mut Worker, arrived: Rc<RefCell<VecDeque<TickMessage>>>) -> Ticks {
    worker.dataflow::<u64, _, _>(|scope| {
        let (handle, stream) = scope.new_input::<Vec<TickMessage>>();
        stream.broadcast().inspect(move |message| arrived.borrow_mut().push_back(*message));
        handle
    })
}

fn take_in(feed: &mut dyn Intake, admitted: &mut Admitted, ends: &Ends) {
    let before = admitted.taken;
    let more = feed.admit(admitted);
    ends.shared.items.fetch_add((admitted.taken - before) as u64, Ordering::Relaxed);
    if more {
        ends.shared.waiting.store(true, Ordering::Release);
    }
}

/// Sends an epoch's input, all at once and just before the inputs advance: what is sent with a
/// step in between stays in the exchange, which only flushes what its own round produced.
fn send(graph: &mut Graph, admitted: &mut Admitted) {
    graph.orders.send_batch(&mut admitted.orders);
    graph.fixes.send_batch(&mut admitted.fixes);
    admitted.orders.clear();
    admitted.fixes.clear();
}

/// Takes in what a recorded epoch took. False while it has not all been read.
fn replay(feed: &mut dyn Intake, plan: &[RecordedEpoch], index: u32, graph: &mut Graph) -> bool {
    let Some(epoch) = plan.get(index as usize) else { return true };
    let Some(mut admitted) = feed.admit_recorded(epoch) else { return false };
    // Empty epochs were not recorded: the inputs step over them.
    graph.orders.advance_to(epoch.tick.epoch);
    graph.fixes.advance_to(epoch.tick.epoch);
    send(graph, &mut admitted);
    true
}

fn close(graph: &mut Graph, message: TickMessage, cuts: Vec<(u8, u32, u64)>) {
    let epoch = message.tick.epoch;
    graph.closes.advance_to(epoch);
    graph.closes.send(Close { message, cuts });
    graph.closes.advance_to(epoch + 1);
    graph.orders.advance_to(epoch + 1);
    graph.fixes.advance_to(epoch + 1);
}
