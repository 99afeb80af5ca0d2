//! The smoother against real traces with truth, and against noise that is made.

use std::path::PathBuf;

use super::*;

/// Real traces lie beside the checkout; where they are absent the test says so and passes.
fn data(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: {} is not there", path.display());
    }
    text
}

fn columns(text: &str) -> impl Iterator<Item = Vec<f64>> + '_ {
    text.lines()
        .skip(1)
        .map(|line| line.split(',').map(|cell| cell.trim().parse().unwrap_or(f64::NAN)).collect())
}

/// A moment with the true place.
type Truth = (f64, Point);

/// Truth at a moment, between its neighbours.
fn truth_at(truth: &[Truth], at_s: f64) -> Option<Point> {
    let after = truth.partition_point(|(t, _)| *t < at_s);
    let (t0, a) = *truth.get(after.checked_sub(1)?)?;
    let (t1, b) = *truth.get(after)?;
    let share = if t1 > t0 { (at_s - t0) / (t1 - t0) } else { 0.0 };
    Some(Point { lat: a.lat + (b.lat - a.lat) * share, lon: a.lon + (b.lon - a.lon) * share })
}

/// Root mean square distance from the truth, of what `place` gives.
fn rmse(track: &[TrackPoint], truth: &[Truth], place: impl Fn(usize, &TrackPoint) -> Point) -> f64 {
    let (mut sum, mut n) = (0.0, 0);
    for (index, point) in track.iter().enumerate() {
        if let Some(there) = truth_at(truth, point.measured_at.0 as f64 / 1e6) {
            sum += place(index, point).distance_m(there).powi(2);
            n += 1;
        }
    }
    (sum / f64::from(n.max(1))).sqrt()
}

fn smoothed_rmse(fixes: &[RawFix], truth: &[Truth], rts: bool) -> f64 {
    rmse(&smooth_track(fixes, rts), truth, |_, point| point.smoothed.point)
}

fn raw_rmse(fixes: &[RawFix], truth: &[Truth]) -> f64 {
    let mut sorted = fixes.to_vec();
    sorted.sort_by_key(|fix| fix.measured_at);
    rmse(&smooth_track(fixes, false), truth, |index, _| sorted[index].point())
}

fn comma_truth() -> Option<Vec<Truth>> {
    let text = data("comma2k19_segment/global_pose_truth.csv")?;
    Some(
        columns(&text)
            .map(|row| {
                let utc_s = 315_964_800.0 + row[1] * 604_800.0 + row[2] - 18.0;
                (utc_s, Point { lat: row[9], lon: row[10] })
            })
            .collect(),
    )
}

fn comma_fixes(name: &str, accuracy_m: Option<f64>, velocity: bool) -> Option<Vec<RawFix>> {
    let text = data(&format!("comma2k19_segment/{name}"))?;
    Some(
        columns(&text)
            .map(|row| RawFix {
                measured_at: Micros((row[4] * 1e3) as i64),
                lat: row[1],
                lon: row[2],
                accuracy_m,
                speed_mps: velocity.then_some(row[3]),
                bearing_deg: velocity.then_some(row[6]),
            })
            .collect(),
    )
}

#[test]
fn it_does_no_harm_to_fixes_that_a_chip_has_filtered_already() {
    let Some(truth) = comma_truth() else { return };
    for name in ["live_gnss_ublox.csv", "live_gnss_qcom.csv"] {
        for accuracy_m in [None, Some(3.0), Some(5.0), Some(10.0), Some(30.0)] {
            for velocity in [false, true] {
                let Some(fixes) = comma_fixes(name, accuracy_m, velocity) else { return };
                let raw = raw_rmse(&fixes, &truth);
                for rts in [false, true] {
                    let ours = smoothed_rmse(&fixes, &truth, rts);
                    println!(
                        "{name} accuracy={accuracy_m:?} velocity={velocity} rts={rts}: {raw:.2} -> {ours:.2} m"
                    );
                    assert!(ours <= 1.02 * raw + 1e-9, "{name}: {raw:.3} -> {ours:.3}");
                }
            }
        }
    }
}

fn smartloc(velocity: bool) -> Option<(Vec<RawFix>, Vec<Truth>)> {
    let text = data("smartloc_berlin/derived_fixes_with_truth.csv")?;
    let rows: Vec<Vec<f64>> = columns(&text).filter(|row| row[4].is_finite()).collect();
    let truth: Vec<Truth> =
        rows.iter().map(|row| (1e6 + row[0], Point { lat: row[8], lon: row[9] })).collect();
    let mut fixes = Vec::new();
    let mut due_s = 0.0;
    for (index, row) in rows.iter().enumerate() {
        if row[0] < due_s {
            continue;
        }
        due_s = row[0].floor() + 1.0;
        let behind = truth[index.saturating_sub(2)].1;
        let ahead = truth[(index + 2).min(truth.len() - 1)].1;
        let course = (behind.distance_m(ahead) > 0.2).then(|| behind.bearing_deg(ahead));
        fixes.push(RawFix {
            measured_at: Micros(((1e6 + row[0]) * 1e6) as i64),
            lat: row[4],
            lon: row[5],
            // The solver's own sigma is a third of its real error between high houses.
            accuracy_m: Some((row[6] * 3.0 * RADIUS_TO_SIGMA).clamp(5.0, 60.0)),
            speed_mps: velocity.then_some(row[10]),
            bearing_deg: if velocity { course } else { None },
        });
    }
    Some((fixes, truth))
}

#[test]
fn a_reported_velocity_helps_most_between_high_houses() {
    // The velocity is the odometer's along the true course: idealised, better than a phone's.
    let Some((fixes, truth)) = smartloc(true) else { return };
    let raw = raw_rmse(&fixes, &truth);
    let forward = smoothed_rmse(&fixes, &truth, false);
    let backward = smoothed_rmse(&fixes, &truth, true);
    println!(
        "smartLoc with velocity, n={}: {raw:.1} -> {forward:.1} (filter), {backward:.1} (rts) m",
        fixes.len()
    );
    assert!(forward <= 0.90 * raw, "{raw} -> {forward}");
    assert!(backward <= 0.80 * raw, "{raw} -> {backward}");
    let Some((fixes, truth)) = smartloc(false) else { return };
    let plain = smoothed_rmse(&fixes, &truth, false);
    println!("smartLoc without: {raw:.1} -> {plain:.1} m");
    assert!(plain <= 1.02 * raw, "{raw} -> {plain}");
}

/// True drives: WGS 84 earth-centred coordinates at about 5 Hz.
fn drives() -> Vec<Vec<Truth>> {
    [
        "Berlin_Potsdamer_Platz",
        "Berlin_Gendarmenmarkt",
        "Frankfurt_Main_Tower",
        "Frankfurt_Westend_Tower",
    ]
    .iter()
    .filter_map(|name| data(&format!("smartloc_berlin/{name}_GT.txt")))
    .map(|text| {
        text.lines()
            .filter_map(|line| {
                let mut cells = line.split_whitespace();
                (cells.next()? == "point3").then_some(())?;
                let v: Vec<f64> = cells.filter_map(|cell| cell.parse().ok()).collect();
                Some((v[0], ecef_to_point(v[1], v[2], v[3])))
            })
            .collect()
    })
    .collect()
}

fn ecef_to_point(x: f64, y: f64, z: f64) -> Point {
    let (a, e2) = (6_378_137.0_f64, 6.694_379_990_14e-3_f64);
    let p = x.hypot(y);
    let mut lat = z.atan2(p * (1.0 - e2));
    for _ in 0..6 {
        let n = a / (1.0 - e2 * lat.sin().powi(2)).sqrt();
        lat = (z + e2 * n * lat.sin()).atan2(p);
    }
    Point { lat: lat.to_degrees(), lon: y.atan2(x).to_degrees() }
}

/// xorshift with Box and Muller: the same noise for the same seed.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let u = self.uniform().max(1e-12);
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

struct Made {
    every_s: f64,
    outliers: f64,
    velocity: bool,
}

/// Fixes along a true drive: Gauss-Markov noise of 4.5 m over 30 s, white noise of 2.2 m, and
/// now and then one that is 50 to 300 m off.
fn make(truth: &[Truth], made: &Made, seed: u64) -> Vec<RawFix> {
    let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..10 {
        noise.uniform();
    }
    let keep = (-made.every_s / 30.0).exp();
    let spread = 4.5 * (1.0 - keep * keep).sqrt();
    let (mut drift_e, mut drift_n) = (4.5 * noise.normal(), 4.5 * noise.normal());
    let mut fixes = Vec::new();
    let mut at_s = truth[0].0 + 1.0;
    while let (Some(place), Some(behind), Some(ahead)) =
        (truth_at(truth, at_s), truth_at(truth, at_s - 0.5), truth_at(truth, at_s + 0.5))
    {
        drift_e = keep * drift_e + spread * noise.normal();
        drift_n = keep * drift_n + spread * noise.normal();
        let mut off = (drift_e + 2.2 * noise.normal(), drift_n + 2.2 * noise.normal());
        if noise.uniform() < made.outliers {
            let (far_m, way) =
                (50.0 + 250.0 * noise.uniform(), std::f64::consts::TAU * noise.uniform());
            off = (off.0 + far_m * way.sin(), off.1 + far_m * way.cos());
        }
        let speed = (behind.distance_m(ahead) + 0.3 * noise.normal()).max(0.0);
        let anchor = Anchor::at(place);
        let measured = anchor.to_point(off.0, off.1);
        fixes.push(RawFix {
            measured_at: Micros((at_s * 1e6) as i64),
            lat: measured.lat,
            lon: measured.lon,
            accuracy_m: Some(8.0),
            speed_mps: made.velocity.then_some(speed),
            bearing_deg: made.velocity.then(|| behind.bearing_deg(ahead) + 3.0 * noise.normal()),
        });
        at_s += made.every_s;
    }
    fixes
}

/// Raw and smoothed error over all drives and five seeds.
fn over_drives(drives: &[Vec<Truth>], made: &Made, rts: bool) -> (f64, f64) {
    let (mut raw, mut ours, mut n) = (0.0, 0.0, 0.0);
    for drive in drives {
        for seed in 1..=5 {
            let fixes = make(drive, made, seed);
            raw += raw_rmse(&fixes, drive).powi(2) * fixes.len() as f64;
            ours += smoothed_rmse(&fixes, drive, rts).powi(2) * fixes.len() as f64;
            n += fixes.len() as f64;
        }
    }
    ((raw / n).sqrt(), (ours / n).sqrt())
}

#[test]
fn wild_fixes_are_cut_out() {
    let drives = drives();
    if drives.is_empty() {
        return;
    }
    for (every_s, cut_min) in [(1.0, 0.70), (5.0, 0.60)] {
        for velocity in [false, true] {
            let made = Made { every_s, outliers: 0.02, velocity };
            for rts in [false, true] {
                let (raw, ours) = over_drives(&drives, &made, rts);
                let cut = 1.0 - ours / raw;
                println!(
                    "2 % outliers every {every_s} s velocity={velocity} rts={rts}: {raw:.2} -> {ours:.2} m, cut {:.0} %",
                    cut * 100.0
                );
                assert!(cut >= cut_min, "every {every_s} s: {raw:.2} -> {ours:.2}");
            }
        }
    }
}

#[test]
fn correlated_noise_without_outliers_gets_no_worse() {
    let drives = drives();
    if drives.is_empty() {
        return;
    }
    for every_s in [1.0, 5.0, 15.0, 60.0] {
        for velocity in [false, true] {
            for rts in [false, true] {
                let (raw, ours) =
                    over_drives(&drives, &Made { every_s, outliers: 0.0, velocity }, rts);
                println!(
                    "every {every_s} s velocity={velocity} rts={rts}: {raw:.2} -> {ours:.2} m, gain {:.0} %",
                    (1.0 - ours / raw) * 100.0
                );
                assert!(
                    ours <= 1.02 * raw,
                    "every {every_s} s velocity={velocity}: {raw:.2} -> {ours:.2}"
                );
                if every_s == 1.0 && velocity {
                    let gain = if rts { 0.15 } else { 0.10 };
                    assert!(ours <= (1.0 - gain) * raw, "rts={rts}: {raw:.2} -> {ours:.2}");
                }
            }
        }
    }
}

fn fix(at_s: f64, east_m: f64, north_m: f64) -> RawFix {
    let point = Anchor::at(Point { lat: -1.95, lon: 30.06 }).to_point(east_m, north_m);
    RawFix {
        measured_at: Micros((at_s * 1e6) as i64),
        lat: point.lat,
        lon: point.lon,
        accuracy_m: Some(8.0),
        speed_mps: None,
        bearing_deg: None,
    }
}

#[test]
fn one_wild_fix_is_set_aside_and_two_that_agree_are_believed() {
    let mut smoother = Smoother::default();
    for second in 0..30 {
        smoother.push(&fix(f64::from(second), f64::from(second) * 10.0, 0.0));
    }
    let wild = smoother.push(&fix(30.0, 300.0, 900.0));
    assert_eq!(wild.outcome, Outcome::Implausible);
    assert!(wild.point.distance_m(fix(30.0, 300.0, 0.0).point()) < 20.0);
    let next = smoother.push(&fix(31.0, 310.0, 0.0));
    assert_eq!(next.outcome, Outcome::Accepted);
    let outcomes: Vec<Outcome> = (0..2)
        .map(|i| {
            smoother.push(&fix(32.0 + f64::from(i), 320.0, 5_000.0 + 10.0 * f64::from(i))).outcome
        })
        .collect();
    assert_eq!(outcomes, [Outcome::Implausible, Outcome::Restarted]);
}

#[test]
fn a_little_disorder_ends_in_the_same_state() {
    let fixes: Vec<RawFix> =
        (0..40).map(|i| fix(f64::from(i), f64::from(i * i) * 0.2, f64::from(i % 3))).collect();
    let mut in_order = Smoother::default();
    for fix in &fixes {
        in_order.push(fix);
    }
    let mut mixed = fixes.clone();
    mixed.swap(20, 24);
    mixed.swap(38, 39);
    let mut out_of_order = Smoother::default();
    for fix in &mixed {
        assert_ne!(out_of_order.push(fix).outcome, Outcome::TooOld);
    }
    assert_eq!(in_order.core, out_of_order.core);
}

#[test]
fn an_old_fix_leaves_the_live_state_alone() {
    let mut smoother = Smoother::default();
    for second in 0..60 {
        smoother.push(&fix(f64::from(second), 0.0, f64::from(second)));
    }
    let before = smoother.clone();
    assert_eq!(smoother.push(&fix(20.0, 0.0, 20.0)).outcome, Outcome::TooOld);
    assert_eq!(smoother, before);
}

#[test]
fn a_standing_vehicle_draws_no_star() {
    let mut noise = Noise(7);
    let mut smoother = Smoother::default();
    let mut held = Vec::new();
    for step in 0..200 {
        let smoothed =
            smoother.push(&fix(f64::from(step) * 5.0, 3.0 * noise.normal(), 3.0 * noise.normal()));
        if smoothed.held {
            assert_eq!(smoothed.speed_mps, 0.0);
            held.push(smoothed.point);
        }
    }
    assert!(held.len() > 150, "{}", held.len());
    let walked_m: f64 = held.windows(2).map(|pair| pair[0].distance_m(pair[1])).sum();
    assert!(walked_m < 60.0, "{walked_m}");
}

#[test]
fn a_gap_starts_afresh_and_far_travel_lays_the_plane_anew() {
    let mut smoother = Smoother::default();
    smoother.push(&fix(0.0, 0.0, 0.0));
    assert_eq!(smoother.push(&fix(200.0, 9_000.0, 0.0)).outcome, Outcome::Started);
    for step in 1..400_u32 {
        let raw = fix(200.0 + f64::from(step) * 10.0, 9_000.0 + f64::from(step) * 250.0, 0.0);
        let smoothed = smoother.push(&raw);
        assert!(smoothed.point.distance_m(raw.point()) < 200.0, "{step}");
    }
}

#[test]
fn a_coarse_fix_counts_only_where_there_is_no_better() {
    let mut smoother = Smoother::default();
    let coarse = |at_s, east_m| RawFix { accuracy_m: Some(800.0), ..fix(at_s, east_m, 0.0) };
    assert_eq!(smoother.push(&coarse(0.0, 0.0)).outcome, Outcome::Started);
    assert!(smoother.push(&coarse(10.0, 100.0)).outcome.is_trusted());
    smoother.push(&fix(20.0, 50.0, 0.0));
    assert_eq!(smoother.push(&coarse(30.0, 400.0)).outcome, Outcome::Coarse);
}

proptest::proptest! {
    #[test]
    fn any_fixes_give_places_on_the_earth(
        fixes in proptest::collection::vec((0_i64..5_000, -89.0_f64..89.0, -180.0_f64..180.0, 0.1_f64..5_000.0, 0.0_f64..400.0), 1..80),
    ) {
        let mut smoother = Smoother::default();
        for (at_s, lat, lon, accuracy_m, speed_mps) in fixes {
            let smoothed = smoother.push(&RawFix {
                measured_at: Micros::from_secs(at_s), lat, lon,
                accuracy_m: Some(accuracy_m), speed_mps: Some(speed_mps), bearing_deg: Some(lon),
            });
            proptest::prop_assert!(Point::new(smoothed.point.lat, smoothed.point.lon).is_some());
            proptest::prop_assert!(smoothed.speed_mps.is_finite() && smoothed.accuracy_m.is_finite());
        }
    }
}
