//! kill -9 of the Kafka broker while phones send, buyers watch and drivers arrive.
//!
//! In:    cycles, a seed; the stack that `cargo xtask stack up` started from this target folder.
//! Out:   `faults=broker cycles= kills= hits= seam_hits_min= events= lost= doubled= …`.
//! Never: signals a process that is not that stack's broker.
//!
//! While the broker is away the service tells phones to come later, or keeps them waiting; it
//! never says 2xx, which the count of lost fixes would show, and lives on. A kill *hits* when a
//! phone's request was under way, and phones felt it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use inzira_tests::ledger::{Answer, Ledger};
use inzira_tests::outside::said;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::account::Account;
use crate::{Scene, percentile};

/// How long the service may take to answer phones again once the broker is back.
const RECOVERY_MAX: Duration = Duration::from_secs(120);
/// How long the service is watched for late consequences of the last kill.
const AFTERMATH: Duration = Duration::from_secs(20);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// True when every promise held.
pub async fn run(cycles: u32, real: bool, seed: u64) -> anyhow::Result<bool> {
    if !real {
        bail!("the embedded log has no broker: faults broker --real");
    }
    let broker = Broker::find()?;
    let mut scene = Scene::set(real).await?;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut hits, mut left, mut recoveries_s) = (0, 0, Vec::new());
    for cycle in 1..=cycles {
        left += calm(&mut scene, Duration::from_millis(random.random_range(2_000..6_000))).await?;
        let ledger = scene.town.ledger.clone();
        let turned_away_before = turned_away(&ledger);
        let under_way = scene.town.post_under_way();
        broker.kill()?;
        tokio::time::sleep(Duration::from_millis(random.random_range(1_000..8_000))).await;
        broker.start()?;
        let (began, before) = (Instant::now(), ledger.count(Answer::Taken));
        while ledger.count(Answer::Taken) == before || !scene.house.is_ready().await {
            if began.elapsed() > RECOVERY_MAX {
                bail!("no phone is answered {RECOVERY_MAX:?} after the broker came back");
            }
            left += calm(&mut scene, LOOK).await?;
        }
        recoveries_s.push(began.elapsed().as_secs_f64());
        hits += u32::from(under_way && turned_away(&ledger) > turned_away_before);
        eprintln!(
            "broker {cycle}/{cycles}: {} fixes sent, {} answered later, {} not at all",
            ledger.fixes().len(),
            ledger.count(Answer::Later),
            ledger.count(Answer::Silence),
        );
    }
    left += calm(&mut scene, AFTERMATH).await?;
    let (ledger, mode) = (scene.town.ledger.clone(), scene.mode);
    let account = Account::of(scene).await?;
    let odd = ledger.count(Answer::Odd);
    println!(
        "faults=broker cycles={cycles} kills={cycles} hits={hits} seam_hits_min={hits} {account} \
         later={} silent={} odd={odd} left={left} recovery_p50_s={:.2} recovery_max_s={:.2} \
         mode={mode:?} seed={seed}",
        ledger.count(Answer::Later),
        ledger.count(Answer::Silence),
        percentile(&recoveries_s, 0.5),
        percentile(&recoveries_s, 1.0),
    );
    Ok(account.holds() && hits == cycles && odd == 0 && left == 0)
}

/// Lets some time pass. A service that leaves by itself is started again, as a supervisor would,
/// and counted.
async fn calm(scene: &mut Scene, most: Duration) -> anyhow::Result<u32> {
    let (began, mut left) = (Instant::now(), 0);
    loop {
        scene.town.check()?;
        if let Some(status) = scene.house.has_left()? {
            eprintln!("the service left with {status}:\n{}", scene.house.log_tail());
            left += 1;
            scene.house.launch().await?;
        }
        if began.elapsed() >= most {
            return Ok(left);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Requests that the service did not take.
fn turned_away(ledger: &Ledger) -> u64 {
    ledger.count(Answer::Later) + ledger.count(Answer::Silence)
}

/// The broker of this target folder's stack.
struct Broker {
    target: PathBuf,
    xtask: PathBuf,
}

impl Broker {
    /// Finds the folder as `xtask` does, and `xtask` itself, built beside us or for development.
    fn find() -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let built = own.parent().context("a program without a folder")?;
        let above = built.parent().context("a program at the root")?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(above.to_owned(), PathBuf::from);
        let xtask = [built, &above.join("debug"), &above.join("release")]
            .into_iter()
            .map(|folder| folder.join("xtask"))
            .find(|file| file.is_file())
            .context("no xtask beside this program: cargo build --workspace --bins")?;
        Ok(Self { target, xtask })
    }

    /// `kill -9`.
    fn kill(&self) -> anyhow::Result<()> {
        let file = self.target.join("stack/kafka.pid");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let pid: i32 = text.trim().parse()?;
        let command = std::fs::read(Path::new("/proc").join(text.trim()).join("cmdline"))?;
        let command = String::from_utf8_lossy(&command);
        if !(command.contains("kafka.Kafka") && command.contains("stack/kafka/server.properties")) {
            bail!("pid {pid} is no broker of ours: {command}");
        }
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        Ok(())
    }

    /// Starts what does not run, and waits until it is healthy. A broker that recovers many logs
    /// on a busy machine may take longer than one `up` waits: the second waits for the same one.
    fn start(&self) -> anyhow::Result<()> {
        let up = || {
            let mut command = Command::new(&self.xtask);
            said(command.args(["stack", "up"]).env("CARGO_TARGET_DIR", &self.target))
        };
        up().or_else(|_| up()).map(drop)
    }
}
