//! Follows the log and the archive, and publishes a consistent cut after every step.
//!
//! In:    the log from the committed offsets on; newer versions of the tables, once a second.
//! Out:   the newest cut, for every question to take; decoded rows, for the revenue rollup.
//! Keeps: the tails, at most `tail_bytes_max`; beyond it reading pauses, the cut grows old and
//!        says so by its `as_of`, until the archive commits and rows can be dropped. (It reads on
//!        when the archive is ahead of it, up to where the newer version begins.)
//! Never: waits for a question; publishes half a step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use inzira_archive::Table;
use inzira_event_log::{EventLog, LogError, LogReader, Position, Record};
use inzira_schemas::{Clock, Micros, Topic};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::error::QueryError;
use crate::source::{Committed, Offsets, Snapshot};
use crate::view::{Cut, View};

/// How long one read of the log waits for something new.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// About how many bytes one read takes.
const POLL_BYTES: usize = 4 << 20;
/// While the log never falls silent its heads are asked this often, to know how new the cut is.
const HEADS_EVERY: Duration = Duration::from_millis(500);
/// The archive is asked for newer versions this often.
const VERSIONS_EVERY: Duration = Duration::from_secs(1);
/// After a failure the follower waits this long and goes on where it was.
const PAUSE: Duration = Duration::from_secs(1);
/// Versions that may wait to be taken; a newer one of the same table replaces none, they queue.
const VERSIONS_AHEAD: usize = 16;

/// What is told of every step besides the cut.
pub trait Observer: Send + Sync + 'static {
    /// Rows as they came, repeats included.
    fn rows(&self, table: Table, rows: &RecordBatch);
}

/// What the follower works with.
pub struct Follower {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The archive.
    pub committed: Arc<dyn Committed>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Bytes of rows not yet archived that may be held.
    pub tail_bytes_max: usize,
    /// Who else wants the rows.
    pub observer: Arc<dyn Observer>,
}

/// The newest versions of tables, and where their topics' partitions begin.
pub async fn begin(
    log: &dyn EventLog,
    committed: &dyn Committed,
    tables: &[Table],
    now: Micros,
) -> Result<Cut, QueryError> {
    let mut snapshots = Vec::with_capacity(tables.len());
    let mut starts = Offsets::new();
    for table in tables {
        let newest = committed.newest(*table, None).await?;
        snapshots.push(newest.unwrap_or_else(|| Snapshot::empty(*table)));
        for topic in table.topics() {
            for head in log.heads(*topic).await? {
                starts.insert((*topic, head.partition), head.start);
            }
        }
    }
    Ok(Cut::begin(snapshots, &starts, now))
}

/// The ends of the partitions of some topics. Effects are asked before their causes, so that a
/// cut that holds an effect holds its cause.
pub async fn heads(log: &dyn EventLog, topics: &[Topic]) -> Result<Offsets, QueryError> {
    const EFFECTS_FIRST: [Topic; 8] = [
        Topic::Trips,
        Topic::TrackingEvents,
        Topic::Positions,
        Topic::FraudDecisions,
        Topic::Payments,
        Topic::Orders,
        Topic::GpsBacklog,
        Topic::GpsFixes,
    ];
    let mut ends = Offsets::new();
    for topic in EFFECTS_FIRST.into_iter().filter(|topic| topics.contains(topic)) {
        for head in log.heads(topic).await? {
            ends.insert((topic, head.partition), head.end);
        }
    }
    Ok(ends)
}

/// Reads once to the present ends of the log: for a process that answers and leaves.
pub async fn read_once(
    log: &Arc<dyn EventLog>,
    committed: &dyn Committed,
    clock: &dyn Clock,
    tables: &[Table],
    tail_bytes_max: usize,
) -> Result<View, QueryError> {
    let mut cut = begin(log.as_ref(), committed, tables, clock.now()).await?;
    let as_of = clock.now();
    let ends = heads(log.as_ref(), &cut.topics()).await?;
    let mut reader: Option<Box<dyn LogReader>> = None;
    while !cut.has_read(&ends) {
        let open = match reader.take() {
            Some(reader) => reader,
            None => open(log, cut.positions()).await?,
        };
        let (open, step) = poll(open).await?;
        let (records, positions) = step?;
        cut.take(&records, &positions)?;
        if cut.bytes() > tail_bytes_max {
            return Err(QueryError::Tail(tail_bytes_max as u64));
        }
        reader = Some(open);
    }
    Ok(cut.view(as_of))
}

impl Follower {
    /// Follows until `stop`. Publishes to `views`; the first cut is already there.
    pub async fn run(self, mut cut: Cut, views: watch::Sender<Arc<View>>, stop: CancellationToken) {
        let (offers, mut offered) = mpsc::channel(VERSIONS_AHEAD);
        let versions = watch_versions(Arc::clone(&self.committed), known(&cut), offers);
        let follow = async {
            loop {
                if let Err(error) = self.follow(&mut cut, &views, &mut offered).await {
                    tracing::error!(%error, "following the log failed; going on in a moment");
                    metrics::counter!("inzira_query_follow_failures_total").increment(1);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
            () = versions => {}
        }
    }

    async fn follow(
        &self,
        cut: &mut Cut,
        views: &watch::Sender<Arc<View>>,
        offered: &mut mpsc::Receiver<Snapshot>,
    ) -> Result<(), QueryError> {
        let mut reader = open(&self.log, cut.positions()).await?;
        let mut as_of = views.borrow().as_of;
        let mut asked: Option<(Micros, Instant, Offsets)> = None;
        loop {
            while let Ok(snapshot) = offered.try_recv() {
                cut.offer(snapshot)?;
            }
            if cut.bytes() > self.tail_bytes_max && !cut.has_pending() {
                // Nothing is read until the archive commits; the cut's age tells.
                metrics::gauge!("inzira_query_tail_full").set(1.0);
                views.send_replace(Arc::new(cut.view(as_of)));
                tokio::time::sleep(POLL_WAIT).await;
                continue;
            }
            let began = self.clock.now();
            let (back, step) = poll(reader).await?;
            reader = back;
            let (records, positions) = step?;
            for (table, rows) in cut.take(&records, &positions)? {
                self.observer.rows(table, &rows);
            }
            if records.is_empty() {
                as_of = as_of.max(began);
                asked = None;
            } else {
                self.date(cut, &mut as_of, &mut asked).await?;
            }
            publish(cut, as_of, views);
        }
    }

    /// Tells how new the cut is while records keep coming: as new as the last moment whose heads
    /// have been read.
    async fn date(
        &self,
        cut: &Cut,
        as_of: &mut Micros,
        asked: &mut Option<(Micros, Instant, Offsets)>,
    ) -> Result<(), QueryError> {
        if let Some((at, _, ends)) = asked
            && cut.has_read(ends)
        {
            *as_of = (*as_of).max(*at);
        }
        let due = asked
            .as_ref()
            .is_none_or(|(at, since, _)| since.elapsed() >= HEADS_EVERY && *as_of >= *at);
        if due {
            let at = self.clock.now();
            *asked = Some((at, Instant::now(), heads(self.log.as_ref(), &cut.topics()).await?));
        }
        Ok(())
    }
}

fn publish(cut: &Cut, as_of: Micros, views: &watch::Sender<Arc<View>>) {
    metrics::gauge!("inzira_query_tail_full").set(0.0);
    metrics::gauge!("inzira_query_tail_bytes").set(cut.bytes() as f64);
    views.send_replace(Arc::new(cut.view(as_of)));
}

fn known(cut: &Cut) -> Vec<Snapshot> {
    Table::ALL.into_iter().filter_map(|table| cut.known(table).cloned()).collect()
}

/// Asks the archive for newer versions, for ever. A failure is told and asked again.
async fn watch_versions(
    committed: Arc<dyn Committed>,
    mut known: Vec<Snapshot>,
    offers: mpsc::Sender<Snapshot>,
) {
    loop {
        tokio::time::sleep(VERSIONS_EVERY).await;
        for last in &mut known {
            match committed.newest(last.table, Some(last)).await {
                Ok(Some(newer)) => {
                    *last = newer.clone();
                    if offers.send(newer).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    metrics::counter!("inzira_query_version_failures_total").increment(1);
                    tracing::warn!(table = %last.table, %error, "the archive could not be asked");
                }
            }
        }
    }
}

type Step = Result<(Vec<Record>, Vec<Position>), LogError>;

async fn open(
    log: &Arc<dyn EventLog>,
    from: Vec<Position>,
) -> Result<Box<dyn LogReader>, QueryError> {
    let log = Arc::clone(log);
    Ok(blocking(move || log.reader(&from)).await??)
}

async fn poll(mut reader: Box<dyn LogReader>) -> Result<(Box<dyn LogReader>, Step), QueryError> {
    blocking(move || {
        let step = reader.poll(POLL_BYTES, POLL_WAIT).map(|records| (records, reader.positions()));
        (reader, step)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, QueryError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| QueryError::Internal(format!("reading the log: {error}")))
}
