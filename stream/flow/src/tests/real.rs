//! A real bus ride: the Limerick 304, logged by a phone.

use std::path::PathBuf;

use inzira_schemas::{Micros, Point, Topic, wire};

use super::{Hand, START, fix, late, order};

/// `(seconds since the start, place)` of every point; `None` where the file is absent.
fn ride() -> Option<Vec<(i64, Point)>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/bus_304_limerick/304_to_UL_2019-02-18_0745.gpx");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return None;
    };
    let mut points: Vec<(i64, Point)> = Vec::new();
    let mut begin = None;
    for part in text.split("<trkpt ").skip(1) {
        let number = |name: &str| -> f64 {
            part.split(&format!("{name}=\""))
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        let time = part.split("<time>").nth(1).unwrap().split('<').next().unwrap();
        let at = Micros::parse_rfc3339(time).unwrap();
        let begin = *begin.get_or_insert(at);
        let point = Point { lat: number("lat"), lon: number("lon") };
        points.push((at.seconds_since(begin) as i64, point));
    }
    Some(points)
}

const BUS: &str = "drv_bus304";

fn watched(target: Point, state: &str, version: u32, at_s: i64) -> wire::OrderEvent {
    wire::OrderEvent {
        destination_lat: target.lat,
        destination_lon: target.lon,
        ..order(version, state, BUS, at_s)
    }
}

#[test]
fn the_bus_arrives_once_wherever_somebody_waits() {
    let Some(ride) = ride() else { return };
    for stop in (200..ride.len()).step_by(300) {
        let target = ride[stop].1;
        let mut hand = Hand::default();
        hand.order(&watched(target, "picked_up", 1, -1));
        for (at_s, point) in &ride {
            hand.fix(&fix(BUS, *at_s, *point));
        }
        let arriving: Vec<wire::TrackingEvent> = hand
            .events()
            .into_iter()
            .filter(|event| event.envelope.as_ref().unwrap().event_type == "ARRIVING")
            .collect();
        assert_eq!(arriving.len(), 1, "waiting at point {stop}");
        let first_inside =
            ride.iter().find(|(_, point)| point.distance_m(target) <= 400.0).unwrap().0;
        let told_s = Micros(arriving[0].at_us).seconds_since(START) as i64;
        assert!(
            (told_s - first_inside).abs() <= 20,
            "told at {told_s}, inside from {first_inside}"
        );
    }
}

#[test]
fn the_bus_that_was_offline_corrects_the_record_and_alerts_nobody() {
    let Some(ride) = ride() else { return };
    let target = ride[1_400].1;
    let mut hand = Hand::default();
    hand.order(&watched(target, "picked_up", 1, -1));
    hand.order(&watched(target, "delivered", 2, 4_500));
    for (at_s, point) in &ride {
        hand.fix(&late(fix(BUS, *at_s, *point), 20_000));
    }
    assert_eq!(hand.alerts(), ["OFFLINE", "ARRIVED_BACKFILL"]);
    assert_eq!(hand.of::<wire::Position>(Topic::Positions).len(), distinct(&ride));
}

#[test]
fn the_ride_of_the_bus_is_about_as_long_as_its_road() {
    let Some(ride) = ride() else { return };
    let mut hand = Hand::default();
    for (at_s, point) in &ride {
        hand.fix(&fix(BUS, *at_s, *point));
    }
    let last_s = ride.last().unwrap().0;
    hand.pass_until(last_s + 1_000);
    let trips: Vec<wire::Trip> = hand.of(Topic::Trips);
    let sum_m: f64 = trips.iter().map(|trip| trip.distance_m).sum();
    let raw_m: f64 = ride.windows(2).map(|pair| pair[0].1.distance_m(pair[1].1)).sum();
    println!("{} trips, {sum_m:.0} m of {raw_m:.0} m raw", trips.len());
    assert!(sum_m > 0.85 * raw_m && sum_m <= 1.02 * raw_m, "{sum_m} of {raw_m}");
}

fn distinct(ride: &[(i64, Point)]) -> usize {
    let mut keys: Vec<(i64, u64, u64)> =
        ride.iter().map(|(at_s, p)| (*at_s, p.lat.to_bits(), p.lon.to_bits())).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}
