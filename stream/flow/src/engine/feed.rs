//! Brings the log into epochs.
//!
//! In:    the partitions that this worker owns, from given offsets.
//! Out:   items for the graph; the cut of each epoch.
//! Keeps: batches read ahead, bounded by the channels (8 batches of 256 KiB a reader); during a
//!        replay also what was read past the recorded cut.
//! Never: lets a backlog delay a live fix: it has its own reader, channel and budget.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use inzira_event_log::{EventLog, LogError, LogReader, Position, Record};
use inzira_schemas::{Clock, Micros, Topic};

use super::shared::Shared;
use super::tick::RecordedEpoch;
use crate::FlowError;
use crate::stages::{BACKLOG, INPUTS, Item, ORDERS, class_of};

/// One poll takes about this many bytes.
const POLL_BYTES: usize = 256 * 1024;
const POLL_WAIT: Duration = Duration::from_millis(50);
/// Batches that wait between a reader and its worker.
const CHANNEL_BATCHES: usize = 8;
/// A worker takes this much live input into one epoch, bytes.
const LIVE_BYTES: usize = 4 * 1024 * 1024;
/// And this much of the backlog.
const BACKLOG_BYTES: usize = 1024 * 1024;

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

/// The partitions of `worker`, live or backlog, with the offsets to begin at.
pub fn parts_of(
    start: &BTreeMap<Part, u64>,
    live: bool,
    worker: usize,
    peers: usize,
) -> Vec<Position> {
    start
        .iter()
        .filter(|((class, _), _)| (*class != BACKLOG) == live)
        .map(|((class, partition), offset)| Position {
            topic: INPUTS[usize::from(*class)],
            partition: *partition,
            offset: *offset,
        })
        .filter(|position| owner(position.topic, position.partition, peers) == worker)
        .collect()
}

/// What one poll brought.
struct Batch {
    items: Vec<Item>,
    bytes: usize,
    /// How far each partition has been read.
    read_to: Vec<(Part, u64)>,
    /// All that reached the log before this has been read.
    watermark: Option<Micros>,
}

/// What a reader thread is given.
struct Reader {
    worker: usize,
    reader: Box<dyn LogReader>,
    /// The log's ends when it began: until then it has not caught up.
    ends: BTreeMap<Part, u64>,
    known: BTreeMap<Part, u64>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    sender: SyncSender<Batch>,
}

/// One worker's input.
pub struct Feed {
    worker: usize,
    live: Option<Receiver<Batch>>,
    backlog: Option<Receiver<Batch>>,
    live_waiting: VecDeque<Batch>,
    backlog_waiting: VecDeque<Batch>,
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
    live_bytes: usize,
    backlog_bytes: usize,
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
            live: None,
            backlog: None,
            live_waiting: VecDeque::new(),
            backlog_waiting: VecDeque::new(),
            ahead: BTreeMap::new(),
            read_to: BTreeMap::new(),
            cuts: BTreeMap::new(),
            moved: BTreeMap::new(),
            shared: setup.shared.clone(),
        };
        feed.live = feed.open_reader(setup, true)?;
        feed.backlog = feed.open_reader(setup, false)?;
        if feed.live.is_none() {
            // A worker with no live partition has seen everything.
            setup.shared.seen_until(setup.worker, Micros(i64::MAX));
        }
        Ok(feed)
    }

    fn open_reader(
        &mut self,
        setup: &FeedSetup<'_>,
        live: bool,
    ) -> Result<Option<Receiver<Batch>>, FlowError> {
        let from = parts_of(setup.start, live, setup.worker, setup.peers);
        if from.is_empty() {
            return Ok(None);
        }
        let known: BTreeMap<Part, u64> = from.iter().filter_map(part_of).collect();
        self.cuts.extend(known.iter().map(|(part, offset)| (*part, *offset)));
        self.read_to.extend(known.iter().map(|(part, offset)| (*part, *offset)));
        let (sender, receiver) = sync_channel(CHANNEL_BATCHES);
        let ends = setup.ends.iter().filter(|(part, _)| known.contains_key(part));
        let reader = Reader {
            worker: setup.worker,
            reader: setup.log.reader(&from)?,
            ends: ends.map(|(part, end)| (*part, *end)).collect(),
            known,
            clock: setup.clock.clone(),
            shared: setup.shared.clone(),
            sender,
        };
        let kind = if live { "live" } else { "backlog" };
        std::thread::Builder::new()
            .name(format!("flow-{kind}-{}", setup.worker))
            .spawn(move || reader.run())
            .map_err(|error| FlowError::Engine(format!("no thread for a reader: {error}")))?;
        Ok(Some(receiver))
    }

    /// Takes what is waiting into the epoch, within its budgets. True when more is waiting.
    pub fn admit(&mut self, into: &mut Admitted) -> bool {
        while into.live_bytes < LIVE_BYTES
            && let Some(batch) = next(self.live.as_ref(), &mut self.live_waiting)
        {
            into.live_bytes += batch.bytes;
            take(&mut self.cuts, &mut self.moved, &batch);
            if let Some(watermark) = batch.watermark {
                self.shared.seen_until(self.worker, watermark);
            }
            into.take(batch.items);
        }
        while into.backlog_bytes < BACKLOG_BYTES
            && let Some(batch) = next(self.backlog.as_ref(), &mut self.backlog_waiting)
        {
            into.backlog_bytes += batch.bytes;
            take(&mut self.cuts, &mut self.moved, &batch);
            into.take(batch.items);
        }
        into.live_bytes >= LIVE_BYTES || into.backlog_bytes >= BACKLOG_BYTES
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
        self.live_waiting.push_front(Batch { bytes: 0, items, read_to, watermark: None });
    }

    /// How far each partition moved since the last call.
    pub fn take_moved(&mut self) -> Vec<(u8, u32, u64)> {
        std::mem::take(&mut self.moved)
            .into_iter()
            .map(|((class, partition), offset)| (class, partition, offset))
            .collect()
    }

    fn read_ahead(&mut self) {
        for receiver in [&mut self.live, &mut self.backlog].into_iter().flatten() {
            while let Ok(batch) = receiver.try_recv() {
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

fn next(receiver: Option<&Receiver<Batch>>, waiting: &mut VecDeque<Batch>) -> Option<Batch> {
    if let Some(batch) = waiting.pop_front() {
        return Some(batch);
    }
    match receiver?.try_recv() {
        Ok(batch) => Some(batch),
        // A reader that ended has said why; the flow is stopping.
        Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
    }
}

fn take(cuts: &mut BTreeMap<Part, u64>, moved: &mut BTreeMap<Part, u64>, batch: &Batch) {
    for (part, to) in &batch.read_to {
        if cuts.insert(*part, *to) != Some(*to) {
            moved.insert(*part, *to);
        }
    }
}

fn offset_of(item: &Item) -> u64 {
    item.origin.offset()
}

fn partition_of_item(item: &Item) -> u32 {
    item.origin.partition()
}

fn part_of(position: &Position) -> Option<(Part, u64)> {
    Some(((class_of(position.topic)?, position.partition), position.offset))
}

impl Reader {
    /// Reads until the worker is gone or the log fails.
    fn run(mut self) {
        let mut caught_up = false;
        let mut told_at = Micros(i64::MIN);
        while !self.shared.is_halted() {
            let asked_at = self.clock.now();
            let records = match self.reader.poll(POLL_BYTES, POLL_WAIT) {
                Ok(records) => records,
                Err(LogError::Busy(reason)) => {
                    tracing::warn!(reason, "the log is busy, reading again");
                    std::thread::sleep(POLL_WAIT);
                    continue;
                }
                Err(error) => return self.shared.fail(FlowError::Log(error)),
            };
            let read_to = self.moved();
            caught_up = caught_up || self.has_caught_up();
            let watermark = caught_up.then(|| watermark_of(&records, asked_at));
            let quiet = records.is_empty() && read_to.is_empty();
            let worth_telling = watermark.is_some_and(|w| w.0 >= told_at.0.saturating_add(50_000));
            if quiet && !worth_telling {
                continue;
            }
            told_at = watermark.unwrap_or(told_at);
            let bytes = records.iter().map(|record| record.value.len() + 64).sum();
            let items = records.into_iter().filter_map(Item::of).collect();
            if self.sender.send(Batch { items, bytes, read_to, watermark }).is_err() {
                return;
            }
            if !quiet {
                self.shared.input_waits(self.worker);
            }
        }
    }

    /// The partitions that moved since the last poll.
    fn moved(&mut self) -> Vec<(Part, u64)> {
        let mut moved = Vec::new();
        for (part, to) in self.reader.positions().iter().filter_map(part_of) {
            if self.known.insert(part, to) != Some(to) {
                moved.push((part, to));
            }
        }
        moved
    }

    fn has_caught_up(&self) -> bool {
        self.ends.iter().all(|(part, end)| self.known.get(part).is_some_and(|to| to >= end))
    }
}

/// All that reached the log before this has been read: the moment of asking when nothing came,
/// else the oldest of the newest records a partition.
fn watermark_of(records: &[Record], asked_at: Micros) -> Micros {
    let mut newest: BTreeMap<(Topic, u32), i64> = BTreeMap::new();
    for record in records {
        newest.insert((record.topic, record.partition), record.appended_at_us);
    }
    newest.values().min().map_or(asked_at, |oldest| Micros(*oldest).min(asked_at))
}
