//! Puts the flow together and takes it down.
//!
//! In:    configuration, log, bus, store, clock.
//! Out:   a handle.
//! Never: lets a panic outside a rule pass: half a dataflow must not commit, so it aborts.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use inzira_event_log::EventLog;
use inzira_live_bus::LiveBus;
use inzira_schemas::Clock;
use inzira_store::Opened;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::feed::{Feed, FeedSetup};
use super::graph::{Ends, Stages, worker_of};
use super::live::FastLane;
use super::publish::Publisher;
use super::recover::{Recovered, recover};
use super::shared::Shared;
use super::snapshot::{Restored, SnapshotWriter, StageName};
use super::tick::{Ticker, TickerSetup};
use super::worker::{self, WorkerSetup};
use crate::rules::Key;
use crate::stages::alerts::AlertsStage;
use crate::stages::drivers::{DriversStage, Positions};
use crate::stages::groups::KeyGroups;
use crate::stages::orders::OrdersStage;
use crate::{FlowConfig, FlowError};

/// The last snapshot may take this long after everything else has stopped.
const LAST_SNAPSHOT: Duration = Duration::from_secs(10);

/// The tasks of a running flow.
pub struct Running {
    /// What they share.
    pub shared: Arc<Shared>,
    /// Ends when all has been committed and written down.
    pub done: JoinHandle<Result<(), FlowError>>,
}

/// Recovers, then starts every thread and task.
pub async fn start(
    config: FlowConfig,
    log: Arc<dyn EventLog>,
    bus: Arc<dyn LiveBus>,
    store: Opened,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<Running, FlowError> {
    config.check()?;
    let recovered = recover(log.clone(), store.store.as_ref()).await?;
    let Recovered { transactor, generation, restored, plan, from, start, ends: log_ends } =
        recovered;
    let shared = Arc::new(Shared::new(config.workers));
    shared.replay_left.store(plan.len(), Ordering::Release);
    tracing::info!(
        generation,
        snapshot_epoch = from.epoch,
        replay_epochs = plan.len(),
        workers = config.workers,
        "the flow begins"
    );
    let mut cuts = start.clone();
    cuts.extend(
        plan.iter().flat_map(|e| &e.ends).map(|(class, part, end)| ((*class, *part), *end)),
    );
    let plan = Arc::new(plan);
    let (epochs_in, epochs) = unbounded_channel();
    let (news_in, news) = unbounded_channel();
    let (counted, _) = std::sync::mpsc::channel();
    let ends =
        Ends { epochs: epochs_in, snapshots: news_in.clone(), shared: shared.clone(), counted };
    let lane = Arc::new(FastLane::default());
    let mut setups = Vec::new();
    for index in 0..config.workers {
        let feed = Feed::open(&FeedSetup {
            log: log.as_ref(),
            start: &start,
            ends: &log_ends,
            worker: index,
            peers: config.workers,
            clock: clock.clone(),
            shared: shared.clone(),
        })?;
        let ticker = (index == 0).then(|| {
            Ticker::new(TickerSetup {
                clock: clock.clone(),
                plan: plan.clone(),
                last: from,
                epoch: config.epoch,
                snapshot_every: config.snapshot_every,
                uncommitted_max: config.uncommitted_max,
                stop: stop.clone(),
            })
        });
        let positions = Positions::Told(Some(lane.clone()));
        let stages = load(&restored, index, config.workers, positions)?;
        setups.push(WorkerSetup {
            feed: Box::new(feed),
            stages,
            ends: ends.clone(),
            ticker,
            plan: plan.clone(),
            first_epoch: from.epoch + 1,
        });
    }
    drop((restored, ends));
    let lane_stop = CancellationToken::new();
    let lane_task = spawn_or_abort("live lane", lane.run(bus.clone(), lane_stop.clone()));
    let writer = SnapshotWriter::new(store.store.clone(), shared.clone(), config.workers);
    let writer_task = spawn_or_abort("snapshot writer", writer.run(news));
    let publisher = Publisher {
        log,
        transactor,
        generation,
        bus,
        shared: shared.clone(),
        snapshots: news_in,
        cuts,
    };
    let publisher_task = spawn_or_abort("publisher", publisher.run(epochs));
    let engine = run_engine(setups);
    let watched = shared.clone();
    let done = tokio::spawn(async move {
        let engine = engine.await;
        let _ = publisher_task.await;
        lane_stop.cancel();
        let _ = lane_task.await;
        let _ = tokio::time::timeout(LAST_SNAPSHOT, writer_task).await;
        match watched.take_failure() {
            Some(error) => Err(error),
            None => engine.map_err(|e| FlowError::Engine(e.to_string()))?,
        }
    });
    Ok(Running { shared, done })
}

/// Spawns a task whose panic ends the process: what it left half done only a new start, which
/// reads the progress back, can judge.
fn spawn_or_abort(
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            tracing::error!(name, "a task of the flow broke, the process ends");
            std::process::abort();
        }
    })
}

/// Runs timely on threads of its own and waits for them off the async threads.
pub fn run_engine(setups: Vec<WorkerSetup>) -> JoinHandle<Result<(), FlowError>> {
    tokio::task::spawn_blocking(move || run_engine_here(setups))
}

/// Runs timely and waits on this thread.
pub fn run_engine_here(setups: Vec<WorkerSetup>) -> Result<(), FlowError> {
    let workers = setups.len();
    let setups: Vec<Mutex<Option<WorkerSetup>>> =
        setups.into_iter().map(|setup| Mutex::new(Some(setup))).collect();
    let guards = timely::execute(timely::Config::process(workers), move |timely_worker| {
        let slot = &setups[timely_worker.index()];
        let Some(setup) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| worker::run(timely_worker, setup)));
        if outcome.is_err() {
            // Its capabilities would go with it and an unfinished epoch look finished.
            tracing::error!("a worker broke outside a rule, the process ends");
            std::process::abort();
        }
    })
    .map_err(FlowError::Engine)?;
    for outcome in guards.join() {
        outcome.map_err(FlowError::Engine)?;
    }
    Ok(())
}

/// The stages of one worker, with the groups that are its own.
pub fn load(
    restored: &Restored,
    worker: usize,
    workers: usize,
    positions: Positions,
) -> Result<Stages, FlowError> {
    let mut stages = Stages {
        orders: OrdersStage::default(),
        drivers: DriversStage::new(positions),
        alerts: AlertsStage::default(),
    };
    load_groups(&mut stages.orders.groups, restored, StageName::Orders, (worker, workers))?;
    load_groups(&mut stages.drivers.groups, restored, StageName::Drivers, (worker, workers))?;
    load_groups(&mut stages.alerts.groups, restored, StageName::Alerts, (worker, workers))?;
    stages.drivers.plan_wakes();
    Ok(stages)
}

fn load_groups<V>(
    groups: &mut KeyGroups<V>,
    restored: &Restored,
    stage: StageName,
    (worker, workers): (usize, usize),
) -> Result<(), FlowError>
where
    V: serde::Serialize + serde::de::DeserializeOwned,
{
    let own: BTreeMap<usize, &bytes::Bytes> = restored
        .iter()
        .filter(|((of, group), _)| {
            *of == stage && worker_of((*group as Key) << 120, workers) == worker as u64
        })
        .map(|((_, group), bytes)| (*group, bytes))
        .collect();
    for (group, bytes) in own {
        groups.load(group, bytes).map_err(|error| FlowError::Snapshot(error.to_string()))?;
    }
    Ok(())
}
