//! Brings the log into epochs.
//!
//! In:    the partitions that this worker owns, from given offsets.
//! Out:   items for the graph; the cut of each epoch.
//! Keeps: batches read ahead, bounded by the channels (8 batches of 256 KiB a reader); during a
//!        replay also what was read past the recorded cut.
//! Never: lets a backlog delay a live fix, or fixes an order: each has its own reader, channel
//!        and budget.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use inzira_event_log::{EventLog, Position};
use inzira_schemas::{Clock, Micros, Topic};

use super::reader::{Batch, Reader, part_of};
use super::shared::Shared;
use super::tick::RecordedEpoch;
use crate::FlowError;
use crate::stages::{BACKLOG, FIXES, INPUTS, Item, ORDERS};

/// What an epoch takes of each class on one worker, bytes.
const BUDGET_BYTES: [usize; INPUTS.len()] = [4 * 1024 * 1024, 4 * 1024 * 1024, 1024 * 1024];

/// Class and partition.
pub type Part = (u8, u32);

/// The worker that reads a partition.
pub fn owner(topic: Topic, partition: u32, peers: usize) -> usize {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in topic.name().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash.wrapping_add(u64::from(partition)) % peers.max(1) as u64) as usize
}

/// The partitions of one class that `worker` reads, with the offsets to begin at.
pub fn parts_of(
    start: &BTreeMap<Part, u64>,
    class: u8,
    worker: usize,
    peers: usize,
) -> Vec<Position> {
    let topic = INPUTS[usize::from(class)];
    start
        .iter()
        .filter(|((of, partition), _)| *of == class && owner(topic, *partition, peers) == worker)
        .map(|((_, partition), offset)| Position { topic, partition: *partition, offset: *offset })
        .collect()
}

/// One reader's way into epochs.
#[derive(Default)]
struct Line {
    receiver: Option<Receiver<Batch>>,
    waiting: VecDeque<Batch>,
}

/// One worker's input.
pub struct Feed {
    worker: usize,
    /// By class: orders, fixes, backlog.
    lines: [Line; INPUTS.len()],
    /// Its orders have caught up with where they ended at the start.
    orders_caught_up: bool,
    /// During a replay: what was read and not yet asked for.
    ahead: BTreeMap<Part, VecDeque<Item>>,
    read_to: BTreeMap<Part, u64>,
    cuts: BTreeMap<Part, u64>,
    moved: BTreeMap<Part, u64>,
    shared: Arc<Shared>,
}

/// What an epoch takes in.
#[derive(Debug, Default)]
pub struct Admitted {
    /// Order events.
    pub orders: Vec<Item>,
    /// Fixes, live and backlog.
    pub fixes: Vec<Item>,
    /// How many the epoch has taken in so far.
    pub taken: usize,
    bytes: [usize; INPUTS.len()],
}

/// How a feed is opened.
pub struct FeedSetup<'a> {
    /// The log.
    pub log: &'a dyn EventLog,
    /// Where every partition begins.
    pub start: &'a BTreeMap<Part, u64>,
    /// The ends of every partition now.
    pub ends: &'a BTreeMap<Part, u64>,
    /// This worker.
    pub worker: usize,
    /// All workers.
    pub peers: usize,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The others.
    pub shared: Arc<Shared>,
}

impl Feed {
    /// Opens the readers, each on a thread of its own.
    pub fn open(setup: &FeedSetup<'_>) -> Result<Self, FlowError> {
        let mut feed = Self {
            worker: setup.worker,
            lines: Default::default(),
            orders_caught_up: false,
            ahead: BTreeMap::new(),
            read_to: BTreeMap::new(),
            cuts: BTreeMap::new(),
            moved: BTreeMap::new(),
            shared: setup.shared.clone(),
        };
        for class in [ORDERS, FIXES, BACKLOG] {
            feed.open_line(setup, class)?;
        }
        Ok(feed)
    }

    fn open_line(&mut self, setup: &FeedSetup<'_>, class: u8) -> Result<(), FlowError> {
        let from = parts_of(setup.start, class, setup.worker, setup.peers);
        if from.is_empty() {
            // A worker that reads nothing of this has seen everything.
            self.seen(class, Micros(i64::MAX));
            return Ok(());
        }
        let known: BTreeMap<Part, u64> = from.iter().filter_map(part_of).collect();
        self.cuts.extend(known.iter().map(|(part, offset)| (*part, *offset)));
        self.read_to.extend(known.iter().map(|(part, offset)| (*part, *offset)));
        let ends = setup.ends.iter().filter(|(part, _)| known.contains_key(part));
        let reader = Reader {
            worker: setup.worker,
            reader: setup.log.reader(&from)?,
            ends: ends.map(|(part, end)| (*part, *end)).collect(),
            known,
            clock: setup.clock.clone(),
            shared: setup.shared.clone(),
        };
        let name = format!("flow-{}-{}", INPUTS[usize::from(class)], setup.worker);
        self.lines[usize::from(class)].receiver = Some(reader.spawn(name)?);
        Ok(())
    }

    /// Takes what is waiting into the epoch, within its budgets. True when more is waiting.
    pub fn admit(&mut self, into: &mut Admitted) -> bool {
        let mut more = self.admit_class(ORDERS, into);
        // After a start the orders come first, of all workers: what is read of fixes before
        // their orders are known is judged without them.
        if self.shared.orders_behind() == 0 {
            more |= self.admit_class(FIXES, into);
            more |= self.admit_class(BACKLOG, into);
        }
        more
    }

    fn admit_class(&mut self, class: u8, into: &mut Admitted) -> bool {
        let index = usize::from(class);
        while into.bytes[index] < BUDGET_BYTES[index] {
            let Some(batch) = self.lines[index].next() else { return false };
            into.bytes[index] += batch.bytes;
            for (part, to) in &batch.read_to {
                if self.cuts.insert(*part, *to) != Some(*to) {
                    self.moved.insert(*part, *to);
                }
            }
            if let Some(watermark) = batch.watermark {
                self.seen(class, watermark);
            }
            into.take(batch.items);
        }
        true
    }

    fn seen(&mut self, class: u8, watermark: Micros) {
        match class {
            ORDERS => {
                self.shared.seen_until(2 * self.worker, watermark);
                if !std::mem::replace(&mut self.orders_caught_up, true) {
                    self.shared.orders_caught_up();
                }
            }
            FIXES => self.shared.seen_until(2 * self.worker + 1, watermark),
            // Nothing waits for a backlog.
            _ => {}
        }
    }

    /// Takes exactly what a recorded epoch took, or `None` while it has not all been read.
    pub fn admit_recorded(&mut self, epoch: &RecordedEpoch) -> Option<Admitted> {
        self.read_ahead();
        let own = |part: &Part| self.cuts.contains_key(part);
        let ends: Vec<(Part, u64)> = epoch
            .ends
            .iter()
            .map(|(class, partition, end)| ((*class, *partition), *end))
            .filter(|(part, _)| own(part))
            .collect();
        if ends.iter().any(|(part, end)| self.read_to.get(part).is_some_and(|to| to < end)) {
            return None;
        }
        let mut admitted = Admitted::default();
        for (part, end) in ends {
            let queue = self.ahead.entry(part).or_default();
            let until = queue.partition_point(|item| offset_of(item) < end);
            admitted.take(queue.drain(..until).collect());
            self.cuts.insert(part, end);
        }
        Some(admitted)
    }

    /// After the replay: what was read ahead is the first live input.
    pub fn go_live(&mut self) {
        let items: Vec<Item> = self.ahead.values_mut().flat_map(|queue| queue.drain(..)).collect();
        let read_to = self.read_to.iter().map(|(part, to)| (*part, *to)).collect();
        // Orders come by the same batch: what was read ahead is of one moment.
        let batch = Batch { bytes: 0, items, read_to, watermark: None };
        self.lines[usize::from(ORDERS)].waiting.push_front(batch);
    }

    /// How far each partition moved since the last call.
    pub fn take_moved(&mut self) -> Vec<(u8, u32, u64)> {
        std::mem::take(&mut self.moved)
            .into_iter()
            .map(|((class, partition), offset)| (class, partition, offset))
            .collect()
    }

    fn read_ahead(&mut self) {
        for line in &mut self.lines {
            while let Some(batch) = line.next() {
                for item in batch.items {
                    let part = (item.class(), partition_of_item(&item));
                    self.ahead.entry(part).or_default().push_back(item);
                }
                for (part, to) in batch.read_to {
                    self.read_to.insert(part, to);
                }
            }
        }
    }
}

impl Admitted {
    fn take(&mut self, items: Vec<Item>) {
        self.taken += items.len();
        for item in items {
            if item.class() == ORDERS { self.orders.push(item) } else { self.fixes.push(item) }
        }
    }
}

impl Line {
    fn next(&mut self) -> Option<Batch> {
        // A reader that ended has said why; the flow is stopping.
        self.waiting.pop_front().or_else(|| self.receiver.as_ref()?.try_recv().ok())
    }
}

fn offset_of(item: &Item) -> u64 {
    item.origin.offset()
}

fn partition_of_item(item: &Item) -> u32 {
    item.origin.partition()
}
