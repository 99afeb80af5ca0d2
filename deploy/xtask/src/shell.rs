//! Running other programs, and where things lie.
//!
//! In:    a command.
//! Out:   its success, its output, or an error that names it.
//! Never: waits without a limit for what can hang.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The root of the checkout.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, else `target` in the checkout.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Where things that are costly to build or fetch stay between checkouts.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let home = std::env::var_os("HOME").context("HOME is not set")?;
            PathBuf::from(home).join(".cache")
        }
    };
    let folder = base.join("inzira");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("making the cache folder {}", folder.display()))?;
    Ok(folder)
}

/// Whether a skip counts as a failure.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Whether we may install packages and change users.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|meta| meta.uid() == 0)
}

/// The first executable of that name on the path.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Cargo as it called us, so that the same toolchain builds everything.
pub fn cargo() -> Command {
    let mut command = Command::new(
        std::env::var_os("CARGO").unwrap_or_else(|| std::ffi::OsString::from("cargo")),
    );
    command.current_dir(root());
    command
}

/// A command as one would type it.
pub fn spelled(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(name).chain(args).collect::<Vec<_>>().join(" ")
}

/// Runs a command with our own output; an error when it fails or outlasts `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Result<()> {
    let name = spelled(command);
    let mut child =
        command.stdin(Stdio::null()).spawn().with_context(|| format!("starting `{name}`"))?;
    let status = wait(&mut child, limit, &name)?;
    if !status.success() {
        bail!("`{name}` failed ({status})");
    }
    Ok(())
}

/// Runs a command whose output goes to `log`; an error shows the last lines of it.
pub fn run_logged(command: &mut Command, log: &Path, limit: Duration) -> Result<()> {
    let name = spelled(command);
    let file = std::fs::File::create(log).with_context(|| format!("writing {}", log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stderr(file.try_clone()?)
        .stdout(file)
        .spawn()
        .with_context(|| format!("starting `{name}`"))?;
    let status = wait(&mut child, limit, &name)?;
    if !status.success() {
        bail!("`{name}` failed ({status}); {}:\n{}", log.display(), tail(log, 15));
    }
    Ok(())
}

/// Runs a command, passes its standard output on and shows each line to `seen` as well.
pub fn run_watched(
    command: &mut Command,
    limit: Duration,
    mut seen: impl FnMut(&str) + Send,
) -> Result<()> {
    let name = spelled(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{name}`"))?;
    let output = child.stdout.take().context("no output to read")?;
    let status = std::thread::scope(|scope| {
        scope.spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                seen(&line);
            }
        });
        wait(&mut child, limit, &name)
    })?;
    if !status.success() {
        bail!("`{name}` failed ({status})");
    }
    Ok(())
}

/// Runs a command and gives its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let name = spelled(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting `{name}`"))?;
    if !output.status.success() {
        bail!("`{name}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading the output of `{name}`"))
}

/// Waits for a child; past the limit it and everything below it is killed.
fn wait(child: &mut Child, limit: Duration, name: &str) -> Result<ExitStatus> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("waiting for `{name}`"))? {
            return Ok(status);
        }
        if begun.elapsed() > limit {
            kill_tree(child.id());
            let _ = child.wait();
            bail!("`{name}` did not end within {} and was killed", spell_time(limit));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Kills a process of ours and all its descendants.
fn kill_tree(pid: u32) {
    for child in children(pid) {
        kill_tree(child);
    }
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok())
        .filter(|candidate| parent(*candidate) == Some(pid))
        .collect()
}

fn parent(pid: u32) -> Option<u32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

/// When a process started, in the kernel's ticks since boot: with the pid it names one process
/// for ever.
pub fn started_at(pid: u32) -> Option<u64> {
    let fields = stat_fields(pid)?;
    let gone = fields.first().is_some_and(|state| state == "Z" || state == "X");
    if gone { None } else { fields.get(19)?.parse().ok() }
}

/// The fields of `/proc/PID/stat` behind the name, which may itself hold spaces.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// The last lines of a file, for an error message.
pub fn tail(file: &Path, lines: usize) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.iter().skip(all.len().saturating_sub(lines)).map(|line| format!("    {line}\n")).collect()
}

/// A time as a person reads it: `0.3 s`, `42 s`, `3 min 07 s`.
pub fn spell_time(time: Duration) -> String {
    match time.as_secs() {
        0..=9 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..=119 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let begun = Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & wait"]);
        let error = run(&mut command, Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().contains("did not end within"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_process_is_known_by_when_it_started() {
        let me = std::process::id();
        assert!(started_at(me).is_some());
        assert_eq!(started_at(me), started_at(me));
        assert_eq!(started_at(u32::MAX), None);
    }

    #[test]
    fn times_read_well() {
        assert_eq!(spell_time(Duration::from_millis(340)), "0.3 s");
        assert_eq!(spell_time(Duration::from_secs(42)), "42 s");
        assert_eq!(spell_time(Duration::from_secs(187)), "3 min 07 s");
    }
}
