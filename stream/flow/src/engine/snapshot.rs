//! Writes state down, so that a restart need not read everything again.
//!
//! In:    key groups as bytes from every stage of every worker, all of one epoch.
//! Out:   objects `snapshots/flow/e{epoch}/w{worker}-{stage}` and a manifest that names them.
//! Keeps: the last three snapshots.
//! Never: publishes a manifest before its parts are whole and its epoch is committed; waits on
//!        the hot path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use inzira_schemas::Micros;
use inzira_store::ObjectStore;
use inzira_store::object_store::path::Path;
use inzira_store::object_store::{ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;

use super::shared::Shared;
use crate::FlowError;
use crate::rules::{KEY_GROUPS, Tick};
use crate::stages::groups::GroupBytes;

/// Grows when the state of a rule changes its shape: an older snapshot is then not used.
pub const LAYOUT: u32 = 1;
const KEPT: usize = 3;
const FOLDER: &str = "snapshots/flow";
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// A stage whose state is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageName {
    /// Orders.
    Orders,
    /// Drivers.
    Drivers,
    /// Alerts.
    Alerts,
}

/// All stages.
pub const STAGES: [StageName; 3] = [StageName::Orders, StageName::Drivers, StageName::Alerts];

/// One stage of one worker, written down.
#[derive(Debug)]
pub struct Part {
    /// After which epoch.
    pub epoch: u64,
    /// Which worker.
    pub worker: usize,
    /// Which stage.
    pub stage: StageName,
    /// Its groups.
    pub groups: Vec<GroupBytes>,
}

/// What the writer is told.
#[derive(Debug)]
pub enum SnapshotNews {
    /// A stage has been written down.
    Part(Part),
    /// An epoch with a snapshot is committed; `cuts` are all partitions' after it.
    Committed(CommittedEpoch),
}

/// Where the log stood when an epoch was committed.
#[derive(Debug, Clone)]
pub struct CommittedEpoch {
    /// Its tick.
    pub tick: Tick,
    /// The next offset of every input partition: class, partition, offset.
    pub cuts: Vec<(u8, u32, u64)>,
    /// An offset of `flow.progress` before the first record of a later epoch.
    pub progress_offset: u64,
}

/// A snapshot: where its groups are, and where the log goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Shape of the state.
    pub layout: u32,
    /// Number of key groups.
    pub key_groups: usize,
    /// Epoch.
    pub epoch: u64,
    /// Its clock.
    pub now_us: Micros,
    /// Its watermark.
    pub watermark_us: Micros,
    /// Class, partition, next offset.
    pub cuts: Vec<(u8, u32, u64)>,
    /// Where to begin in `flow.progress`.
    pub progress_offset: u64,
    /// Every group.
    pub groups: Vec<GroupPlace>,
}

/// Where one group of one stage lies.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupPlace {
    /// Stage.
    pub stage: StageName,
    /// Group.
    pub group: usize,
    /// Object.
    pub object: String,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// xxh3 of them.
    pub checksum: u64,
}

/// State read back: by stage and group.
pub type Restored = BTreeMap<(StageName, usize), Bytes>;

/// Writes snapshots.
pub struct SnapshotWriter {
    store: Arc<dyn ObjectStore>,
    shared: Arc<Shared>,
    workers: usize,
    parts: Vec<Part>,
    committed: Option<CommittedEpoch>,
}

impl SnapshotWriter {
    /// For a flow of so many workers.
    pub fn new(store: Arc<dyn ObjectStore>, shared: Arc<Shared>, workers: usize) -> Self {
        Self { store, shared, workers, parts: Vec::new(), committed: None }
    }

    /// Writes what comes until the senders are gone.
    pub async fn run(mut self, mut news: UnboundedReceiver<SnapshotNews>) {
        while let Some(item) = news.recv().await {
            match item {
                SnapshotNews::Part(part) => {
                    self.parts.retain(|known| known.epoch == part.epoch);
                    self.parts.push(part);
                }
                SnapshotNews::Committed(committed) => self.committed = Some(committed),
            }
            let Some(committed) = self.committed.clone() else { continue };
            let whole = self.parts.len() == self.workers * STAGES.len()
                && self.parts.iter().all(|part| part.epoch == committed.tick.epoch);
            if whole {
                self.committed = None;
                self.finish(&committed).await;
            }
        }
    }

    /// A snapshot that cannot be written costs a longer replay, nothing else.
    async fn finish(&mut self, committed: &CommittedEpoch) {
        let parts = std::mem::take(&mut self.parts);
        let epoch = committed.tick.epoch;
        let written =
            tokio::time::timeout(WRITE_PATIENCE, write(self.store.as_ref(), parts, committed))
                .await;
        match written {
            Ok(Ok(bytes)) => {
                self.shared.snapshot_epoch.store(epoch, Ordering::Release);
                metrics::gauge!("flow_snapshot_bytes").set(bytes as f64);
                tracing::debug!(epoch, bytes, "state is written down");
            }
            Ok(Err(error)) => tracing::warn!(%error, epoch, "state could not be written down"),
            Err(_) => tracing::warn!(epoch, "writing state down took longer than 60 s"),
        }
        self.shared.snapshot_busy.store(false, Ordering::Release);
        if let Err(error) = forget(self.store.as_ref()).await {
            tracing::warn!(%error, "old snapshots could not be removed");
        }
    }
}

async fn write(
    store: &dyn ObjectStore,
    parts: Vec<Part>,
    committed: &CommittedEpoch,
) -> Result<u64, FlowError> {
    let epoch = committed.tick.epoch;
    let mut groups = Vec::new();
    let mut total = 0;
    for part in parts {
        let object = format!(
            "{FOLDER}/e{epoch:020}/w{}-{}",
            part.worker,
            format!("{:?}", part.stage).to_lowercase()
        );
        let mut body = BytesMut::new();
        for group in &part.groups {
            groups.push(GroupPlace {
                stage: part.stage,
                group: group.group,
                object: object.clone(),
                offset: body.len() as u64,
                length: group.bytes.len() as u64,
                checksum: xxhash_rust::xxh3::xxh3_64(&group.bytes),
            });
            body.extend_from_slice(&group.bytes);
        }
        if body.is_empty() {
            continue;
        }
        total += body.len() as u64;
        // The same epoch may be tried again by another generation: its parts are then its own.
        store.put(&Path::from(object), body.freeze().into()).await?;
    }
    fail::fail_point!("after_parts_before_manifest");
    let manifest = Manifest {
        layout: LAYOUT,
        key_groups: KEY_GROUPS,
        epoch,
        now_us: committed.tick.now,
        watermark_us: committed.tick.watermark,
        cuts: committed.cuts.clone(),
        progress_offset: committed.progress_offset,
        groups,
    };
    let body = serde_json::to_vec(&manifest).map_err(|e| FlowError::Snapshot(e.to_string()))?;
    let only_new = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(&manifest_path(epoch), body.into(), only_new).await?;
    Ok(total)
}

fn manifest_path(epoch: u64) -> Path {
    Path::from(format!("{FOLDER}/manifests/e{epoch:020}.json"))
}

/// Manifests, newest first.
async fn manifests(store: &dyn ObjectStore) -> Result<Vec<Path>, FlowError> {
    let folder = Path::from(format!("{FOLDER}/manifests"));
    let mut found: Vec<Path> =
        store.list(Some(&folder)).map_ok(|meta| meta.location).try_collect().await?;
    found.sort();
    found.reverse();
    Ok(found)
}

/// Removes all but the newest snapshots, manifests first.
async fn forget(store: &dyn ObjectStore) -> Result<(), FlowError> {
    let found = manifests(store).await?;
    let Some(oldest_kept) = found.get(KEPT - 1).map(ToString::to_string) else { return Ok(()) };
    for manifest in &found[KEPT..] {
        store.delete(manifest).await?;
    }
    let Some(name) = oldest_kept.rsplit('/').next().and_then(|name| name.strip_suffix(".json"))
    else {
        return Ok(());
    };
    let oldest = format!("{FOLDER}/{name}");
    let manifests = format!("{FOLDER}/manifests");
    let folder = Path::from(FOLDER);
    let mut objects = store.list(Some(&folder));
    while let Some(object) = objects.next().await {
        let location = object?.location;
        let text = location.to_string();
        if !text.starts_with(&manifests) && text.as_str() < oldest.as_str() {
            store.delete(&location).await?;
        }
    }
    Ok(())
}

/// The newest snapshot that can be used, not after `last_epoch`.
pub async fn newest(
    store: &dyn ObjectStore,
    last_epoch: Option<u64>,
) -> Result<Option<(Manifest, Restored)>, FlowError> {
    for path in manifests(store).await? {
        match load(store, &path).await {
            Ok((manifest, restored)) => {
                let fits = manifest.layout == LAYOUT
                    && manifest.key_groups == KEY_GROUPS
                    && last_epoch.is_none_or(|last| manifest.epoch <= last);
                if fits {
                    return Ok(Some((manifest, restored)));
                }
                tracing::warn!(%path, epoch = manifest.epoch, "a snapshot that does not fit is passed over");
            }
            Err(error) => {
                tracing::warn!(%path, %error, "a snapshot that cannot be read is passed over")
            }
        }
    }
    Ok(None)
}

async fn load(store: &dyn ObjectStore, path: &Path) -> Result<(Manifest, Restored), FlowError> {
    let body = store.get(path).await?.bytes().await?;
    let manifest: Manifest =
        serde_json::from_slice(&body).map_err(|e| FlowError::Snapshot(e.to_string()))?;
    let mut objects: BTreeMap<&str, Bytes> = BTreeMap::new();
    let mut restored = Restored::new();
    for place in &manifest.groups {
        if !objects.contains_key(place.object.as_str()) {
            let bytes = store.get(&Path::from(place.object.as_str())).await?.bytes().await?;
            objects.insert(&place.object, bytes);
        }
        let object = &objects[place.object.as_str()];
        let end = place.offset.saturating_add(place.length);
        if end > object.len() as u64 {
            return Err(FlowError::Snapshot(format!("{} is cut short", place.object)));
        }
        let bytes = object.slice(place.offset as usize..end as usize);
        if xxhash_rust::xxh3::xxh3_64(&bytes) != place.checksum {
            return Err(FlowError::Snapshot(format!("{} is damaged", place.object)));
        }
        restored.insert((place.stage, place.group), bytes);
    }
    Ok((manifest, restored))
}
