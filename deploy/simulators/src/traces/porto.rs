//! Porto taxis (ECML/PKDD 2015): one trip a line, a polyline of `[lon, lat]` each 15 s.

use inzira_schemas::Micros;

use super::{TracePoint, Traces, Track, place};

/// Seconds between two points of a polyline.
const STEP_S: i64 = 15;

pub(super) fn parse(text: &str) -> Traces {
    let mut traces = Traces::default();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let headers = reader.headers().cloned().unwrap_or_default();
    let column = |name: &str| headers.iter().position(|header| header == name);
    let (taxi, start, line) = (column("TAXI_ID"), column("TIMESTAMP"), column("POLYLINE"));
    for record in reader.records() {
        let trip = record.ok().and_then(|record| {
            let field = |at: Option<usize>| at.and_then(|at| record.get(at)).map(str::to_owned);
            Some((field(taxi)?, field(start)?.parse::<i64>().ok()?, field(line)?))
        });
        let Some((vehicle, start_s, polyline)) = trip else {
            traces.skipped += 1;
            continue;
        };
        let corners: Vec<(f64, f64)> = serde_json::from_str(&polyline).unwrap_or_default();
        let mut points = Vec::with_capacity(corners.len());
        for (step, (lon, lat)) in (0_i64..).zip(corners) {
            match place(Some(lat), Some(lon)) {
                Some((lat, lon)) => points.push(TracePoint {
                    measured_at: Micros::from_secs(start_s + step * STEP_S),
                    lat,
                    lon,
                    ..TracePoint::default()
                }),
                None => traces.skipped += 1,
            }
        }
        traces.extend(Traces { tracks: vec![Track { vehicle, points }], skipped: 0 });
    }
    traces
}
