//! A heat map as JSON, GeoJSON or CSV.
//!
//! In:    an answer and its request.
//! Out:   bytes and their media type; every one says how new it is and how many cells it hides.
//! Never: writes a cell as a number in JSON: it would lose its last digits in a browser.

use std::fmt::Write;

use h3o::LatLng;
use inzira_schemas::Micros;
use serde::Serialize;

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
    let head = serde_json::to_string(&about(request, answer))
        .map_err(|error| QueryError::Internal(format!("writing a heat map: {error}")))?;
    // Left open: the cells are members of the same object.
    let head = head.trim_end_matches('}');
    let written = match format {
        HeatmapFormat::Json => json(head, answer),
        HeatmapFormat::GeoJson => geojson(head, answer),
        HeatmapFormat::Csv => csv(answer),
    };
    Ok(written.into_bytes())
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

fn json(head: &str, answer: &HeatmapAnswer) -> String {
    let mut out = String::with_capacity(head.len() + 16 + answer.cells.len() * 180);
    out.push_str(head);
    out.push_str(",\"cells\":[");
    for (index, cell) in answer.cells.iter().enumerate() {
        out.push_str(if index == 0 { "{" } else { ",{" });
        put_properties(&mut out, cell);
        if let Some(centre) = h3::cell(cell.cell).map(LatLng::from) {
            out.push_str(",\"lat\":");
            put_degrees(&mut out, centre.lat());
            out.push_str(",\"lon\":");
            put_degrees(&mut out, centre.lng());
        }
        out.push('}');
    }
    out.push_str("]}");
    out
}

fn geojson(head: &str, answer: &HeatmapAnswer) -> String {
    let mut out = String::with_capacity(head.len() + 64 + answer.cells.len() * 480);
    out.push_str(head);
    out.push_str(",\"type\":\"FeatureCollection\",\"features\":[");
    for (index, cell) in answer.cells.iter().enumerate() {
        out.push_str(if index == 0 { "{" } else { ",{" });
        out.push_str("\"type\":\"Feature\",\"geometry\":{\"type\":\"Polygon\",\"coordinates\":");
        put_ring(&mut out, cell.cell);
        out.push_str("},\"properties\":{");
        put_properties(&mut out, cell);
        out.push_str("}}");
    }
    out.push_str("]}");
    out
}

/// The figures of a cell, as members of an object.
fn put_properties(out: &mut String, cell: &CellRevenue) {
    let currency = serde_json::Value::from(cell.currency.as_str());
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "\"cell\":\"{:x}\",\"currency\":{currency},\"revenue_minor\":{},\"captured_minor\":{},\
         \"refunded_minor\":{},\"payments\":{}",
        cell.cell, cell.revenue_minor, cell.captured_minor, cell.refunded_minor, cell.payments
    );
}

/// The closed outer ring, counter-clockwise as H3 gives it and GeoJSON wants it.
fn put_ring(out: &mut String, cell: i64) {
    let Some(cell) = h3::cell(cell) else {
        out.push_str("[]");
        return;
    };
    let boundary = cell.boundary();
    for (index, corner) in boundary.iter().chain(boundary.iter().take(1)).enumerate() {
        out.push_str(if index == 0 { "[[[" } else { ",[" });
        put_degrees(out, corner.lng());
        out.push(',');
        put_degrees(out, corner.lat());
        out.push(']');
    }
    out.push_str("]]");
}

/// Six decimals: a tenth of a metre. By whole numbers, which print several times faster.
fn put_degrees(out: &mut String, degrees: f64) {
    let millionths = (degrees * 1e6).round() as i64;
    let sign = if millionths < 0 { "-" } else { "" };
    let absolute = millionths.unsigned_abs();
    let _ = write!(out, "{sign}{}.{:06}", absolute / 1_000_000, absolute % 1_000_000);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_have_six_decimals_and_their_sign() {
        let mut out = String::new();
        for degrees in [-0.0000004, -1.95, 30.0600005, 0.000001, -179.999999] {
            put_degrees(&mut out, degrees);
            out.push(' ');
        }
        assert_eq!(out, "0.000000 -1.950000 30.060001 0.000001 -179.999999 ");
    }
}
