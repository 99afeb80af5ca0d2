//! Smoothing against the truth: every real trace that has one, and noise made over true drives.
//!
//! In:    traces with truth; a seed.
//! Out:   a table of errors in metres, raw, filtered and with hindsight; then the figures.
//! Never: lets the smoother see a truth. A velocity along the true course is idealised: shown, and
//!        counted nowhere.

use std::path::Path;

use anyhow::{Context, bail};
use inzira_flow::{RawFix, smooth_track};
use inzira_schemas::{Micros, Point};
use inzira_simulators::traces::{self, Spread, TracePoint, Track, errors};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What is promised.
const RATIO_MAX: f64 = 1.02;
const OUTLIERS_1S_CUT: f64 = 0.70;
const OUTLIERS_5S_CUT: f64 = 0.60;
const VELOCITY_FILTER_CUT: f64 = 0.10;
const VELOCITY_RTS_CUT: f64 = 0.15;
/// Runs of each kind of noise over each drive.
const SEEDS: u64 = 20;
const DRIVES: [&str; 4] = [
    "Berlin_Potsdamer_Platz",
    "Berlin_Gendarmenmarkt",
    "Frankfurt_Main_Tower",
    "Frankfurt_Westend_Tower",
];

/// Prints the table and gives the last line.
pub fn run(seed: u64) -> anyhow::Result<String> {
    let Some(data) = inzira_tests::house::trace_data() else {
        return Ok("bench=smoothing skipped=no-trace-data".to_owned());
    };
    println!("{:58} {:>6} {:>7} {:>7} {:>7}", "trace", "n", "raw m", "filter", "rts");
    let worst_ratio = real(&data)?;
    let drives = DRIVES
        .iter()
        .map(|name| only(&data.join(format!("smartloc_berlin/{name}_GT.txt")), true))
        .collect::<anyhow::Result<Vec<Track>>>()?;
    let noisy = |every_s, outliers, velocity| {
        over_drives(&drives, &Noise { every_s, outliers, velocity }, seed)
    };
    let (calm, calm_v) = (noisy(1.0, 0.0, false), noisy(1.0, 0.0, true));
    let calm_ratio = calm.worst_ratio().max(calm_v.worst_ratio());
    let worst_cut = |every_s| {
        let cuts = [false, true].map(|v| 1.0 - noisy(every_s, 0.02, v).worst_ratio());
        cuts[0].min(cuts[1])
    };
    let (outliers_1s, outliers_5s) = (worst_cut(1.0), worst_cut(5.0));
    let (by_filter, by_rts) = (1.0 - calm_v.filter / calm_v.raw, 1.0 - calm_v.rts / calm_v.raw);
    let line = format!(
        "bench=smoothing worst_ratio={worst_ratio:.3} outliers_1s_cut={outliers_1s:.3} outliers_5s_cut={outliers_5s:.3} velocity_filter_cut={by_filter:.3} velocity_rts_cut={by_rts:.3} seed={seed}"
    );
    let holds = worst_ratio.max(calm_ratio) <= RATIO_MAX
        && outliers_1s >= OUTLIERS_1S_CUT
        && outliers_5s >= OUTLIERS_5S_CUT
        && by_filter >= VELOCITY_FILTER_CUT
        && by_rts >= VELOCITY_RTS_CUT;
    if !holds {
        println!("{line}");
        bail!("a promise about smoothing does not hold");
    }
    Ok(line)
}

/// Root mean square errors, metres.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    raw: f64,
    filter: f64,
    rts: f64,
}

impl Row {
    fn worst_ratio(&self) -> f64 {
        self.filter.max(self.rts) / self.raw
    }

    fn print(&self, name: &str, n: usize) {
        println!("{name:58} {n:6} {:7.2} {:7.2} {:7.2}", self.raw, self.filter, self.rts);
    }
}

/// The three errors of one track, and how many fixes were compared.
fn measure(truth: &Track, fixes: &[RawFix]) -> (Row, usize) {
    let raw = errors(truth, fixes.iter().map(|fix| (fix.measured_at, fix.point())));
    let smoothed = |rts| -> Spread {
        let track = smooth_track(fixes, rts);
        errors(truth, track.iter().map(|p| (p.measured_at, p.smoothed.point)))
    };
    let (filter, rts) = (smoothed(false).rmse_m, smoothed(true).rmse_m);
    (Row { raw: raw.rmse_m, filter, rts }, raw.n)
}

/// Every real trace that has a truth, with and without what it reports; the worst ratio.
fn real(data: &Path) -> anyhow::Result<f64> {
    let mut worst = 0.0_f64;
    let comma = data.join("comma2k19_segment");
    let truth = only(&comma.join("global_pose_truth.csv"), true)?;
    for name in ["live_gnss_ublox.csv", "live_gnss_qcom.csv"] {
        let track = only(&comma.join(name), false)?;
        for (told, accuracy_m) in [("no accuracy", None), ("5 m", Some(5.0)), ("10 m", Some(10.0))]
        {
            for velocity in [false, true] {
                let of = |point: &TracePoint| raw_fix(point, accuracy_m, velocity);
                let fixes: Vec<RawFix> = track.points.iter().map(of).collect();
                let (row, n) = measure(&truth, &fixes);
                row.print(&format!("{name} {told}{}", with(velocity)), n);
                worst = worst.max(row.worst_ratio());
            }
        }
    }
    Ok(worst.max(smartloc(&data.join("smartloc_berlin/derived_fixes_with_truth.csv"))?))
}

/// Positions solved from ranges between high houses, plain and robust, as they come and each second.
fn smartloc(path: &Path) -> anyhow::Result<f64> {
    let truth = only(path, true)?;
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut worst = 0.0_f64;
    for (solver, lat_at) in [("plain", 1), ("robust", 4)] {
        let solved = solved(&text, lat_at);
        for every_s in [0.0, 1.0] {
            let fixes = thin(&solved, every_s);
            let rate = if every_s > 0.0 { "1 s" } else { "5 Hz" };
            for (told, accurate) in [("no accuracy", false), ("its own accuracy", true)] {
                let told_fix = |(fix, _): &(RawFix, f64)| RawFix {
                    accuracy_m: fix.accuracy_m.filter(|_| accurate),
                    ..*fix
                };
                let plain: Vec<RawFix> = fixes.iter().map(told_fix).collect();
                let (row, n) = measure(&truth, &plain);
                row.print(&format!("smartLoc {solver} {rate} {told}"), n);
                worst = worst.max(row.worst_ratio());
            }
            let ideal: Vec<RawFix> = fixes.iter().map(|fix| idealised(fix, &truth)).collect();
            let (row, n) = measure(&truth, &ideal);
            row.print(&format!("smartLoc {solver} {rate} IDEALISED course, not counted"), n);
        }
    }
    Ok(worst)
}

/// One solver's positions with the odometer's speed.
fn solved(text: &str, lat_at: usize) -> Vec<(RawFix, f64)> {
    let numbers = |line: &str| -> Vec<f64> {
        line.split(',').map(|cell| cell.trim().parse().unwrap_or(f64::NAN)).collect()
    };
    let fix = |row: Vec<f64>| {
        let (lat, lon, sigma_m) = (*row.get(lat_at)?, *row.get(lat_at + 1)?, row.get(lat_at + 2)?);
        Point::new(lat, lon)?;
        let fix = RawFix {
            measured_at: Micros((row[0] * 1e6).round() as i64),
            lat,
            lon,
            accuracy_m: Some(sigma_m * 1.51).filter(|accuracy_m| *accuracy_m > 0.0),
            speed_mps: None,
            bearing_deg: None,
        };
        Some((fix, *row.get(10)?))
    };
    text.lines().skip(1).filter_map(|line| fix(numbers(line))).collect()
}

fn thin(fixes: &[(RawFix, f64)], every_s: f64) -> Vec<(RawFix, f64)> {
    let mut due_s = f64::MIN;
    let mut kept = Vec::new();
    for fix in fixes {
        let at_s = fix.0.measured_at.0 as f64 / 1e6;
        if at_s >= due_s {
            due_s = if every_s > 0.0 { (at_s / every_s).floor() * every_s + every_s } else { at_s };
            kept.push(*fix);
        }
    }
    kept
}

/// The odometer's speed along the true course: nothing a phone could know.
fn idealised((fix, odometer_mps): &(RawFix, f64), truth: &Track) -> RawFix {
    let near = |d_s: f64| truth.place_at(later(fix.measured_at, d_s));
    let course = near(-0.5).zip(near(0.5)).filter(|(a, b)| a.distance_m(*b) > 0.2);
    RawFix {
        speed_mps: Some(*odometer_mps),
        bearing_deg: course.map(|(a, b)| a.bearing_deg(b)),
        accuracy_m: fix.accuracy_m.map(|accuracy_m| (3.0 * accuracy_m).clamp(5.0, 60.0)),
        ..*fix
    }
}

fn only(path: &Path, truth: bool) -> anyhow::Result<Track> {
    let read = if truth { traces::read_truth(path) } else { traces::read_file(path) }?;
    read.tracks.into_iter().next().with_context(|| path.display().to_string())
}

fn raw_fix(point: &TracePoint, accuracy_m: Option<f64>, velocity: bool) -> RawFix {
    RawFix {
        measured_at: point.measured_at,
        lat: point.lat,
        lon: point.lon,
        accuracy_m,
        speed_mps: point.speed_mps.filter(|_| velocity),
        bearing_deg: point.bearing_deg.filter(|_| velocity),
    }
}

fn with(velocity: bool) -> &'static str {
    if velocity { ", velocity" } else { "" }
}

/// Noise as phones have it: 4.5 m that changes over 30 s (Gauss-Markov), 2.2 m that is white, and a
/// share of fixes that are 50 to 300 m off. A velocity is off by 0.5 m/s an axis.
struct Noise {
    every_s: f64,
    outliers: f64,
    velocity: bool,
}

const SLOW: (f64, f64) = (4.5, 30.0);
const WHITE_M: f64 = 2.2;
const VELOCITY_MPS: f64 = 0.5;
const FAR_M: std::ops::Range<f64> = 50.0..300.0;

impl Noise {
    /// Fixes along a true drive.
    fn fixes(&self, truth: &Track, rng: &mut StdRng) -> Vec<RawFix> {
        let keep = (-self.every_s / SLOW.1).exp();
        let spread = (1.0 - keep * keep).sqrt();
        let mut slow_m = [SLOW.0 * normal(rng), SLOW.0 * normal(rng)];
        let mut at = later(truth.points[0].measured_at, 1.0);
        let mut fixes = Vec::new();
        let near = |at, d_s| truth.place_at(later(at, d_s));
        while let (Some(place), Some(behind), Some(ahead)) =
            (truth.place_at(at), near(at, -0.5), near(at, 0.5))
        {
            let mut off_m = slow_m.map(|slow_m| slow_m + WHITE_M * normal(rng));
            if rng.random_bool(self.outliers) {
                let (far_m, way) =
                    (rng.random_range(FAR_M), rng.random_range(0.0..std::f64::consts::TAU));
                off_m = [off_m[0] + far_m * way.sin(), off_m[1] + far_m * way.cos()];
            }
            let (way, speed) = (behind.bearing_deg(ahead).to_radians(), behind.distance_m(ahead));
            let v = [way.sin(), way.cos()].map(|part| part * speed + VELOCITY_MPS * normal(rng));
            let radius_m = 1.51 * SLOW.0.hypot(WHITE_M) * (0.3 * normal(rng)).exp();
            let north_deg = 1.0 / 111_195.0;
            fixes.push(RawFix {
                measured_at: at,
                lat: place.lat + off_m[1] * north_deg,
                lon: place.lon + off_m[0] * north_deg / place.lat.to_radians().cos(),
                accuracy_m: Some(radius_m),
                speed_mps: self.velocity.then(|| v[0].hypot(v[1])),
                bearing_deg: self.velocity.then(|| v[0].atan2(v[1]).to_degrees().rem_euclid(360.0)),
            });
            slow_m = slow_m.map(|slow_m| keep * slow_m + spread * SLOW.0 * normal(rng));
            at = later(at, self.every_s);
        }
        fixes
    }
}

fn later(at: Micros, by_s: f64) -> Micros {
    Micros(at.0 + (by_s * 1e6) as i64)
}

/// Box and Muller.
fn normal(rng: &mut StdRng) -> f64 {
    let (u, turn): (f64, f64) = (rng.random_range(1e-12..1.0), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
}

/// One kind of noise over all drives, several runs each.
fn over_drives(drives: &[Track], noise: &Noise, seed: u64) -> Row {
    let (mut square, mut count) = (Row::default(), 0);
    for (number, drive) in drives.iter().enumerate() {
        for run in 0..SEEDS {
            let mut rng = StdRng::seed_from_u64(seed * 10_000 + run * 10 + number as u64);
            let (row, n) = measure(drive, &noise.fixes(drive, &mut rng));
            square.raw += row.raw * row.raw * n as f64;
            square.filter += row.filter * row.filter * n as f64;
            square.rts += row.rts * row.rts * n as f64;
            count += n;
        }
    }
    let mean = |sum: f64| (sum / count.max(1) as f64).sqrt();
    let row = Row { raw: mean(square.raw), filter: mean(square.filter), rts: mean(square.rts) };
    let name = format!(
        "made noise every {} s, {:.0} % outliers{}",
        noise.every_s,
        noise.outliers * 100.0,
        with(noise.velocity)
    );
    row.print(&name, count);
    row
}
