//! Starts, kills and restarts the binary.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use inzira_simulators::client::{FirstLogins, Service};
use url::Url;

use crate::watch::Watcher;

/// What the house stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything in one folder.
    Embedded,
    /// Kafka, Postgres, Redis and MinIO.
    Real,
}

/// The longest a start may take, replay included.
pub const START_MAX: Duration = Duration::from_secs(60);

/// A running service in a folder of its own.
pub struct House {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    roles: Option<String>,
    http: u16,
    admin: u16,
    child: Option<Child>,
}

impl House {
    /// Starts a house; `None` (with a message) when `mode` needs services that are not there.
    pub async fn start(mode: Mode) -> anyhow::Result<Option<House>> {
        let Some(mut house) = House::planned(mode)? else { return Ok(None) };
        house.launch().await?;
        Ok(Some(house))
    }

    /// A house that is not started yet, so that a caller may set more.
    pub fn planned(mode: Mode) -> anyhow::Result<Option<House>> {
        let folder = tempfile::Builder::new().prefix("inzira-house-").tempdir()?;
        let mut environment = vec![
            ("INZIRA_DATA".to_owned(), folder.path().join("data").display().to_string()),
            ("INZIRA_LOG_LEVEL".to_owned(), "warn".to_owned()),
        ];
        if mode == Mode::Real {
            match real_services()? {
                Some(services) => environment.extend(services),
                None => return Ok(None),
            }
        }
        let (http, admin) = (free_port()?, free_port()?);
        environment.push(("INZIRA_HTTP".to_owned(), format!("127.0.0.1:{http}")));
        environment.push(("INZIRA_ADMIN".to_owned(), format!("127.0.0.1:{admin}")));
        environment.push(("INZIRA_PGWIRE".to_owned(), format!("127.0.0.1:{}", free_port()?)));
        Ok(Some(House { folder, environment, roles: None, http, admin, child: None }))
    }

    /// Sets one more variable of the environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Runs only some roles from the next launch on.
    pub fn roles(&mut self, roles: &str) {
        self.roles = Some(roles.to_owned());
    }

    /// Runs every role from the next launch on.
    pub fn all_roles(&mut self) {
        self.roles = None;
    }

    /// Starts the process and waits until it is ready.
    pub async fn launch(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.until_ready(START_MAX).await
    }

    /// Starts the process, and waits for nothing.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("service.log"))?;
        let mut command = Command::new(binary()?);
        command.arg("serve").envs(self.environment.iter().cloned());
        if let Some(roles) = &self.roles {
            command.args(["--roles", roles]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("starting the service")?);
        Ok(())
    }

    /// Waits until `/readyz` says so; an error when the process ends before that.
    pub async fn until_ready(&mut self, most: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        while !self.is_ready().await {
            if let Some(status) = self.has_left()? {
                bail!("the service left with {status}:\n{}", self.log_tail());
            }
            if began.elapsed() > most {
                bail!("the service is not ready after {most:?}:\n{}", self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// How the process ended, if it has ended by itself.
    pub fn has_left(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = self.child.as_mut() else { return Ok(None) };
        Ok(child.try_wait()?)
    }

    /// Whether `/readyz` says so.
    pub async fn is_ready(&self) -> bool {
        self.readiness().await == Some(true)
    }

    /// What `/readyz` says; `None` when nobody answers.
    pub async fn readiness(&self) -> Option<bool> {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin);
        let answer = reqwest::Client::new().get(url).timeout(Duration::from_secs(2)).send().await;
        Some(answer.ok()?.status().is_success())
    }

    /// What an admin route answers.
    pub async fn admin(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        Ok(reqwest::get(url).await?.text().await?)
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and how long it took to leave; an error when the exit code is not 0.
    pub fn stop(&mut self) -> anyhow::Result<Duration> {
        let Some(mut child) = self.child.take() else { return Ok(Duration::ZERO) };
        let began = Instant::now();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let status = child.wait()?;
        if !status.success() {
            bail!("the service left with {status}:\n{}", self.log_tail());
        }
        Ok(began.elapsed())
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// CPU seconds that the process has used, user and system.
    pub fn cpu_s(&self) -> f64 {
        self.pid().and_then(cpu_seconds).unwrap_or(0.0)
    }

    /// Where the public API is.
    pub fn base(&self) -> Url {
        let text = format!("http://127.0.0.1:{}", self.http);
        Url::parse(&text).unwrap_or_else(|_| unreachable!("a loopback address is a URL"))
    }

    /// Where watchers connect to.
    pub fn web_socket(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}{path}", self.http)
    }

    /// A buyer who watches an order.
    pub fn watch(&self, order_id: &str, share: &str) -> anyhow::Result<Watcher> {
        let url = self.web_socket(&format!("/api/v1/orders/{order_id}/live"));
        Ok(Watcher::start(url, self.first_logins()?.gateway_key, share.to_owned()))
    }

    /// The folder of everything embedded.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the first start wrote.
    pub fn first_logins(&self) -> anyhow::Result<FirstLogins> {
        FirstLogins::read(&self.data()).context("no first-logins.json")
    }

    /// A client that is logged in as a role of the first log-ins.
    pub async fn client(&self, role: &str) -> anyhow::Result<Service> {
        let first = self.first_logins()?;
        let login = first.of(role).with_context(|| format!("no log-in of {role}"))?.clone();
        let mut service = Service::at(self.base(), &first.gateway_key);
        service.log_in(&login.phone, &login.password).await?;
        Ok(service)
    }

    /// Runs another command of the binary in the same environment, `inzira sql` say.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(binary()?)
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            bail!("inzira {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// One number out of `inzira sql`.
    pub fn count(&self, sql: &str) -> anyhow::Result<i64> {
        let text = self.command(&["sql", sql, "--format", "csv"])?;
        let line = text.lines().nth(1).with_context(|| format!("no row from {sql}"))?;
        line.trim().parse().with_context(|| format!("{sql} gave {line:?}"))
    }

    /// A variable of this house's environment.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The last lines that the service logged.
    pub fn log_tail(&self) -> String {
        let text =
            std::fs::read_to_string(self.folder.path().join("service.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let killed = self.kill();
        if let Err(error) = killed {
            eprintln!("the service could not be killed: {error}");
        }
        if std::thread::panicking() {
            eprintln!("--- the service's last words\n{}", self.log_tail());
        }
    }
}

/// CPU seconds of a process, user and system, all threads.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    /// `sysconf(_SC_CLK_TCK)` on Linux.
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

/// Resident memory of a process in MiB.
pub fn resident_mib(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// The binary beside the test that runs, or the one that `INZIRA_BIN` names.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Ok(path) = std::env::var("INZIRA_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("inzira"));
    beside
        .into_iter()
        .find(|path: &PathBuf| path.is_file())
        .context("no inzira beside this test: cargo build -p inzira first, or set INZIRA_BIN")
}

/// The folder of real traces; `None` (with a message) where it is absent.
pub fn trace_data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no trace data at {}", folder.display());
    None
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The four addresses for a house of its own on the running services.
fn real_services() -> anyhow::Result<Option<Vec<(String, String)>>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(kafka), Some(postgres), Some(redis), Some(s3)) = (
        variable("INZIRA_TEST_KAFKA"),
        variable("INZIRA_TEST_POSTGRES"),
        variable("INZIRA_TEST_REDIS"),
        variable("INZIRA_TEST_S3"),
    ) else {
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            bail!("the real services are not there, and CI must not skip them");
        }
        println!("skipped: INZIRA_TEST_KAFKA and its kin are not set (cargo xtask stack up)");
        return Ok(None);
    };
    let own = format!("house{:08x}", rand::random::<u32>());
    let database = fresh_database(&postgres, &own)?;
    let mut store = Url::parse(&s3)?;
    store.set_path(&own);
    let mut bus = Url::parse(&redis)?;
    bus.set_path(&format!("/{}", rand::random::<u8>() % 15 + 1));
    Ok(Some(vec![
        ("INZIRA_LOG".to_owned(), format!("kafka://{kafka}?replication=1&prefix={own}-")),
        ("INZIRA_DB".to_owned(), database),
        ("INZIRA_BUS".to_owned(), bus.to_string()),
        ("INZIRA_STORE".to_owned(), store.to_string()),
    ]))
}

/// A database of its own, made with `psql`.
fn fresh_database(server: &str, name: &str) -> anyhow::Result<String> {
    let made = Command::new("psql")
        .args([server, "-v", "ON_ERROR_STOP=1", "-qc", &format!("CREATE DATABASE {name}")])
        .output()
        .context("psql is needed for tests on Postgres")?;
    if !made.status.success() {
        bail!("CREATE DATABASE: {}", String::from_utf8_lossy(&made.stderr));
    }
    let mut url = Url::parse(server)?;
    url.set_path(name);
    Ok(url.to_string())
}
