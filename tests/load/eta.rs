//! Time to go against trips that were not learned from: taxis of Porto and of San Francisco.
//!
//! In:    trips; a seed that says which vehicles and days are kept back.
//! Out:   mean absolute errors in per cent, by city and by how far ahead; then the figures.
//! Never: learns from a vehicle that it is asked about, nor (San Francisco) from a day.
//!
//! The baseline is the straight line by the detour at the mean speed of the same trips.

use std::path::Path;

use anyhow::{Context, bail};
use inzira_flow::{DETOUR, SpeedTable, TimeToGo};
use inzira_schemas::{Micros, Point};
use inzira_simulators::traces;

/// What is promised: so much less error than the baseline, 10 minutes ahead.
const GAIN_MIN: f64 = 0.20;
/// How far ahead, minutes.
const AHEAD: [i64; 3] = [5, 10, 20];
/// A position counts when it is so near to the wanted distance in time, seconds.
const NEAR_S: f64 = 45.0;
/// A silence between two trips, seconds.
const GAP_S: f64 = 180.0;
/// Every so manieth vehicle is kept back.
const KEEP_BACK: u64 = 3;
const TRIP_MIN_M: f64 = 500.0;

type Trip = Vec<(Micros, Point)>;

/// Prints the table and gives the last line.
pub fn run(seed: u64) -> anyhow::Result<String> {
    let Some(data) = inzira_tests::house::trace_data() else {
        return Ok("bench=eta skipped=no-trace-data".to_owned());
    };
    let porto = split(porto(&data.join("porto_taxi"))?, seed, false);
    let francisco = split(francisco(&data.join("sf_cabspotting"))?, seed, true);
    let mut all = [Errors::default(), Errors::default(), Errors::default()];
    for (name, (learned, asked)) in [("Porto", porto), ("San Francisco", francisco)] {
        println!("{name}: {} trips learned, {} asked about", learned.len(), asked.len());
        let by_ahead = measure(&learned, &asked)?;
        for ((ahead, errors), sum) in AHEAD.iter().zip(&by_ahead).zip(&mut all) {
            errors.print(&format!("  {ahead} min ahead"));
            sum.add(errors);
        }
    }
    let [five, ten, twenty] = &all;
    let gain = 1.0 - ten.ours() / ten.baseline();
    let line = format!(
        "bench=eta mape_5min={:.3} mape_10min={:.3} mape_20min={:.3} baseline_mape_10min={:.3} gain_10min={gain:.3} in_range_10min={:.2} trips_10min={} seed={seed}",
        five.ours(),
        ten.ours(),
        twenty.ours(),
        ten.baseline(),
        ten.in_range / ten.n,
        ten.n
    );
    if gain.is_nan() || gain < GAIN_MIN {
        println!("{line}");
        bail!("the time to go is no better than promised");
    }
    Ok(line)
}

/// Sums of absolute errors as shares of the truth.
#[derive(Debug, Clone, Copy, Default)]
struct Errors {
    n: f64,
    ours: f64,
    baseline: f64,
    in_range: f64,
}

impl Errors {
    fn add(&mut self, other: &Errors) {
        self.n += other.n;
        self.ours += other.ours;
        self.baseline += other.baseline;
        self.in_range += other.in_range;
    }

    fn ours(&self) -> f64 {
        self.ours / self.n
    }

    fn baseline(&self) -> f64 {
        self.baseline / self.n
    }

    fn print(&self, name: &str) {
        println!(
            "{name:18} n={:4} mape={:.3} baseline={:.3} in range={:.2}",
            self.n,
            self.ours(),
            self.baseline(),
            self.in_range / self.n
        );
    }
}

/// Learns from some trips and asks about the others.
fn measure(learned: &[Trip], asked: &[Trip]) -> anyhow::Result<[Errors; 3]> {
    let mut table = SpeedTable::default();
    let (mut metres, mut seconds) = (0.0, 0.0);
    for trip in learned {
        table.learn(trip);
        for pair in trip.windows(2) {
            metres += pair[0].1.distance_m(pair[1].1);
            seconds += pair[1].0.seconds_since(pair[0].0);
        }
    }
    if metres == 0.0 {
        bail!("no trips to learn from");
    }
    let mut by_ahead = [Errors::default(); 3];
    for trip in asked {
        let Some(last) = trip.last() else { continue };
        for (ahead_min, errors) in AHEAD.iter().zip(&mut by_ahead) {
            let wanted_s = (ahead_min * 60) as f64;
            let off_s = |at: Micros| (last.0.seconds_since(at) - wanted_s).abs();
            let nearest = trip.iter().min_by(|a, b| off_s(a.0).total_cmp(&off_s(b.0)));
            let Some(&(at, place)) = nearest.filter(|(at, _)| off_s(*at) <= NEAR_S) else {
                continue;
            };
            let true_s = last.0.seconds_since(at);
            let TimeToGo { expected_s, early_s, late_s } = table.to_go(place, last.1, at);
            let straight_s = place.distance_m(last.1) * DETOUR * seconds / metres;
            errors.n += 1.0;
            errors.ours += (expected_s - true_s).abs() / true_s;
            errors.baseline += (straight_s - true_s).abs() / true_s;
            errors.in_range += f64::from(u8::from((early_s..=late_s).contains(&true_s)));
        }
    }
    Ok(by_ahead)
}

/// Trips with the vehicle's number.
type Numbered = Vec<(u64, Trip)>;

/// What is learned from and what is asked about: never the same vehicle, nor the same day.
fn split(trips: Numbered, seed: u64, by_day: bool) -> (Vec<Trip>, Vec<Trip>) {
    let (mut learned, mut asked) = (Vec::new(), Vec::new());
    for (vehicle, trip) in trips {
        let odd_day = trip[0].0.0.div_euclid(86_400_000_000) as u64 % 2 == seed % 2;
        match (vehicle % KEEP_BACK == seed % KEEP_BACK, !by_day || odd_day) {
            (true, true) => asked.push(trip),
            (false, odd) if !by_day || !odd => learned.push(trip),
            _ => {}
        }
    }
    (learned, asked)
}

fn porto(folder: &Path) -> anyhow::Result<Numbered> {
    let read = traces::read_all(&[folder.to_owned()])?;
    let mut trips = Numbered::new();
    for track in read.tracks {
        let vehicle = track.vehicle.parse().unwrap_or(0);
        let places = track.points.iter().map(|p| (p.measured_at, Point { lat: p.lat, lon: p.lon }));
        cut(vehicle, places.map(Some), &mut trips);
    }
    Ok(trips)
}

/// Cabs with a customer: `lat lon occupied unix_s` a line, in any order.
fn francisco(folder: &Path) -> anyhow::Result<Numbered> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    let mut trips = Numbered::new();
    for (vehicle, file) in files.iter().enumerate() {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let line = |line: &str| -> Option<(Micros, Point, bool)> {
            let mut fields = line.split_whitespace();
            let mut number = || fields.next()?.parse::<f64>().ok();
            let (lat, lon, occupied, at_s) = (number()?, number()?, number()?, number()?);
            Some((Micros::from_secs(at_s as i64), Point::new(lat, lon)?, occupied == 1.0))
        };
        let mut day: Vec<(Micros, Point, bool)> = text.lines().filter_map(line).collect();
        day.sort_by_key(|(at, ..)| *at);
        let places = day.into_iter().map(|(at, place, taken)| taken.then_some((at, place)));
        cut(vehicle as u64, places, &mut trips);
    }
    Ok(trips)
}

/// Cuts a day into trips: at every gap, and wherever the cab is free.
fn cut(vehicle: u64, places: impl Iterator<Item = Option<(Micros, Point)>>, trips: &mut Numbered) {
    let mut trip = Trip::new();
    for place in places.chain([None]) {
        let goes_on = place.is_some_and(|(at, _)| {
            trip.last().is_none_or(|(before, _)| at.seconds_since(*before) <= GAP_S)
        });
        if !goes_on {
            let whole = std::mem::take(&mut trip);
            let far = whole.first().zip(whole.last()).map_or(0.0, |(a, b)| a.1.distance_m(b.1));
            if far >= TRIP_MIN_M {
                trips.push((vehicle, whole));
            }
        }
        trip.extend(place);
    }
}
