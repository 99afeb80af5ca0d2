//! A heat map as JSON, GeoJSON or CSV.
//!
//! In:    an answer and its request.
//! Out:   bytes and their media type; every one says how new it is and how many cells it hides.
//! Never: writes a cell as a number in JSON: it would lose its last digits in a browser.

use h3o::LatLng;
use inzira_schemas::Micros;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{CellRevenue, HeatmapAnswer, HeatmapRequest};
use crate::error::QueryError;
use crate::h3;

/// How a heat map is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeatmapFormat {
    /// One object with a list of cells.
    #[default]
    Json,
    /// A feature collection of hexagons.
    GeoJson,
    /// A line a cell.
    Csv,
}

impl HeatmapFormat {
    /// Reads the parameter.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "geojson" => Some(Self::GeoJson),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// As the parameter spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::GeoJson => "geojson",
            Self::Csv => "csv",
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::GeoJson => "application/geo+json",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// Writes an answer.
pub fn render(
    format: HeatmapFormat,
    request: &HeatmapRequest,
    answer: &HeatmapAnswer,
) -> Result<Vec<u8>, QueryError> {
    let written = match format {
        HeatmapFormat::Json => serde_json::to_vec(&json(request, answer)),
        HeatmapFormat::GeoJson => serde_json::to_vec(&geojson(request, answer)),
        HeatmapFormat::Csv => return Ok(csv(answer).into_bytes()),
    };
    written.map_err(|error| QueryError::Internal(format!("writing a heat map: {error}")))
}

#[derive(Serialize)]
struct About {
    measure: &'static str,
    data_as_of: String,
    from: Option<String>,
    to: Option<String>,
    resolution: u8,
    kind: Option<&'static str>,
    by: &'static str,
    suppressed_cells: u64,
    unplaced_payments: u64,
}

fn about(request: &HeatmapRequest, answer: &HeatmapAnswer) -> About {
    About {
        measure: "revenue",
        data_as_of: answer.data_as_of.to_rfc3339(),
        from: request.from.map(Micros::to_rfc3339),
        to: request.to.map(Micros::to_rfc3339),
        resolution: request.resolution,
        kind: request.kind.map(|kind| kind.as_str()),
        by: request.by.as_str(),
        suppressed_cells: answer.suppressed_cells,
        unplaced_payments: answer.unplaced_payments,
    }
}

#[derive(Serialize)]
struct Cell<'a> {
    cell: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lat: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lon: Option<Box<RawValue>>,
    currency: &'a str,
    revenue_minor: i64,
    captured_minor: i64,
    refunded_minor: i64,
    payments: u64,
}

fn properties(cell: &CellRevenue, centre: Option<LatLng>) -> Cell<'_> {
    Cell {
        cell: cell.cell_text(),
        lat: centre.and_then(|centre| degrees(centre.lat())),
        lon: centre.and_then(|centre| degrees(centre.lng())),
        currency: &cell.currency,
        revenue_minor: cell.revenue_minor,
        captured_minor: cell.captured_minor,
        refunded_minor: cell.refunded_minor,
        payments: cell.payments,
    }
}

/// Six decimals: a tenth of a metre.
fn degrees(value: f64) -> Option<Box<RawValue>> {
    RawValue::from_string(format!("{value:.6}")).ok()
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    about: About,
    cells: Vec<Cell<'a>>,
}

fn json<'a>(request: &HeatmapRequest, answer: &'a HeatmapAnswer) -> Json<'a> {
    let centre = |cell: &CellRevenue| h3::cell(cell.cell).map(LatLng::from);
    let cells = answer.cells.iter().map(|cell| properties(cell, centre(cell)));
    Json { about: about(request, answer), cells: cells.collect() }
}

#[derive(Serialize)]
struct Collection<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    about: About,
    features: Vec<Feature<'a>>,
}

#[derive(Serialize)]
struct Feature<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    geometry: Polygon,
    properties: Cell<'a>,
}

#[derive(Serialize)]
struct Polygon {
    #[serde(rename = "type")]
    kind: &'static str,
    coordinates: Option<Box<RawValue>>,
}

fn geojson<'a>(request: &HeatmapRequest, answer: &'a HeatmapAnswer) -> Collection<'a> {
    let features = answer.cells.iter().map(|cell| Feature {
        kind: "Feature",
        id: format!("{}/{}", cell.cell_text(), cell.currency),
        geometry: Polygon { kind: "Polygon", coordinates: ring(cell.cell) },
        properties: properties(cell, None),
    });
    Collection {
        kind: "FeatureCollection",
        about: about(request, answer),
        features: features.collect(),
    }
}

/// The closed outer ring, counter-clockwise as H3 gives it and GeoJSON wants it.
fn ring(cell: i64) -> Option<Box<RawValue>> {
    let boundary = h3::cell(cell)?.boundary();
    let corners: Vec<String> = boundary
        .iter()
        .chain(boundary.iter().take(1))
        .map(|corner| format!("[{:.6},{:.6}]", corner.lng(), corner.lat()))
        .collect();
    RawValue::from_string(format!("[[{}]]", corners.join(","))).ok()
}

fn csv(answer: &HeatmapAnswer) -> String {
    let as_of = answer.data_as_of.to_rfc3339();
    let mut text = String::with_capacity(64 + answer.cells.len() * 96);
    text.push_str(
        "cell,currency,revenue_minor,captured_minor,refunded_minor,payments,data_as_of,suppressed_cells\n",
    );
    for cell in &answer.cells {
        text.push_str(&format!(
            "{},{},{},{},{},{},{as_of},{}\n",
            cell.cell_text(),
            cell.currency,
            cell.revenue_minor,
            cell.captured_minor,
            cell.refunded_minor,
            cell.payments,
            answer.suppressed_cells,
        ));
    }
    text
}
