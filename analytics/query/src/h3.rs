//! H3 as SQL functions under the names of DuckDB's extension, over BIGINT cells.
//!
//! In:    columns of cells (BIGINT), degrees, resolutions.
//! Out:   columns; NULL in gives NULL out, and what is no cell or no place gives NULL.
//! Never: fails on data, save on a disk wider than `DISK_K_MAX`; a wrong number or type of
//!        arguments is an error at planning.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder,
    StringBuilder,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use h3o::{CellIndex, LatLng, Resolution};
use inzira_schemas::Point;

/// The largest `k` of `h3_grid_disk`: 7,651 cells a row.
pub const DISK_K_MAX: i64 = 50;

/// The functions, ready to register.
pub fn functions() -> Vec<ScalarUDF> {
    use Argument::{Cell, Degrees, Number, Text};
    let cells = || DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    vec![
        function("h3_latlng_to_cell", &[Degrees, Degrees, Number], DataType::Int64, latlng_to_cell),
        function("h3_cell_to_lat", &[Cell], DataType::Float64, |a| coordinate(a, |p| p.lat())),
        function("h3_cell_to_lng", &[Cell], DataType::Float64, |a| coordinate(a, |p| p.lng())),
        function("h3_cell_to_parent", &[Cell, Number], DataType::Int64, cell_to_parent),
        function("h3_get_resolution", &[Cell], DataType::Int64, get_resolution),
        function("h3_is_valid_cell", &[Cell], DataType::Boolean, is_valid_cell),
        function("h3_cell_to_boundary_wkt", &[Cell], DataType::Utf8, cell_to_boundary_wkt),
        function("h3_h3_to_string", &[Cell], DataType::Utf8, h3_to_string),
        function("h3_string_to_h3", &[Text], DataType::Int64, string_to_h3),
        function("h3_grid_disk", &[Cell, Number], cells(), grid_disk),
        function("h3_grid_distance", &[Cell, Cell], DataType::Int64, grid_distance),
    ]
}

/// The cell, if the number is one.
pub fn cell(number: i64) -> Option<CellIndex> {
    CellIndex::try_from(u64::try_from(number).ok()?).ok()
}

/// The number of a cell: bit 63 of a valid cell is 0, so it keeps its order.
pub fn number(cell: CellIndex) -> i64 {
    i64::try_from(u64::from(cell)).unwrap_or(0)
}

/// The parent by bit arithmetic; `None` when `cell` is no cell or coarser than `resolution`.
pub fn parent(cell_number: i64, resolution: u8) -> Option<i64> {
    let own = cell(cell_number)?.resolution();
    (resolution <= u8::from(own)).then(|| parent_unchecked(cell_number, resolution))
}

/// The parent of a number known to be a cell at least as fine as `resolution` (0 to 15).
pub fn parent_unchecked(cell_number: i64, resolution: u8) -> i64 {
    const RESOLUTION_SHIFT: u32 = 52;
    let unused_digits = (1_i64 << (3 * (15 - u32::from(resolution.min(15))))) - 1;
    (cell_number & !(0xF << RESOLUTION_SHIFT))
        | (i64::from(resolution) << RESOLUTION_SHIFT)
        | unused_digits
}

/// The text of a cell, as every H3 library spells it.
pub fn text(cell_number: i64) -> String {
    format!("{cell_number:x}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    Cell,
    Degrees,
    Number,
    Text,
}

impl Argument {
    fn data_type(self) -> DataType {
        match self {
            Argument::Cell | Argument::Number => DataType::Int64,
            Argument::Degrees => DataType::Float64,
            Argument::Text => DataType::Utf8,
        }
    }

    fn accepts(self, given: &DataType) -> bool {
        if given.is_null() {
            return true;
        }
        match self {
            Argument::Cell | Argument::Number => given.is_integer(),
            Argument::Degrees => given.is_numeric(),
            Argument::Text => given.is_string(),
        }
    }
}

type Evaluate = fn(&[ArrayRef]) -> Result<ArrayRef>;

#[derive(Debug)]
struct Function {
    name: &'static str,
    arguments: &'static [Argument],
    returns: DataType,
    evaluate: Evaluate,
    signature: Signature,
}

fn function(
    name: &'static str,
    arguments: &'static [Argument],
    returns: DataType,
    evaluate: Evaluate,
) -> ScalarUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    ScalarUDF::new_from_impl(Function { name, arguments, returns, evaluate, signature })
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let fits = given.len() == self.arguments.len()
            && self.arguments.iter().zip(given).all(|(argument, given)| argument.accepts(given));
        if !fits {
            let wanted: Vec<&str> = self
                .arguments
                .iter()
                .map(|argument| match argument {
                    Argument::Cell => "cell BIGINT",
                    Argument::Degrees => "degrees DOUBLE",
                    Argument::Number => "number INT",
                    Argument::Text => "text",
                })
                .collect();
            return plan_err!("{} takes ({})", self.name, wanted.join(", "));
        }
        Ok(self.arguments.iter().map(|argument| argument.data_type()).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar =
            args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let column = (self.evaluate)(&arrays)?;
        if all_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&column, 0)?));
        }
        Ok(ColumnarValue::Array(column))
    }
}

fn integers(columns: &[ArrayRef], index: usize) -> impl Iterator<Item = Option<i64>> + '_ {
    columns[index].as_primitive::<Int64Type>().iter()
}

fn cells(columns: &[ArrayRef]) -> impl Iterator<Item = Option<CellIndex>> + '_ {
    integers(columns, 0).map(|number| cell(number?))
}

fn latlng_to_cell(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let lat = columns[0].as_primitive::<Float64Type>();
    let lng = columns[1].as_primitive::<Float64Type>();
    let mut out = Int64Builder::with_capacity(lat.len());
    for ((lat, lng), resolution) in lat.iter().zip(lng.iter()).zip(integers(columns, 2)) {
        out.append_option(place_to_cell(lat, lng, resolution));
    }
    Ok(Arc::new(out.finish()))
}

fn place_to_cell(lat: Option<f64>, lng: Option<f64>, resolution: Option<i64>) -> Option<i64> {
    let resolution = Resolution::try_from(u8::try_from(resolution?).ok()?).ok()?;
    let place = Point::new(lat?, lng?)?;
    Some(number(LatLng::new(place.lat, place.lon).ok()?.to_cell(resolution)))
}

fn coordinate(columns: &[ArrayRef], of: fn(LatLng) -> f64) -> Result<ArrayRef> {
    let mut out = Float64Builder::with_capacity(columns[0].len());
    for cell in cells(columns) {
        out.append_option(cell.map(|cell| of(LatLng::from(cell))));
    }
    Ok(Arc::new(out.finish()))
}

fn cell_to_parent(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let mut out = Int64Builder::with_capacity(columns[0].len());
    for (number, resolution) in integers(columns, 0).zip(integers(columns, 1)) {
        let resolution = resolution.and_then(|resolution| u8::try_from(resolution).ok());
        out.append_option(number.zip(resolution).and_then(|(n, r)| parent(n, r)));
    }
    Ok(Arc::new(out.finish()))
}

fn get_resolution(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let mut out = Int64Builder::with_capacity(columns[0].len());
    for cell in cells(columns) {
        out.append_option(cell.map(|cell| i64::from(u8::from(cell.resolution()))));
    }
    Ok(Arc::new(out.finish()))
}

fn is_valid_cell(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let mut out = BooleanBuilder::with_capacity(columns[0].len());
    for number in integers(columns, 0) {
        out.append_option(number.map(|number| cell(number).is_some()));
    }
    Ok(Arc::new(out.finish()))
}

fn cell_to_boundary_wkt(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let mut out = StringBuilder::with_capacity(columns[0].len(), columns[0].len() * 180);
    for cell in cells(columns) {
        out.append_option(cell.map(boundary_wkt));
    }
    Ok(Arc::new(out.finish()))
}

fn boundary_wkt(cell: CellIndex) -> String {
    let corners = cell.boundary();
    let ring: Vec<String> = corners
        .iter()
        .chain(corners.iter().take(1))
        .map(|corner| format!("{:.6} {:.6}", corner.lng(), corner.lat()))
        .collect();
    format!("POLYGON (({}))", ring.join(", "))
}

fn h3_to_string(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let mut out = StringBuilder::with_capacity(columns[0].len(), columns[0].len() * 15);
    for cell in cells(columns) {
        out.append_option(cell.map(|cell| text(number(cell))));
    }
    Ok(Arc::new(out.finish()))
}

fn string_to_h3(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let texts = columns[0].as_string::<i32>();
    let mut out = Int64Builder::with_capacity(texts.len());
    for text in texts.iter() {
        out.append_option(text.and_then(|text| text.trim().parse().ok()).map(number));
    }
    Ok(Arc::new(out.finish()))
}

fn grid_disk(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let mut out = ListBuilder::new(Int64Builder::new());
    for (cell, k) in cells(columns).zip(integers(columns, 1)) {
        if k.is_some_and(|k| k > DISK_K_MAX) {
            return exec_err!("h3_grid_disk: k is at most {DISK_K_MAX}");
        }
        let k = k.and_then(|k| u32::try_from(k).ok());
        match cell.zip(k) {
            Some((cell, k)) => {
                let near: Vec<CellIndex> = cell.grid_disk(k);
                out.append_value(near.into_iter().map(|near| Some(number(near))));
            }
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn grid_distance(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let mut out = Int64Builder::with_capacity(columns[0].len());
    for (from, to) in cells(columns).zip(integers(columns, 1)) {
        let steps = from
            .zip(to.and_then(cell))
            .and_then(|(from, to)| from.grid_distance(to).ok())
            .map(i64::from);
        out.append_option(steps);
    }
    Ok(Arc::new(out.finish()))
}

#[cfg(test)]
mod tests;
