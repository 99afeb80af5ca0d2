//! Every kind of file in the data folder is read, and small ones of each kind by content.

use std::path::{Path, PathBuf};

use super::*;

fn parsed(text: &str) -> Traces {
    parse(text, "file", false).expect("a trace")
}

#[test]
fn cabspotting_comes_newest_first_and_is_turned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new_abboip.txt");
    std::fs::write(&path, "37.75 -122.39 0 1211033674\n37.76 -122.38 1 1211033530\n").unwrap();
    let traces = read_file(&path).unwrap();
    assert_eq!(traces.tracks[0].vehicle, "abboip");
    let times: Vec<i64> = traces.tracks[0].points.iter().map(|p| p.measured_at.0).collect();
    assert_eq!(times, [1_211_033_530_000_000, 1_211_033_674_000_000]);
}

#[test]
fn a_gpslogger_file_may_open_with_its_row_count() {
    let traces = parsed(
        "1\ntime,lat,lon,elevation,accuracy,bearing,speed,battery\n\
         2017-08-13T08:52:26.000Z,60.385390,5.217217,61.9,7.0,219.93,0.94,100.0\n",
    );
    let point = traces.tracks[0].points[0];
    assert_eq!(point.accuracy_m, Some(7.0));
    assert_eq!(point.bearing_deg, Some(219.93));
    assert_eq!(point.measured_at, Micros::parse_rfc3339("2017-08-13T08:52:26Z").unwrap());
}

#[test]
fn gps_week_and_seconds_become_utc() {
    let traces = parsed("boot_t_s,gps_week,gps_tow_s,lat,lon\n1,2012,404106.0,37.7,-122.4\n");
    assert_eq!(traces.tracks[0].points[0].measured_at.to_rfc3339(), "2018-08-02T16:14:48.000000Z");
}

#[test]
fn barefoot_points_carry_a_zone_without_a_colon() {
    let traces = parsed(
        r#"[{"point":"POINT(11.56 48.16)","time":"2014-09-10 06:54:07+0200","id":"\\x0001"}]"#,
    );
    assert_eq!(traces.tracks[0].vehicle, "x0001");
    assert_eq!(traces.tracks[0].points[0].measured_at.to_rfc3339(), "2014-09-10T04:54:07.000000Z");
}

#[test]
fn a_gpx_point_without_time_is_skipped_and_counted() {
    let traces = parsed(
        r#"<gpx><trk><trkseg><trkpt lat="52.6" lon="-8.6"><ele>19.5</ele><time>2019-02-18T07:45:50Z</time></trkpt>
           <trkpt lat="52.7" lon="-8.6"><ele>1</ele></trkpt></trkseg></trk></gpx>"#,
    );
    assert_eq!((traces.len(), traces.skipped), (1, 1));
    assert_eq!(traces.tracks[0].points[0].altitude_m, Some(19.5));
}

#[test]
fn our_own_fixes_are_read_a_line_each() {
    let traces = parsed(
        "{\"driver_id\":\"a\",\"measured_at\":1750000000123,\"lat\":-1.9,\"lon\":30.1}\n{\"x\":1}\n",
    );
    assert_eq!((traces.len(), traces.skipped), (1, 1));
    assert_eq!(traces.tracks[0].points[0].measured_at, Micros(1_750_000_000_123_000));
}

#[test]
fn a_text_that_is_no_trace_is_refused() {
    assert!(parse("hello\nworld\n", "file", false).is_none());
    assert!(parse("<html></html>", "file", false).is_none());
    assert!(parse("{}", "file", false).is_none());
}

#[test]
fn a_truth_is_read_beside_what_was_measured_and_from_earth_centred_points() {
    let both = "t_s,robust_lat,robust_lon,truth_lat,truth_lon\n0,52.1,13.1,52.2,13.2\n2,52.1,13.1,52.4,13.2\n";
    let measured = parse(both, "file", false).expect("a trace").tracks.remove(0);
    let truth = parse(both, "file", true).expect("a truth").tracks.remove(0);
    assert_eq!((measured.points[0].lat, truth.points[0].lat), (52.1, 52.2));
    let between = truth.place_at(Micros(1_000_000)).expect("within the span");
    assert!((between.lat - 52.3).abs() < 1e-9, "{between:?}");
    assert_eq!(truth.place_at(Micros(2_000_001)), None);
    let drive = parsed("point3 0 3784144.3458305 901246.343042 5037714.1561524 0 0 0\n");
    let point = drive.tracks[0].points[0];
    assert!((point.lat - 52.5117).abs() < 1e-4 && (point.lon - 13.3962).abs() < 1e-4, "{point:?}");
}

/// The data folder beside the project; `None` (with a message) where it is absent.
fn data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no trace data at {}", folder.display());
    None
}

#[test]
fn every_real_trace_is_read_whole() {
    let Some(data) = data() else { return };
    for (file, vehicles, points) in [
        ("sf_cabspotting", 8, 157_228),
        ("bus_304_limerick/304_to_UL_2019-02-18_0745.gpx", 1, 2_144),
        ("comma2k19_segment/live_gnss_ublox.csv", 1, 579),
        ("comma2k19_segment/live_gnss_qcom.csv", 1, 30),
        ("smartloc_berlin/derived_fixes_with_truth.csv", 1, 1_372),
        ("gpslogger_phone_bergen/medium.csv", 1, 197),
        ("munich_vehicle_barefoot/x0001-001.json", 1, 1_194),
        ("geolife/trackintel/geolife/000/Trajectory/20081024020959.plt", 1, 0),
        ("porto_taxi", 0, 8_733),
    ] {
        let traces = read_all(&[data.join(file)]).unwrap();
        assert!(
            vehicles == 0 || traces.tracks.len() == vehicles,
            "{file}: {}",
            traces.tracks.len()
        );
        assert!(points == 0 || traces.len() == points, "{file}: {} points", traces.len());
        assert_eq!(traces.skipped, 0, "{file}");
    }
}
