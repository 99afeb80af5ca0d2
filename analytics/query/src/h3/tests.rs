//! The functions against h3o, known vectors and NULLs.

use super::*;
use arrow::array::{Float64Array, Int64Array, StringArray};
use proptest::prelude::*;

fn numbers(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn degrees(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn as_numbers(column: &ArrayRef) -> Vec<Option<i64>> {
    column.as_primitive::<Int64Type>().iter().collect()
}

/// From the H3 documentation: `latLngToCell(37.3615593, -122.0553238, 7)`.
const DOCUMENTED: i64 = 0x87283472bffffff;

#[test]
fn the_documented_place_has_the_documented_cell() {
    let cells = latlng_to_cell(&[
        degrees(&[Some(37.3615593), None, Some(91.0), Some(f64::NAN), Some(0.0)]),
        degrees(&[Some(-122.0553238), Some(0.0), Some(0.0), Some(0.0), Some(0.0)]),
        numbers(&[Some(7), Some(7), Some(7), Some(7), Some(16)]),
    ])
    .unwrap();
    assert_eq!(as_numbers(&cells), [Some(DOCUMENTED), None, None, None, None]);
}

#[test]
fn a_cell_spells_and_reads_its_text() {
    let texts = h3_to_string(&[numbers(&[Some(DOCUMENTED), None, Some(0), Some(-1)])]).unwrap();
    let texts: Vec<Option<&str>> = texts.as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("87283472bffffff"), None, None, None]);
    let read: ArrayRef =
        Arc::new(StringArray::from(vec![Some("87283472bffffff"), Some("x"), None, Some("")]));
    assert_eq!(as_numbers(&string_to_h3(&[read]).unwrap()), [Some(DOCUMENTED), None, None, None]);
}

#[test]
fn a_boundary_is_a_closed_ring_in_wkt() {
    let wkt = cell_to_boundary_wkt(&[numbers(&[Some(DOCUMENTED), Some(5)])]).unwrap();
    let wkt = wkt.as_string::<i32>();
    assert!(wkt.is_null(1));
    let ring = wkt.value(0).strip_prefix("POLYGON ((").unwrap().strip_suffix("))").unwrap();
    let corners: Vec<&str> = ring.split(", ").collect();
    assert_eq!(corners.len(), 7);
    assert_eq!(corners.first(), corners.last());
    assert!(corners[0].starts_with("-122.") || corners[0].starts_with("-121."), "{}", corners[0]);
}

#[test]
fn what_is_no_cell_has_no_parent_resolution_place_or_neighbours() {
    let none = [numbers(&[Some(0), Some(-5), Some(i64::MAX), None]), numbers(&[Some(1); 4])];
    assert_eq!(as_numbers(&cell_to_parent(&none).unwrap()), [None; 4]);
    assert_eq!(as_numbers(&get_resolution(&none).unwrap()), [None; 4]);
    assert_eq!(as_numbers(&grid_distance(&none).unwrap()), [None; 4]);
    assert_eq!(grid_disk(&none).unwrap().null_count(), 4);
    assert_eq!(coordinate(&none, |p| p.lat()).unwrap().null_count(), 4);
    let valid: Vec<Option<bool>> = is_valid_cell(&none).unwrap().as_boolean().iter().collect();
    assert_eq!(valid, [Some(false), Some(false), Some(false), None]);
}

#[test]
fn a_finer_parent_and_an_impossible_resolution_are_null() {
    let parents = cell_to_parent(&[
        numbers(&[Some(DOCUMENTED); 5]),
        numbers(&[Some(7), Some(8), Some(-1), Some(300), None]),
    ])
    .unwrap();
    assert_eq!(as_numbers(&parents), [Some(DOCUMENTED), None, None, None, None]);
}

#[test]
fn a_disk_has_a_cell_and_its_six_neighbours_and_is_bounded() {
    let disk = grid_disk(&[numbers(&[Some(DOCUMENTED)]), numbers(&[Some(1)])]).unwrap();
    assert_eq!(disk.as_list::<i32>().value(0).len(), 7);
    let wide = grid_disk(&[numbers(&[Some(DOCUMENTED)]), numbers(&[Some(DISK_K_MAX + 1)])]);
    assert!(wide.unwrap_err().to_string().contains("at most 50"));
}

proptest! {
    #[test]
    fn bit_arithmetic_agrees_with_the_library(
        lat in -89.0_f64..89.0, lon in -179.0_f64..179.0, fine in 0_u8..=15, coarse in 0_u8..=15,
    ) {
        let place = LatLng::new(lat, lon).unwrap();
        let child = place.to_cell(Resolution::try_from(fine).unwrap());
        let expected = child.parent(Resolution::try_from(coarse).unwrap()).map(number);
        prop_assert_eq!(parent(number(child), coarse), expected);
        let spelt: CellIndex = text(number(child)).parse().unwrap();
        prop_assert_eq!(spelt, child);
    }
}
