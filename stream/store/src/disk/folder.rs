//! Files that appear whole: drafts under a hidden name, and the moment they get their own.
//!
//! In:    bytes, then a place.
//! Out:   the file in its place, its bytes and every folder above it durable.
//! Keeps: `.tmp/SESSION/` with a locked file as long as the process lives; which folders are
//!        known to be durable.
//! Never: sweeps the drafts of a living process.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

/// The folder of drafts, right below the root: a link cannot cross file systems.
pub(super) const HIDDEN: &str = ".tmp";
/// Held while a session is made or swept, so that none is swept half made.
const GATE: &str = "gate";
/// Locked by its session for as long as that lives.
const LOCK: &str = "lock";
/// Folders remembered as durable; beyond, all are forgotten and fsynced once more.
const DURABLE_MAX: usize = 10_000;

/// How a draft takes its place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Placing {
    /// Only where nothing is.
    Create,
    /// In the place of whatever is there.
    Replace,
}

/// The root folder of a store.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Made at the first draft: who only reads needs no right to write.
    session: Mutex<Option<Arc<Session>>>,
    durable: Mutex<HashSet<PathBuf>>,
}

/// The drafts of one open store.
#[derive(Debug)]
struct Session {
    folder: PathBuf,
    next: AtomicU64,
    /// Its lock ends with the process, however that ends.
    _lock: File,
}

/// A file on its way, under a hidden name. Dropped, it goes.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    path: PathBuf,
    _session: Arc<Session>,
}

impl Folder {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        // The names of the root and of what we made above it; whoever may not is read-only.
        for folder in root.ancestors().take(3) {
            if let Err(error) = sync_folder(folder) {
                tracing::debug!(%error, folder = %folder.display(), "a folder was not fsynced");
            }
        }
        if let Err(error) = sweep(&root.join(HIDDEN)) {
            tracing::warn!(%error, "drafts of dead processes were not swept");
        }
        Ok(Self { root, session: Mutex::new(None), durable: Mutex::new(HashSet::new()) })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// An empty draft.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        let session = self.session()?;
        let path = session.fresh_name();
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Draft { file, path, _session: session })
    }

    /// A second name for a file that is already whole and durable.
    pub(super) fn draft_of(&self, source: &Path) -> io::Result<Draft> {
        let session = self.session()?;
        let path = session.fresh_name();
        std::fs::hard_link(source, &path)?;
        let file = File::open(&path)?;
        Ok(Draft { file, path, _session: session })
    }

    /// Takes a file away, durably.
    pub(super) fn remove(&self, place: &Path) -> io::Result<()> {
        std::fs::remove_file(place)?;
        sync_folder(parent(place)?)
    }

    fn session(&self) -> io::Result<Arc<Session>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = session.as_ref() {
            return Ok(Arc::clone(session));
        }
        let made = Arc::new(Session::begin(&self.root.join(HIDDEN))?);
        *session = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Makes the folders down to `folder`, and each one's name durable.
    fn make_folders(&self, folder: &Path) -> io::Result<()> {
        // A file where a folder should be is not the caller's object being there already.
        std::fs::create_dir_all(folder).map_err(|error| {
            io::Error::other(format!("making the folder {}: {error}", folder.display()))
        })?;
        let below = folder.strip_prefix(&self.root).map_err(io::Error::other)?;
        let mut above = self.root.clone();
        for name in below.components() {
            let this = above.join(name);
            // Another put may have made it a moment ago and not fsynced it yet: only what we
            // fsynced ourselves counts.
            if !self.is_durable(&this) {
                sync_folder(&above)?;
                self.remember(this.clone());
            }
            above = this;
        }
        Ok(())
    }

    fn is_durable(&self, folder: &Path) -> bool {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }

    fn remember(&self, folder: PathBuf) {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() >= DURABLE_MAX {
            durable.clear();
        }
        durable.insert(folder);
    }
}

impl Session {
    fn begin(hidden: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(hidden)?;
        let _gate = gate(hidden)?;
        let folder = hidden.join(ulid::Ulid::new().to_string());
        std::fs::create_dir(&folder)?;
        let lock = File::create(folder.join(LOCK))?;
        lock.lock()?;
        Ok(Self { folder, next: AtomicU64::new(0), _lock: lock })
    }

    fn fresh_name(&self) -> PathBuf {
        self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Whatever fails here is swept at the next open.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Draft {
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Writes at a place of its own; whoever calls it keeps the count.
    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Makes the bytes durable, then visible, then the name durable. Gives the tag that the
    /// library gives for the same file. After an error nothing is there, unless the fsync of the
    /// folder is what failed: then the file stands there and may go with the power.
    pub(super) fn publish(
        self,
        folder: &Folder,
        place: &Path,
        placing: Placing,
    ) -> io::Result<String> {
        self.file.sync_all()?;
        let tag = tag(&self.file)?;
        let home = parent(place)?;
        folder.make_folders(home)?;
        match placing {
            Placing::Create => std::fs::hard_link(&self.path, place)?,
            Placing::Replace => std::fs::rename(&self.path, place)?,
        }
        sync_folder(home)?;
        Ok(tag)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Renamed away already, or linked: the hidden name is not needed either way.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes what sessions left whose process is gone.
fn sweep(hidden: &Path) -> io::Result<()> {
    if !hidden.exists() {
        return Ok(());
    }
    let _gate = gate(hidden)?;
    for entry in std::fs::read_dir(hidden)? {
        let folder = entry?.path();
        if !folder.is_dir() {
            continue;
        }
        let dead = match File::open(folder.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            // Under the gate nobody is half way: it died before it made its lock.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if dead {
            std::fs::remove_dir_all(&folder)?;
        }
    }
    Ok(())
}

fn gate(hidden: &Path) -> io::Result<File> {
    let gate =
        OpenOptions::new().create(true).truncate(false).write(true).open(hidden.join(GATE))?;
    gate.lock()?;
    Ok(gate)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parent(place: &Path) -> io::Result<&Path> {
    place.parent().ok_or_else(|| io::Error::other("a path without a folder"))
}

/// Inode, microseconds of the last write, size: as `object_store::local` tags a file.
fn tag(file: &File) -> io::Result<String> {
    let meta = file.metadata()?;
    let written = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{:x}-{:x}-{:x}", meta.ino(), written.as_micros(), meta.len()))
}
