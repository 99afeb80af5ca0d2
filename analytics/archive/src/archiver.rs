//! The work of one table: read the log, fill a buffer, publish it, again.
//!
//! In:    the table's topics, from the offsets that the table holds.
//! Out:   commits.
//! Keeps: one buffer of rows, bounded by rows and bytes: while it is full nothing is read.
//! Never: gives up while it is not told to stop: a store or log that is away is tried again
//!        with growing pauses, shown in `health`, and stalls no other table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inzira_event_log::{EventLog, LogReader, Position};
use inzira_schemas::{Clock, Topic};
use inzira_store::Opened;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::ArchiveConfig;
use crate::delta::state::{Offsets, State};
use crate::error::ArchiveError;
use crate::health::Shared;
use crate::layout::{Table, Undecodable};
use crate::merge;
use crate::rows::Rows;
use crate::sweep::sweep;
use crate::writer::{Caught, TableWriter};

/// How often the ends of the log are asked for, to know the lag.
const LAG_EVERY: Duration = Duration::from_secs(5);
/// How often unneeded files are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// The longest that a read of the log waits, so that a stop is noticed.
const POLL_WAIT: Duration = Duration::from_millis(200);

/// One table's job. `run` blocks: it belongs on a thread of its own.
pub(crate) struct Job {
    pub table: Table,
    pub config: Arc<ArchiveConfig>,
    pub log: Arc<dyn EventLog>,
    pub opened: Opened,
    pub clock: Arc<dyn Clock>,
    pub stop: CancellationToken,
    pub health: Shared,
    pub runtime: Handle,
}

/// Rows that no commit has yet.
struct Buffer {
    rows: Rows,
    next: Offsets,
    since: Option<Instant>,
}

/// What a session carries along.
struct Session {
    writer: TableWriter,
    buffer: Buffer,
    committed: Instant,
    lag_read: Option<Instant>,
    swept: Instant,
    commits: u64,
}

impl Job {
    /// Works until told to stop.
    pub fn run(self) {
        let mut pause = self.config.retry_first;
        while !self.stop.is_cancelled() {
            let started = Instant::now();
            let Err(error) = self.session() else { return };
            self.note(&error);
            if started.elapsed() > self.config.retry_last {
                pause = self.config.retry_first;
            }
            self.wait(pause);
            pause = (pause * 2).min(self.config.retry_last);
        }
    }

    /// From opening the table to a stop (`Ok`) or to a failure that needs opening it again.
    fn session(&self) -> Result<(), ArchiveError> {
        let writer = self.runtime.block_on(TableWriter::open(
            &self.opened,
            self.table,
            &self.config,
            self.clock.clone(),
        ))?;
        let next = self.runtime.block_on(self.resume(&writer.state))?;
        let mut reader = self.log.reader(&positions(&next))?;
        let buffer = Buffer { rows: Rows::of(self.table, 1_024), next: next.clone(), since: None };
        let now = Instant::now();
        let mut session =
            Session { writer, buffer, committed: now, lag_read: None, swept: now, commits: 0 };
        self.show(&session);
        loop {
            let polled = self.poll(reader.as_mut(), &mut session.buffer);
            self.health.lock().buffered_rows = session.buffer.rows.len();
            let stopping = self.stop.is_cancelled();
            if stopping || polled.is_err() || self.is_due(&session) {
                self.flush(&mut session)?;
            }
            if stopping {
                return Ok(());
            }
            polled?;
            self.look_at_lag(&mut session);
        }
    }

    /// Where to go on: the table's offsets, the log's beginnings for partitions it never saw.
    async fn resume(&self, state: &State) -> Result<Offsets, ArchiveError> {
        let mut next = Offsets::new();
        for topic in self.table.topics() {
            for head in self.log.heads(*topic).await? {
                let place = (*topic, head.partition);
                let offset = state.offsets.get(&place).copied().unwrap_or(head.start);
                if offset > head.end {
                    return Err(ArchiveError::Broken(format!(
                        "{} holds {topic}/{} up to {offset}, the log ends at {}: they do not \
                         belong together",
                        self.table, head.partition, head.end
                    )));
                }
                next.insert(place, offset);
            }
        }
        Ok(next)
    }

    fn poll(&self, reader: &mut dyn LogReader, buffer: &mut Buffer) -> Result<(), ArchiveError> {
        let age = buffer.since.map(|since| since.elapsed()).unwrap_or_default();
        let wait = self.config.cut_age.saturating_sub(age).min(POLL_WAIT);
        let records = reader.poll(self.config.poll_bytes, wait)?;
        for record in &records {
            if let Err(reason) = buffer.rows.push(record) {
                self.health.undecodable(Undecodable {
                    topic: record.topic,
                    partition: record.partition,
                    offset: record.offset,
                    reason,
                });
            }
        }
        if buffer.since.is_none() && !buffer.rows.is_empty() {
            buffer.since = Some(Instant::now());
        }
        for position in reader.positions() {
            buffer.next.insert((position.topic, position.partition), position.offset);
        }
        Ok(())
    }

    fn is_due(&self, session: &Session) -> bool {
        let Buffer { rows, since, next } = &session.buffer;
        let config = &self.config;
        rows.len() >= config.cut_rows_max
            || rows.bytes() >= config.cut_bytes_max
            || since.is_some_and(|since| since.elapsed() >= config.cut_age)
            || (rows.is_empty()
                && session.committed.elapsed() >= config.progress_age
                && next.iter().any(|(place, offset)| {
                    session.writer.state.offsets.get(place).copied().unwrap_or_default() != *offset
                }))
    }

    /// Publishes what the buffer holds, however long the store is away; a stop bounds it.
    fn flush(&self, session: &mut Session) -> Result<(), ArchiveError> {
        let started = Instant::now();
        let batch = session.buffer.rows.finish();
        session.buffer.since = None;
        let mut retry = Retry::new(&self.config);
        let mut prepared = loop {
            let prepared = session.writer.prepare(&batch, &session.buffer.next);
            match self.runtime.block_on(prepared) {
                Ok(prepared) => break prepared,
                Err(ArchiveError::Store(error)) => self.pause(&mut retry, error.into())?,
                Err(error) => return Err(error),
            }
        };
        drop(batch);
        if prepared.is_empty() {
            return Ok(());
        }
        while let Err(error) = self.runtime.block_on(session.writer.publish(&mut prepared)) {
            match error {
                ArchiveError::Conflict(_) => self.health.lock().conflicts += 1,
                ArchiveError::Store(_) => {}
                other => return Err(other),
            }
            self.pause(&mut retry, error)?;
            loop {
                match self.runtime.block_on(session.writer.catch_up()) {
                    Ok(Caught::Unchanged) => break,
                    Ok(Caught::OffsetsMoved) => return Err(ArchiveError::Conflict(self.table)),
                    Err(ArchiveError::Store(error)) => self.pause(&mut retry, error.into())?,
                    Err(error) => return Err(error),
                }
            }
        }
        self.committed(session, prepared.rows, prepared.repeats, started.elapsed());
        self.tidy(session)
    }

    fn committed(&self, session: &mut Session, rows: u64, repeats: u64, took: Duration) {
        session.committed = Instant::now();
        session.commits += 1;
        let table = self.table.name();
        metrics::counter!("inzira_archive_rows_total", "table" => table).increment(rows);
        metrics::counter!("inzira_archive_repeats_total", "table" => table).increment(repeats);
        metrics::counter!("inzira_archive_commits_total", "table" => table).increment(1);
        metrics::histogram!("inzira_archive_commit_seconds", "table" => table).record(took);
        metrics::gauge!("inzira_archive_repeat_keys", "table" => table)
            .set(session.writer.seen.len() as f64);
        let now = self.clock.now();
        {
            let mut health = self.health.lock();
            health.rows += rows;
            health.repeats += repeats;
            health.last_commit_at = Some(now);
        }
        self.show(session);
    }

    fn show(&self, session: &Session) {
        let mut health = self.health.lock();
        health.version = Some(session.writer.state.version);
        health.files = session.writer.state.files.len();
        health.buffered_rows = session.buffer.rows.len();
        health.failing = None;
    }

    /// Merging, checkpoints, sweeping: none of it is needed for the rows to be safe, so what
    /// fails here is noted and tried after a later commit.
    fn tidy(&self, session: &mut Session) -> Result<(), ArchiveError> {
        let started = Instant::now();
        while !self.stop.is_cancelled() && started.elapsed() < self.config.cut_age {
            let Some(files) = merge::due(&session.writer.state, &self.config) else { break };
            match self.runtime.block_on(merge::merge(&mut session.writer, &files)) {
                Ok(merged) => tracing::debug!(
                    table = %self.table, files = merged.files, bytes = merged.bytes, "merged"
                ),
                Err(error) => {
                    tracing::warn!(table = %self.table, %error, "could not merge files");
                    if self.runtime.block_on(session.writer.catch_up())? == Caught::OffsetsMoved {
                        return Err(ArchiveError::Conflict(self.table));
                    }
                    break;
                }
            }
        }
        if session.commits.is_multiple_of(self.config.checkpoint_every.max(1))
            && let Err(error) = self.runtime.block_on(session.writer.log.checkpoint())
        {
            tracing::warn!(table = %self.table, %error, "could not write a checkpoint");
        }
        if session.swept.elapsed() > SWEEP_EVERY {
            session.swept = Instant::now();
            let TableWriter { log, state, .. } = &session.writer;
            if let Err(error) = self.runtime.block_on(sweep(log, state, self.clock.now())) {
                tracing::warn!(table = %self.table, %error, "could not sweep");
            }
        }
        self.show(session);
        Ok(())
    }

    fn look_at_lag(&self, session: &mut Session) {
        if session.lag_read.is_some_and(|read| read.elapsed() < LAG_EVERY) {
            return;
        }
        session.lag_read = Some(Instant::now());
        let offsets = &session.writer.state.offsets;
        let mut lag = Vec::new();
        for topic in self.table.topics() {
            let Ok(heads) = self.runtime.block_on(self.log.heads(*topic)) else { return };
            let behind: u64 = heads
                .iter()
                .map(|head| {
                    let offset = offsets.get(&(*topic, head.partition)).copied();
                    head.end.saturating_sub(offset.unwrap_or(head.start))
                })
                .sum();
            metrics::gauge!("inzira_archive_lag_records", "topic" => topic.name())
                .set(behind as f64);
            lag.push((*topic, behind));
        }
        self.health.lock().lag = lag;
    }

    /// Notes a failure and waits. When the time for stopping is over, the failure is final.
    fn pause(&self, retry: &mut Retry, error: ArchiveError) -> Result<(), ArchiveError> {
        self.note(&error);
        if self.stop.is_cancelled() {
            let until = *retry.until.get_or_insert(Instant::now() + self.config.stop_within);
            if Instant::now() >= until {
                return Err(error);
            }
            std::thread::sleep(self.config.retry_first);
            return Ok(());
        }
        self.wait(retry.pause);
        retry.pause = (retry.pause * 2).min(self.config.retry_last);
        Ok(())
    }

    fn wait(&self, pause: Duration) {
        let stopped = self.stop.cancelled();
        let _ = self.runtime.block_on(async { tokio::time::timeout(pause, stopped).await });
    }

    fn note(&self, error: &ArchiveError) {
        tracing::warn!(table = %self.table, %error, "the archive cannot go on and tries again");
        metrics::counter!("inzira_archive_failures_total", "table" => self.table.name())
            .increment(1);
        self.health.lock().failing = Some(error.to_string());
    }
}

/// Growing pauses, and the end of a stop's patience.
struct Retry {
    pause: Duration,
    until: Option<Instant>,
}

impl Retry {
    fn new(config: &ArchiveConfig) -> Self {
        Self { pause: config.retry_first, until: None }
    }
}

fn positions(next: &Offsets) -> Vec<Position> {
    let position = |((topic, partition), offset): (&(Topic, u32), &u64)| Position {
        topic: *topic,
        partition: *partition,
        offset: *offset,
    };
    next.iter().map(position).collect()
}
