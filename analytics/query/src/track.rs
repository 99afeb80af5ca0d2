//! The way of one order so far: `GET orders/{id}/track`.
//!
//! In:    an order that the caller may see, a format, how many points.
//! Out:   the best known positions in order of time, thinned evenly, and what has happened: JSON
//!        for the page; CSV, GeoJSON or GPX to keep.
//! Never: names the driver; says whether an order exists to somebody who may not see it.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use inzira_schemas::access;
use inzira_schemas::identity::OrderView;
use inzira_schemas::{Micros, OrderId, Problem};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::QueryError;
use crate::http::{App, answered, problem, refused, turn};
use crate::questions::Questions;
use crate::sql::Limits;

/// Positions that are read of one order: the newest, 14 hours at one a second.
const POSITIONS_MAX: usize = 50_000;
/// Points that a drawing gets unless it asks otherwise.
const POINTS_DRAWN: usize = 500;
const EVENTS_MAX: usize = 1_000;
const DAY_S: i64 = 86_400;
const RETRY_AFTER_S: u32 = 2;

/// One position of the track.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackPoint {
    /// The device's own time.
    pub measured_at: Micros,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// 68 % radius, metres.
    pub accuracy_m: f64,
    /// Metres a second.
    pub speed_mps: f64,
    /// Degrees clockwise from north.
    pub bearing_deg: f64,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackEvent {
    /// `evt_…`.
    pub event_id: String,
    /// `ARRIVING`, `PICKED_UP`, …
    pub event: String,
    /// When.
    pub at: Micros,
    /// `pickup`, `delivery`, or empty.
    pub leg: String,
    /// Proved by fixes that came late.
    pub late: bool,
}

/// The way of one order so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// In order of time.
    pub points: Vec<TrackPoint>,
    /// In order of time.
    pub events: Vec<TrackEvent>,
    /// Everything acknowledged before this moment is in it.
    pub data_as_of: Micros,
}

impl Questions {
    /// The track of an order, and its events.
    pub async fn track(&self, order: &OrderView) -> Result<Track, QueryError> {
        // Ids hold letters, digits and `_`: nothing can break out of the text.
        let order_id = order.order_id.as_str();
        // Nothing of an order is older than the order; a day for clocks that are behind.
        let from = order.created_at.plus_secs(-DAY_S).to_rfc3339();
        let from_date = from.get(..10).unwrap_or_default();
        let of_it = format!("order_id = '{order_id}' AND event_date >= '{from_date}'");
        let positions = format!(
            "SELECT CAST(measured_at AS BIGINT) AS at, lat, lon, accuracy_m, speed_mps, \
             bearing_deg FROM positions WHERE {of_it} ORDER BY at DESC LIMIT {POSITIONS_MAX}"
        );
        let events = format!(
            "SELECT event_id, event_type, CAST(at AS BIGINT) AS moment, leg, late \
             FROM tracking_events WHERE {of_it} ORDER BY moment, event_id LIMIT {EVENTS_MAX}"
        );
        let positions = self.sql(&positions, Limits::default()).await?;
        let data_as_of = positions.data_as_of;
        let mut points: Vec<TrackPoint> =
            positions.collect().await?.iter().flat_map(points_of).collect();
        points.reverse();
        let events = self.sql(&events, Limits::default()).await?.collect().await?;
        Ok(Track { points, events: events.iter().flat_map(events_of).collect(), data_as_of })
    }
}

fn points_of(batch: &RecordBatch) -> Vec<TrackPoint> {
    let at = batch.column(0).as_primitive::<Int64Type>();
    let float = |column: usize, row: usize| {
        let values = batch.column(column).as_primitive::<Float64Type>();
        if values.is_null(row) { 0.0 } else { values.value(row) }
    };
    (0..batch.num_rows())
        .map(|row| TrackPoint {
            measured_at: Micros(at.value(row)),
            lat: float(1, row),
            lon: float(2, row),
            accuracy_m: float(3, row),
            speed_mps: float(4, row),
            bearing_deg: float(5, row),
        })
        .collect()
}

fn events_of(batch: &RecordBatch) -> Vec<TrackEvent> {
    let text = |column: usize, row: usize| {
        arrow::util::display::array_value_to_string(batch.column(column), row).unwrap_or_default()
    };
    let at = batch.column(2).as_primitive::<Int64Type>();
    let late = batch.column(4).as_boolean();
    (0..batch.num_rows())
        .map(|row| TrackEvent {
            event_id: text(0, row),
            event: text(1, row),
            at: Micros(at.value(row)),
            leg: text(3, row),
            late: late.is_valid(row) && late.value(row),
        })
        .collect()
}

/// What may be asked for.
#[derive(Debug, Deserialize)]
pub struct TrackParameters {
    format: Option<String>,
    points: Option<usize>,
}

/// `GET orders/{id}/track?format=json|csv|geojson|gpx&points=N`.
pub async fn answer(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    parameters: Result<Query<TrackParameters>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let answer = match parameters {
        Ok(Query(parameters)) => read(&app, &id, &headers, &parameters).await,
        Err(error) => Err(Problem::bad_request("bad_parameter", error.body_text())),
    };
    answer.unwrap_or_else(|problem| refused(problem, &headers))
}

async fn read(
    app: &App,
    id: &str,
    headers: &HeaderMap,
    parameters: &TrackParameters,
) -> Result<Response, Problem> {
    if !app.identity.gateway_open(headers) {
        return Err(Problem::unauthorized());
    }
    let order_id = OrderId::parse(id).map_err(|_| Problem::not_found("order"))?;
    let shown = access::shown(headers);
    let opened = access::open(app.identity.as_ref(), shown, &order_id).await;
    let order = opened.map_err(|denied| denied.problem(RETRY_AFTER_S))?.order;
    let format = parameters.format.as_deref().unwrap_or("json");
    if !["json", "csv", "geojson", "gpx"].contains(&format) {
        let known = "format: json, csv, geojson or gpx";
        return Err(Problem::bad_request("bad_parameter", known));
    }
    let drawn = matches!(format, "json" | "geojson");
    let most = parameters.points.unwrap_or(if drawn { POINTS_DRAWN } else { POSITIONS_MAX });
    if !(2..=POSITIONS_MAX).contains(&most) {
        let range = format!("points: 2 to {POSITIONS_MAX}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_parameter", range));
    }
    let _turn = turn(&app.tracks)?;
    let track = app.questions.track(&order).await.map_err(|error| problem(&error))?;
    let points = thinned(&track.points, most);
    let (text, media_type) = match format {
        "csv" => (csv(&points), "text/csv; charset=utf-8"),
        "geojson" => (geojson(&order_id, &points).to_string(), "application/geo+json"),
        "gpx" => (gpx(&order_id, &points), "application/gpx+xml"),
        _ => (plain(&order_id, &track, &points).to_string(), "application/json"),
    };
    Ok(answered(text.into_bytes(), media_type, track.data_as_of))
}

/// At most `most` points, evenly chosen; the first and the last always.
fn thinned(points: &[TrackPoint], most: usize) -> Vec<TrackPoint> {
    if points.len() <= most {
        return points.to_vec();
    }
    (0..most).map(|n| points[n * (points.len() - 1) / (most - 1)]).collect()
}

/// A tenth of a metre is enough to draw.
fn short(degrees: f64) -> f64 {
    (degrees * 1e6).round() / 1e6
}

/// `line` is `[[lon, lat, epoch_ms], …]`; events have the shape of the live frames.
fn plain(order_id: &OrderId, track: &Track, points: &[TrackPoint]) -> Value {
    let line = points.iter().map(|p| json!([short(p.lon), short(p.lat), p.measured_at.0 / 1_000]));
    let events = track.events.iter().map(|event| {
        json!({
            "type": "event",
            "order_id": order_id.as_str(),
            "event": event.event,
            "event_id": event.event_id,
            "at": event.at.to_rfc3339(),
            "leg": event.leg,
            "late": event.late,
        })
    });
    json!({
        "order_id": order_id.as_str(),
        "data_as_of": track.data_as_of.to_rfc3339(),
        "points": track.points.len(),
        "line": line.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
    })
}

fn csv(points: &[TrackPoint]) -> String {
    let mut text = "measured_at,lat,lon,accuracy_m,speed_mps,bearing_deg\n".to_owned();
    for p in points {
        let at = p.measured_at.to_rfc3339();
        text.push_str(&format!(
            "{at},{:.7},{:.7},{:.1},{:.2},{:.1}\n",
            p.lat, p.lon, p.accuracy_m, p.speed_mps, p.bearing_deg
        ));
    }
    text
}

/// RFC 7946; times beside the line, as most tools read them (`coordTimes`).
fn geojson(order_id: &OrderId, points: &[TrackPoint]) -> Value {
    let line: Vec<Value> = points.iter().map(|p| json!([short(p.lon), short(p.lat)])).collect();
    let times: Vec<String> = points.iter().map(|p| p.measured_at.to_rfc3339()).collect();
    let geometry = match line.as_slice() {
        [] => Value::Null,
        [one] => json!({"type": "Point", "coordinates": one}),
        _ => json!({"type": "LineString", "coordinates": line}),
    };
    json!({
        "type": "Feature",
        "geometry": geometry,
        "properties": {"order_id": order_id.as_str(), "coordTimes": times},
    })
}

/// GPX 1.1.
fn gpx(order_id: &OrderId, points: &[TrackPoint]) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gpx version=\"1.1\" creator=\"Inzira\" \
         xmlns=\"http://www.topografix.com/GPX/1/1\">\n<trk><name>{}</name><trkseg>\n",
        order_id.as_str()
    );
    for p in points {
        text.push_str(&format!(
            "<trkpt lat=\"{:.7}\" lon=\"{:.7}\"><time>{}</time></trkpt>\n",
            p.lat,
            p.lon,
            p.measured_at.to_rfc3339()
        ));
    }
    text.push_str("</trkseg></trk>\n</gpx>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_s: i64) -> TrackPoint {
        TrackPoint {
            measured_at: Micros::from_secs(at_s),
            lat: -1.95,
            lon: 30.06 + at_s as f64 * 1e-4,
            accuracy_m: 5.0,
            speed_mps: 8.0,
            bearing_deg: 90.0,
        }
    }

    #[test]
    fn a_long_track_keeps_both_ends() {
        let points: Vec<TrackPoint> = (0..1_001).map(point).collect();
        let few = thinned(&points, 11);
        assert_eq!((few.len(), few[0], few[10]), (11, points[0], points[1_000]));
        assert_eq!(thinned(&points[..3], 11).len(), 3);
    }

    #[test]
    fn every_format_carries_the_points() {
        let (order_id, points) = (OrderId::new(), [point(0), point(1)]);
        assert_eq!(csv(&points).lines().count(), 3);
        assert_eq!(gpx(&order_id, &points).matches("<trkpt").count(), 2);
        assert_eq!(geojson(&order_id, &points)["geometry"]["coordinates"][1][0], 30.0601);
        assert_eq!(geojson(&order_id, &[])["geometry"], Value::Null);
    }
}
