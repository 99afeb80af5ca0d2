//! kill -9 of the whole service while phones send, buyers watch and drivers arrive.
//!
//! In:    cycles, a mode, a seed.
//! Out:   `faults=kill cycles= kills= hits= seam_hits_min= events= lost= doubled= imbalance= …`.
//!
//! Each kill is aimed at a seam, one after the other, and *hits* when that seam is open at that
//! moment; every kill must. After the last one the town comes to rest and the books are read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use inzira_tests::House;
use inzira_tests::house::START_MAX;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::account::Account;
use crate::town::Town;
use crate::{Scene, percentile};

/// How long a kill waits for the seam it is aimed at.
const AIM: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(1);
/// Each seam must be hit once in so many cycles, but never asked for more than three hits.
const CYCLES_PER_HIT: u32 = 12;

/// Where a kill can fall, as the outside can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seam {
    /// A phone waits for an answer.
    Post,
    /// A booking, an assignment, a pick-up or a delivery waits for its answer.
    Command,
    /// A driver is near, the service knows, and the buyer has not been told.
    Arriving,
    /// The service is starting again and not ready yet.
    Restart,
}

impl Seam {
    const ALL: [Seam; 4] = [Seam::Post, Seam::Command, Seam::Arriving, Seam::Restart];

    fn name(self) -> &'static str {
        match self {
            Seam::Post => "post",
            Seam::Command => "command",
            Seam::Arriving => "arriving",
            Seam::Restart => "restart",
        }
    }

    fn is_open(self, town: &Town) -> bool {
        match self {
            Seam::Post => town.post_under_way(),
            Seam::Command => town.command_under_way(),
            Seam::Arriving => town.arriving_due(),
            Seam::Restart => false,
        }
    }
}

/// True when every promise held.
pub async fn run(cycles: u32, real: bool, seed: u64) -> anyhow::Result<bool> {
    let mut scene = Scene::set(real).await?;
    let mut killer = Killer {
        random: StdRng::seed_from_u64(seed),
        kills: 0,
        hits: Seam::ALL.into_iter().map(|seam| (seam, 0)).collect(),
        restarts_s: Vec::new(),
    };
    for cycle in 1..=cycles {
        let seam = Seam::ALL[(cycle as usize - 1) % Seam::ALL.len()];
        killer.strike(&mut scene.house, &scene.town, seam).await?;
        scene.town.check()?;
        if cycle % 10 == 0 || cycle == cycles {
            eprintln!(
                "kill {cycle}/{cycles}: {} fixes sent, {} orders driven, {}",
                scene.town.ledger.fixes().len(),
                scene.town.finished(),
                killer.seam_hits(),
            );
        }
    }
    let mode = scene.mode;
    let account = Account::of(scene).await?;
    let (hits, seam_hits_min) = (killer.hits.values().sum::<u32>(), killer.seam_hits_min());
    let Killer { kills, restarts_s, .. } = &killer;
    println!(
        "faults=kill cycles={cycles} kills={kills} hits={hits} seam_hits_min={seam_hits_min} \
         {account} seam_hits={} restart_p50_s={:.2} restart_max_s={:.2} mode={mode:?} seed={seed}",
        killer.seam_hits(),
        percentile(restarts_s, 0.5),
        percentile(restarts_s, 1.0),
    );
    let wanted = (cycles / CYCLES_PER_HIT).min(3);
    Ok(account.holds() && hits == *kills && seam_hits_min >= wanted)
}

/// Kills, and keeps the score.
struct Killer {
    random: StdRng,
    kills: u32,
    hits: BTreeMap<Seam, u32>,
    restarts_s: Vec<f64>,
}

impl Killer {
    /// One kill at a seam that opens while the service runs; for a restart, a second one into it.
    async fn strike(&mut self, house: &mut House, town: &Town, seam: Seam) -> anyhow::Result<()> {
        let calm_ms = self.random.random_range(500..2_500);
        tokio::time::sleep(Duration::from_millis(calm_ms)).await;
        let first = if seam == Seam::Restart { Seam::Post } else { seam };
        let hit = self.aim(town, first).await;
        self.kill(house, hit)?;
        let mut began = Instant::now();
        house.spawn()?;
        if seam == Seam::Restart && self.still_starting(house).await {
            self.kill(house, Some(Seam::Restart))?;
            began = Instant::now();
            house.spawn()?;
        }
        house.until_ready(START_MAX).await?;
        self.restarts_s.push(began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits for the seam to open, and a moment more so that kills fall all over it. A seam that
    /// does not open in time gives way to a phone's request.
    async fn aim(&mut self, town: &Town, seam: Seam) -> Option<Seam> {
        for seam in [seam, Seam::Post] {
            let began = Instant::now();
            while began.elapsed() < AIM {
                if seam.is_open(town) {
                    tokio::time::sleep(LOOK * self.random.random_range(0..15)).await;
                    if seam.is_open(town) {
                        return Some(seam);
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        None
    }

    /// Waits for some part of a quick start. True when it is under way then: `/readyz` answers,
    /// and says no.
    async fn still_starting(&mut self, house: &House) -> bool {
        let quick_s = percentile(&self.restarts_s, 0.25);
        let wait = Duration::from_secs_f64(quick_s * self.random.random_range(0.0..0.7));
        let began = Instant::now();
        loop {
            match house.readiness().await {
                Some(true) => return false,
                Some(false) if began.elapsed() >= wait => return true,
                None if began.elapsed() > START_MAX => return false,
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn kill(&mut self, house: &mut House, hit: Option<Seam>) -> anyhow::Result<()> {
        house.kill()?;
        self.kills += 1;
        if let Some(hits) = hit.and_then(|seam| self.hits.get_mut(&seam)) {
            *hits += 1;
        }
        Ok(())
    }

    fn seam_hits_min(&self) -> u32 {
        self.hits.values().copied().min().unwrap_or(0)
    }

    /// `post:13,command:12,…`
    fn seam_hits(&self) -> String {
        let each = self.hits.iter().map(|(seam, hits)| format!("{}:{hits}", seam.name()));
        each.collect::<Vec<_>>().join(",")
    }
}
