//! One process writes a folder.
//!
//! In:    the folder.
//! Out:   a lock that lasts as long as the value; or who has it.
//! Keeps: `log.lock` with the writer's process id.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{LogError, OpenError};

/// A writer that is just ending is waited for this long before the folder counts as taken.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);

/// Held by the writer until it has closed the database.
#[derive(Debug)]
pub struct FolderLock(#[allow(dead_code, reason = "the open file is the lock")] File);

/// Takes the folder for writing.
pub fn acquire(folder: &Path) -> Result<FolderLock, OpenError> {
    let broken = |error: std::io::Error| {
        OpenError::Log(match error.kind() {
            std::io::ErrorKind::StorageFull => LogError::Full,
            _ => LogError::Broken(format!("lock of {}: {error}", folder.display())),
        })
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join("log.lock"))
        .map_err(broken)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_WAIT_MAX => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                return Err(OpenError::Locked {
                    folder: folder.display().to_string(),
                    pid: text.trim().parse().unwrap_or(0),
                });
            }
            Err(TryLockError::Error(error)) => return Err(broken(error)),
        }
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(broken)?;
    writeln!(file, "{}", std::process::id()).map_err(broken)?;
    Ok(FolderLock(file))
}

/// Whether nobody writes the folder at this moment.
pub fn is_free(folder: &Path) -> bool {
    match File::open(folder.join("log.lock")) {
        Ok(file) => file.try_lock_shared().is_ok(),
        Err(_) => true,
    }
}

/// The bytes on which SQLite's readers hold a shared lock (`SHARED_FIRST`, `SHARED_SIZE` of its
/// `os.h`).
const SHARED_RANGE: (i64, i64) = (0x4000_0002, 510);

/// Holds the database as one more reader would, so that SQLite does not fold the write-ahead log
/// into it when the last connection closes. After a failed fsync nobody knows which pages of that
/// log are on the disk: what the page cache still shows must not get into the file.
///
/// An open-file-description lock, since SQLite's own locks count as ours.
pub fn shield(file: &Path) -> std::io::Result<File> {
    let held = File::open(file)?;
    let range = nix::libc::flock {
        l_type: nix::libc::F_RDLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: SHARED_RANGE.0,
        l_len: SHARED_RANGE.1,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&held, nix::fcntl::FcntlArg::F_OFD_SETLK(&range))?;
    Ok(held)
}
