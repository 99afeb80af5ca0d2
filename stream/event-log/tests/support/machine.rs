//! What fault tests need of the machine: mounts that go away, children that die, images of a crash.
//!
//! Never: leaves a mount or a child behind, also when a test fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use inzira_event_log::{Access, EventLog, OpenError, open};

/// True when a test that needs something of the machine has to be skipped. Under CI it must not.
pub fn skipped(missing: Option<&str>) -> bool {
    let Some(missing) = missing else { return false };
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        panic!("{missing}");
    }
    println!("skipped: {missing}");
    true
}

pub fn missing_root() -> Option<&'static str> {
    let out = Command::new("id").arg("-u").output().ok();
    let root = out.is_some_and(|out| out.stdout.trim_ascii() == b"0");
    (!root).then_some("mounting needs root")
}

pub fn missing_strace() -> Option<&'static str> {
    let there = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
    (!there).then_some("strace is not installed")
}

pub fn sh(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A mounted folder; unmounted on drop.
pub struct Mount(PathBuf);

impl Mount {
    pub fn tmpfs(folder: &Path, size: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let at = folder.to_str().unwrap();
        assert!(sh("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", at]));
        Self(folder.to_owned())
    }

    pub fn image(image: &Path, folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        assert!(sh("mount", &["-o", "loop", image.to_str().unwrap(), folder.to_str().unwrap()]));
        Self(folder.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.0.to_str().unwrap();
        for _ in 0..20 {
            if sh("umount", &[at]) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        sh("umount", &["-l", at]);
    }
}

pub async fn open_at(folder: &Path) -> Result<Arc<dyn EventLog>, OpenError> {
    open(&format!("file:{}", folder.display()), Path::new("/unused"), Access::ReadWrite).await
}

/// The files that a crash at this moment would leave.
pub fn crash_image(folder: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["log.db", "log.db-wal", "log.acked"] {
        std::fs::copy(folder.join(name), to.join(name)).unwrap();
    }
}

/// Where `needle` lies in a file.
pub fn places_of(file: &Path, needle: &[u8]) -> Vec<usize> {
    let bytes = std::fs::read(file).unwrap();
    bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .map(|(at, _)| at)
        .collect()
}

pub fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(file, bytes).unwrap();
}

/// This test binary again, running only its `child_appender`.
pub fn child(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_appender", "--nocapture", "--test-threads=1"])
        .env("INZIRA_LOG_CHILD", folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}
