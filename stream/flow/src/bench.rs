//! Measures the rules inside the real engine, without a log.
//!
//! In:    how many fixes, of how many drivers, on how many workers.
//! Out:   fixes a CPU-second, and a checksum over every position.
//!
//! Protobuf bytes go in; decoding, repeats, smoothing, cells, the join with orders and ARRIVING
//! run on every fix; the exchange between workers and the snapshots are the real ones. What is
//! left out is the encoding of positions and the log itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use inzira_schemas::{HandClock, Micros, wire};
use inzira_store::object_store::memory::InMemory;
use prost::Message;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::FlowError;
use crate::engine::feed::Admitted;
use crate::engine::graph::Ends;
use crate::engine::publish::EpochOut;
use crate::engine::shared::Shared;
use crate::engine::snapshot::{CommittedEpoch, Restored, SnapshotNews, SnapshotWriter};
use crate::engine::start::{load, run_engine_here};
use crate::engine::tick::{RecordedEpoch, Ticker, TickerSetup};
use crate::engine::worker::{Intake, WorkerSetup};
use crate::rules::{Origin, Tick, key_of};
use crate::stages::drivers::{Count, Positions};
use crate::stages::{FIXES, Item, ORDERS};

/// Seconds between two fixes of one driver.
const EVERY_S: i64 = 5;
const START: Micros = Micros::from_secs(1_790_000_000);
/// Items that a worker takes into one epoch.
const EPOCH_ITEMS: usize = 16_384;
/// Every so many drivers has an open order.
const ORDER_EVERY: usize = 2;

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Fixes that went in.
    pub fixes: usize,
    /// Drivers they belong to.
    pub drivers: usize,
    /// Workers.
    pub workers: usize,
    /// Positions that came out; as many as fixes.
    pub positions: u64,
    /// The same for the same input, on any number of workers.
    pub checksum: u64,
    /// Seconds from the first to the last epoch.
    pub wall_s: f64,
    /// CPU-seconds of the whole process meanwhile.
    pub cpu_s: f64,
    /// Fixes a CPU-second.
    pub fixes_per_s_core: f64,
    /// Snapshots that were written meanwhile.
    pub snapshots: u64,
    /// State of a driver as written down, bytes.
    pub bytes_per_driver: f64,
}

/// Runs `fixes` fixes of `drivers` drivers, shuffled, through `workers` workers.
pub fn in_process(fixes: usize, drivers: usize, workers: usize) -> Result<Figures, FlowError> {
    let (intakes, total) = make_input(fixes, drivers, workers);
    let shared = Arc::new(Shared::new(workers));
    for slot in 0..2 * workers {
        shared.seen_until(slot, START.plus_secs(1));
    }
    let stop = CancellationToken::new();
    let (epochs_in, epochs) = unbounded_channel();
    let (news_in, news) = unbounded_channel();
    let (counted, counts) = std::sync::mpsc::channel();
    let store = Arc::new(InMemory::new());
    let writer = SnapshotWriter::new(store.clone(), shared.clone(), workers);
    let written = std::thread::spawn({
        let news_in = news_in.clone();
        move || write_snapshots(writer, epochs, news_in, news)
    });
    let plan = Arc::new(Vec::new());
    let left = Arc::new(AtomicUsize::new(workers));
    let mut setups = Vec::new();
    for (index, items) in intakes.into_iter().enumerate() {
        let ticker = (index == 0).then(|| {
            Ticker::new(TickerSetup {
                clock: Arc::new(HandClock::at(START)),
                plan: Arc::new(Vec::new()),
                last: Tick::default(),
                epoch: Duration::from_millis(1),
                snapshot_every: Duration::from_secs(2),
                uncommitted_max: usize::MAX,
                stop: stop.clone(),
            })
        });
        setups.push(WorkerSetup {
            feed: Box::new(Memory { items, left: left.clone(), stop: stop.clone(), done: false }),
            stages: load(&Restored::new(), index, workers, Positions::Counted)?,
            ends: Ends {
                epochs: epochs_in.clone(),
                snapshots: news_in.clone(),
                shared: shared.clone(),
                counted: counted.clone(),
            },
            ticker,
            plan: Arc::clone(&plan),
            first_epoch: 1,
        });
    }
    drop((epochs_in, news_in, counted));
    let (began, cpu_began) = (Instant::now(), cpu_s());
    run_engine_here(setups)?;
    let (wall_s, cpu) = (began.elapsed().as_secs_f64(), cpu_s() - cpu_began);
    let (snapshots, bytes) = written.join().unwrap_or_default();
    let count = counts.iter().fold(Count::default(), |sum, one| Count {
        positions: sum.positions + one.positions,
        checksum: sum.checksum.wrapping_add(one.checksum),
        repeats: sum.repeats + one.repeats,
    });
    Ok(Figures {
        fixes: total,
        drivers,
        workers,
        positions: count.positions,
        checksum: count.checksum,
        wall_s,
        cpu_s: cpu,
        fixes_per_s_core: total as f64 / cpu.max(1e-9),
        snapshots,
        bytes_per_driver: bytes as f64 / drivers.max(1) as f64,
    })
}

/// Stands where the publisher does: every epoch counts as committed at once.
fn write_snapshots(
    writer: SnapshotWriter,
    mut epochs: UnboundedReceiver<EpochOut>,
    news_in: tokio::sync::mpsc::UnboundedSender<SnapshotNews>,
    mut news: UnboundedReceiver<SnapshotNews>,
) -> (u64, u64) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return (0, 0);
    };
    runtime.block_on(async move {
        let (forward_in, forward) = unbounded_channel();
        let writing = tokio::spawn(writer.run(forward));
        let committing = tokio::spawn(async move {
            while let Some(epoch) = epochs.recv().await {
                if epoch.snapshot {
                    let committed =
                        CommittedEpoch { tick: epoch.tick, cuts: Vec::new(), progress_offset: 0 };
                    let _ = news_in.send(SnapshotNews::Committed(committed));
                }
            }
        });
        let (mut snapshots, mut bytes) = (0_u64, 0_u64);
        while let Some(item) = news.recv().await {
            match &item {
                SnapshotNews::Part(part) => {
                    bytes += part.groups.iter().map(|group| group.bytes.len() as u64).sum::<u64>();
                }
                SnapshotNews::Committed(_) => snapshots += 1,
            }
            if forward_in.send(item).is_err() {
                break;
            }
        }
        drop(forward_in);
        let _ = committing.await;
        let _ = writing.await;
        (snapshots, bytes.checked_div(snapshots).unwrap_or(0))
    })
}

/// Input that lies in memory.
struct Memory {
    items: VecDeque<Item>,
    left: Arc<AtomicUsize>,
    stop: CancellationToken,
    done: bool,
}

impl Intake for Memory {
    fn admit(&mut self, into: &mut Admitted) -> bool {
        let room = EPOCH_ITEMS.saturating_sub(into.taken);
        let take = room.min(self.items.len());
        into.taken += take;
        for item in self.items.drain(..take) {
            if item.class() == ORDERS { into.orders.push(item) } else { into.fixes.push(item) }
        }
        if self.items.is_empty() && !self.done {
            self.done = true;
            if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.stop.cancel();
            }
        }
        !self.items.is_empty()
    }

    fn admit_recorded(&mut self, _: &RecordedEpoch) -> Option<Admitted> {
        Some(Admitted::default())
    }

    fn go_live(&mut self) {}

    fn take_moved(&mut self) -> Vec<(u8, u32, u64)> {
        Vec::new()
    }
}

/// Rounds of one fix a driver, each round in another order, dealt out over the workers.
fn make_input(fixes: usize, drivers: usize, workers: usize) -> (Vec<VecDeque<Item>>, usize) {
    let names: Vec<String> = (0..drivers).map(|n| format!("drv_{n:026}")).collect();
    let keys: Vec<u128> = names.iter().map(|name| key_of(name)).collect();
    let mut intakes: Vec<VecDeque<Item>> = (0..workers).map(|_| VecDeque::new()).collect();
    for driver in (0..drivers).step_by(ORDER_EVERY) {
        let (item, order_at) = (order(driver, &names[driver]), driver % workers);
        intakes[order_at].push_back(item);
    }
    let rounds = fixes.div_ceil(drivers.max(1));
    let mut chunk = BytesMut::new();
    let mut order: Vec<usize> = (0..drivers).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut offset = 0_u64;
    for round in 0..rounds {
        for index in (1..order.len()).rev() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(index, (random % (index as u64 + 1)) as usize);
        }
        for &driver in &order {
            fix(driver, &names[driver], round, &mut chunk);
            // A driver's fixes come by one partition, so by one worker.
            intakes[driver % workers].push_back(Item {
                key: keys[driver],
                origin: Origin::new(START, FIXES, (driver % 24) as u32, offset),
                value: chunk.split().freeze(),
            });
            offset += 1;
            if chunk.capacity() < 1_024 {
                chunk.reserve(1 << 20);
            }
        }
    }
    (intakes, rounds * drivers)
}

/// Every driver goes round a circle of a kilometre and a half somewhere in Rwanda.
fn place(driver: usize, round: usize) -> (f64, f64, f64) {
    let centre_lat = -2.6 + (driver % 317) as f64 * 0.0045;
    let centre_lon = 29.1 + (driver % 293) as f64 * 0.0055;
    let angle = driver as f64 + round as f64 * 0.03;
    (centre_lat + 0.0135 * angle.sin(), centre_lon + 0.0135 * angle.cos(), angle)
}

fn fix(driver: usize, name: &str, round: usize, into: &mut BytesMut) {
    let (lat, lon, angle) = place(driver, round);
    let at = START.plus_secs(round as i64 * EVERY_S).0 + (driver % 5_000) as i64 * 1_000;
    let wobble = ((driver * 31 + round * 17) % 97) as f64 * 1e-6;
    let fix = wire::Fix {
        envelope: Some(wire::Envelope {
            event_id: format!("evt_{:026}", driver * 1_000 + round),
            event_type: "fix.accepted".to_owned(),
            schema: 1,
            occurred_at_us: at,
            recorded_at_us: at,
            actor_role: "driver".to_owned(),
            actor_id: name.to_owned(),
            ..Default::default()
        }),
        driver_id: name.to_owned(),
        device_id: format!("dev_{driver:026}"),
        seq: Some(round as u64 + 1),
        measured_at_us: at,
        received_at_us: at + 300_000,
        time_source: "device".to_owned(),
        protocol: "json".to_owned(),
        lat: lat + wobble,
        lon: lon - wobble,
        accuracy_m: Some(8.0),
        speed_mps: Some(9.0),
        bearing_deg: Some((-angle.to_degrees()).rem_euclid(360.0)),
        ..Default::default()
    };
    // A BytesMut grows as needed.
    let _ = fix.encode(into);
}

fn order(driver: usize, name: &str) -> Item {
    let (lat, lon, _) = place(driver, 40);
    let order_id = format!("ord_{driver:026}");
    let event = wire::OrderEvent {
        envelope: Some(wire::Envelope { occurred_at_us: START.0, ..Default::default() }),
        order_id: order_id.clone(),
        state: "picked_up".to_owned(),
        driver_id: name.to_owned(),
        destination_lat: lat,
        destination_lon: lon,
        version: 1,
        ..Default::default()
    };
    Item {
        key: key_of(&order_id),
        origin: Origin::new(START, ORDERS, (driver % 12) as u32, driver as u64),
        value: event.encode_to_vec().into(),
    }
}

/// CPU-seconds of this process so far, user and system.
fn cpu_s() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0.0 };
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_over_all_positions_is_the_same_on_any_number_of_workers() {
        let figures: Vec<Figures> = [1, 2, 3]
            .into_iter()
            .map(|workers| in_process(20_000, 1_000, workers).unwrap())
            .collect();
        for one in &figures {
            assert_eq!(one.positions, 20_000);
            assert_eq!(one.checksum, figures[0].checksum);
            assert!(one.snapshots >= 1 && one.bytes_per_driver > 100.0, "{one:?}");
        }
    }
}
