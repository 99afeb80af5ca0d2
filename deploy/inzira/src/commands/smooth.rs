//! `inzira smooth`: smooths a trace as the live flow does, or with hindsight.
//!
//! In:    a trace that `replay` reads; if wanted, the truth of the same drive.
//! Out:   CSV on standard output, a row a fix; notes and errors in metres on standard error.
//! Never: lets the truth touch what is smoothed: it is only compared with.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use clap::error::ErrorKind;
use inzira_flow::{Outcome, RawFix, Smoothed, TrackPoint, smooth_track};
use inzira_schemas::Point;
use inzira_simulators::traces::{self, Spread, Traces, Track, errors};

/// Options of `inzira smooth`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inzira smooth bus.gpx > smooth.csv\n  inzira smooth live_gnss_ublox.csv --rts --truth global_pose_truth.csv > smooth.csv\n\nstate is one of: started accepted held restarted implausible coarse too_old"
)]
pub struct SmoothArgs {
    /// A trace: CSV, GPX, PLT, NDJSON, cabspotting, Porto; found by content
    file: PathBuf,
    /// With hindsight: forward and backward (Rauch-Tung-Striebel)
    #[arg(long)]
    rts: bool,
    /// The true track of the same drive, to compare with
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Only this vehicle; default: each after the other
    #[arg(long, value_name = "NAME")]
    vehicle: Option<String>,
}

/// Runs it.
pub fn run(args: &SmoothArgs) -> anyhow::Result<()> {
    let mut read = traces::read_file(&args.file)?;
    if read.skipped > 0 {
        eprintln!("{} lines held no point", read.skipped);
    }
    if let Some(name) = &args.vehicle {
        let known: Vec<String> = read.tracks.iter().map(|track| track.vehicle.clone()).collect();
        read.tracks.retain(|track| track.vehicle == *name);
        if read.tracks.is_empty() {
            return Err(usage(format!("no vehicle {name} in it; there are: {}", known.join(", "))));
        }
    }
    let truth = args.truth.as_deref().map(traces::read_truth).transpose()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match write_all(&mut out, args.rts, &read, truth.as_ref()) {
        // Whoever reads has enough.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}

fn write_all(
    out: &mut impl Write,
    rts: bool,
    read: &Traces,
    truth: Option<&Traces>,
) -> anyhow::Result<()> {
    writeln!(out, "measured_at,lat,lon,speed_mps,bearing_deg,accuracy_m,state")?;
    let many = read.tracks.len() > 1;
    if many {
        let (n, first) = (read.tracks.len(), &read.tracks[0].vehicle);
        eprintln!("{n} vehicles, one after the other in the rows (--vehicle {first}: only one)");
    }
    for track in &read.tracks {
        let smoothed = smooth_track(&fixes(track), rts);
        for point in &smoothed {
            write_row(out, point)?;
        }
        if many {
            eprintln!("{}: {} fixes", track.vehicle, smoothed.len());
        }
        if let Some(truth) = truth {
            compare(track, &smoothed, truth)?;
        }
    }
    out.flush().context("writing")
}

fn fixes(track: &Track) -> Vec<RawFix> {
    let fix = |point: &traces::TracePoint| RawFix {
        measured_at: point.measured_at,
        lat: point.lat,
        lon: point.lon,
        accuracy_m: point.accuracy_m.filter(|accuracy_m| *accuracy_m > 0.0),
        speed_mps: point.speed_mps,
        bearing_deg: point.bearing_deg,
    };
    track.points.iter().map(fix).collect()
}

fn write_row(out: &mut impl Write, point: &TrackPoint) -> std::io::Result<()> {
    let Smoothed { point: place, accuracy_m, speed_mps, bearing_deg, .. } = point.smoothed;
    writeln!(
        out,
        "{},{:.7},{:.7},{speed_mps:.2},{bearing_deg:.1},{accuracy_m:.1},{}",
        point.measured_at.to_rfc3339(),
        place.lat,
        place.lon,
        state(&point.smoothed)
    )
}

fn state(smoothed: &Smoothed) -> &'static str {
    match smoothed.outcome {
        Outcome::Accepted if smoothed.held => "held",
        Outcome::Accepted => "accepted",
        Outcome::Started => "started",
        Outcome::Restarted => "restarted",
        Outcome::Implausible => "implausible",
        Outcome::Coarse => "coarse",
        Outcome::TooOld => "too_old",
    }
}

/// Says how far raw and smoothed lie from the truth.
fn compare(track: &Track, smoothed: &[TrackPoint], truth: &Traces) -> anyhow::Result<()> {
    let true_track = match truth.tracks.as_slice() {
        [only] => only,
        many => many
            .iter()
            .find(|other| other.vehicle == track.vehicle)
            .ok_or_else(|| usage(format!("the truth has no vehicle {}", track.vehicle)))?,
    };
    let place = |lat, lon| Point { lat, lon };
    let raw = errors(true_track, track.points.iter().map(|p| (p.measured_at, place(p.lat, p.lon))));
    if raw.n == 0 {
        return Err(usage(format!("no fix of {} lies within the truth's span", track.vehicle)));
    }
    let ours = errors(true_track, smoothed.iter().map(|p| (p.measured_at, p.smoothed.point)));
    let line = |name: &str, s: &Spread| {
        eprintln!(
            "{name} n={} rmse_m={:.2} p50_m={:.2} p95_m={:.2}",
            s.n, s.rmse_m, s.p50_m, s.p95_m
        );
    };
    line("before:", &raw);
    line("after: ", &ours);
    eprintln!("ratio:  {:.3}", ours.rmse_m / raw.rmse_m);
    Ok(())
}

/// Bad usage, told like the parser tells it.
fn usage(text: String) -> anyhow::Error {
    clap::Error::raw(ErrorKind::InvalidValue, text).into()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use inzira_schemas::Micros;

    use super::*;

    /// A vehicle that drives north at 10 m/s, a fix a second; one fix is wild.
    fn drive(vehicle: &str) -> Track {
        let point = |second: i64| traces::TracePoint {
            measured_at: Micros::from_secs(second),
            lat: -1.95 + if second == 40 { 0.01 } else { 9e-5 * second as f64 },
            lon: 30.06,
            accuracy_m: Some(8.0),
            ..traces::TracePoint::default()
        };
        Track { vehicle: vehicle.to_owned(), points: (0..60).map(point).collect() }
    }

    fn rows(read: &Traces, truth: Option<&Traces>) -> anyhow::Result<Vec<String>> {
        let mut out = Vec::new();
        write_all(&mut out, false, read, truth)?;
        Ok(String::from_utf8(out)?.lines().map(str::to_owned).collect())
    }

    #[test]
    fn every_fix_of_every_vehicle_gets_a_row_with_what_became_of_it() {
        let read = Traces { tracks: vec![drive("a"), drive("b")], skipped: 0 };
        let rows = rows(&read, None).unwrap();
        assert_eq!(rows.len(), 1 + 2 * 60);
        assert_eq!(rows[0], "measured_at,lat,lon,speed_mps,bearing_deg,accuracy_m,state");
        assert!(rows[1].starts_with("1970-01-01T00:00:00.000000Z,-1.9500000,30.0600000,"));
        assert!(rows[1].ends_with(",started") && rows[41].ends_with(",implausible"), "{rows:?}");
    }

    #[test]
    fn a_truth_of_another_time_is_bad_usage() {
        let read = Traces { tracks: vec![drive("a")], skipped: 0 };
        let mut elsewhen = drive("a");
        elsewhen.points.truncate(0);
        let truth = Traces { tracks: vec![elsewhen], skipped: 0 };
        assert!(rows(&read, Some(&truth)).unwrap_err().is::<clap::Error>());
    }
}
