//! The event log of one machine: batches in SQLite, one writer, one fsync a commit.
//!
//! In:    records, from many tasks at once.
//! Out:   an answer after the fsync that covers it; readers beside it and in other processes.
//! Keeps: a folder: `log.db` (batches, cuts, fences), `log.db-wal`, `log.acked`, `log.lock`.
//! Never: answers before the fsync; answers at all after a failed one; opens over damage in
//!        silence: the write-ahead log is read first, and the end found is held against the end
//!        that was acknowledged.

mod check;
mod codec;
mod db;
mod housekeeper;
mod lock;
mod mark;
mod open;
mod reader;
mod stage;
mod state;
pub mod wal;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use inzira_schemas::{Clock, Micros, Topic};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub use self::check::Checked;
use self::check::Depth;
use self::reader::EmbeddedReader;
use self::state::State;
use self::writer::Request;
use crate::record::size_checked;
use crate::{
    Access, Appended, Durability, EventLog, Head, LogError, LogReader, NewRecord, OpenError,
    Position, Transactor,
};

/// What may wait for a commit, in KiB; every request takes at least one. A request that finds no
/// room within ROOM_WAIT_MAX is refused with `Busy`.
const QUEUE_KIB: u32 = 64 << 10;
const ROOM_WAIT_MAX: Duration = Duration::from_secs(2);

/// The embedded log of a folder.
pub struct EmbeddedLog {
    folder: PathBuf,
    writing: Option<Writing>,
}

struct Writing {
    state: Arc<State>,
    desk: Desk,
    housekeeper_stop: Option<Sender<()>>,
    housekeeper: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

/// Where requests are handed in.
#[derive(Clone)]
struct Desk {
    requests: mpsc::UnboundedSender<Request>,
    room: Arc<Semaphore>,
    state: Arc<State>,
}

impl Desk {
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LogError> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(QUEUE_KIB).min(QUEUE_KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(kib);
        match tokio::time::timeout(ROOM_WAIT_MAX, room).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(LogError::Busy(format!("{QUEUE_KIB} KiB wait for the disk already"))),
        }
    }

    async fn ask<T>(
        &self,
        request: Request,
        answered: oneshot::Receiver<Result<T, LogError>>,
    ) -> Result<T, LogError> {
        self.requests.send(request).map_err(|_| closed())?;
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Err(self.state.poisoned().unwrap_or_else(closed)),
        }
    }
}

fn closed() -> LogError {
    LogError::Broken("the log is closed".to_owned())
}

impl EmbeddedLog {
    /// Opens the log of a folder, which a writer makes when it is absent. Damage found here is
    /// refused with its offsets.
    pub async fn open(
        folder: &Path,
        access: Access,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let folder = folder.to_owned();
        match access {
            Access::ReadWrite => open::for_writing(folder, clock).await,
            Access::ReadOnly => open::for_reading(folder).await,
        }
    }

    /// Drops what was written to a topic before an instant; answers how many batches went. The
    /// writer does this itself by `kept_for`, every ten minutes.
    pub async fn trim(&self, topic: Topic, before: Micros) -> Result<u64, LogError> {
        let desk = self.desk()?;
        let mut batches = 0;
        loop {
            match housekeeper::trim_piece(&desk.requests, topic, before).await? {
                0 => return Ok(batches),
                piece => batches += piece,
            }
        }
    }

    /// Reads every batch that is kept and checks it; answers how many there are, or the first
    /// damage. Takes about a second a gigabyte.
    pub async fn check(&self) -> Result<Checked, LogError> {
        let mut conn = db::connect(&self.folder, false).await?;
        check::walk(&mut conn, Depth::Whole).await.map(|(_, checked)| checked)
    }

    fn desk(&self) -> Result<&Desk, LogError> {
        match &self.writing {
            Some(writing) => match writing.state.poisoned() {
                None => Ok(&writing.desk),
                Some(poisoned) => Err(poisoned),
            },
            None => Err(LogError::Broken("the log is open for reading only".to_owned())),
        }
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Appended, LogError> {
        let desk = self.desk()?;
        let bytes = size_checked(&records)?;
        if records.is_empty() {
            return Ok(Appended { offsets: Vec::new() });
        }
        let room = desk.room(bytes).await?;
        let (answer, answered) = oneshot::channel();
        desk.ask(Request::Append { records, answer, room }, answered).await
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn LogReader>, LogError> {
        let state = self.writing.as_ref().map(|writing| Arc::clone(&writing.state));
        for position in from {
            if position.partition >= position.topic.partitions() {
                return Err(LogError::Broken(format!(
                    "{} has no partition {}",
                    position.topic, position.partition
                )));
            }
            if let Some(state) = &state {
                let head = state.heads(position.topic)[position.partition as usize];
                check_within(position, head)?;
            }
        }
        Ok(Box::new(EmbeddedReader::new(self.folder.clone(), state, from)))
    }

    async fn transactor(&self, name: &str) -> Result<Box<dyn Transactor>, LogError> {
        let desk = self.desk()?.clone();
        let name: Arc<str> = name.into();
        let (answer, answered) = oneshot::channel();
        let request = Request::TakeOver { name: Arc::clone(&name), answer };
        let generation = desk.ask(request, answered).await?;
        Ok(Box::new(EmbeddedTransactor { desk, name, generation, dead: None }))
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Head>, LogError> {
        match &self.writing {
            Some(writing) => Ok(writing.state.heads(topic)),
            None => open::heads_from_file(&self.folder, topic).await,
        }
    }

    fn durability(&self) -> Durability {
        Durability::PowerLoss
    }
}

/// Refuses a place that the log does not have.
pub(crate) fn check_within(position: &Position, head: Head) -> Result<(), LogError> {
    if position.offset < head.start {
        return Err(LogError::Gone {
            topic: position.topic,
            partition: position.partition,
            start: head.start,
            asked: position.offset,
        });
    }
    if position.offset > head.end {
        return Err(LogError::Broken(format!(
            "{}/{} ends at {}, offset {} is past it",
            position.topic, position.partition, head.end, position.offset
        )));
    }
    Ok(())
}

impl Drop for EmbeddedLog {
    /// Ends both threads after what was asked before; the folder is free afterwards.
    fn drop(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        drop(writing.housekeeper_stop.take());
        if let Some(housekeeper) = writing.housekeeper.take() {
            let _ = housekeeper.join();
        }
        let _ = writing.desk.requests.send(Request::Stop);
        if let Some(writer) = writing.writer.take() {
            let _ = writer.join();
        }
    }
}

struct EmbeddedTransactor {
    desk: Desk,
    name: Arc<str>,
    generation: i64,
    dead: Option<LogError>,
}

#[async_trait]
impl Transactor for EmbeddedTransactor {
    async fn transact(&mut self, records: Vec<NewRecord>) -> Result<(), LogError> {
        if let Some(dead) = self.dead.clone().or_else(|| self.desk.state.poisoned()) {
            return Err(dead);
        }
        let bytes = size_checked(&records)?;
        let room = self.desk.room(bytes).await?;
        let (answer, answered) = oneshot::channel();
        let (name, generation) = (Arc::clone(&self.name), self.generation);
        let request = Request::Transact { name, generation, records, answer, room };
        let outcome = self.desk.ask(request, answered).await;
        if let Err(error @ (LogError::Fenced(_) | LogError::Unknown(_))) = &outcome {
            self.dead = Some(error.clone());
        }
        outcome
    }
}
