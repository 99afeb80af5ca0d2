//! A sketch of Kigali's main roads: junctions and what joins them. Made up for play, not a map.
//!
//! In:    two places.
//! Out:   the shortest way between them along the sketch, a point each 25 m or so.
//! Never: claims to be a survey: the junctions are placed by eye.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use inzira_schemas::Point;

/// A junction: name, latitude, longitude.
const JUNCTIONS: &[(&str, f64, f64)] = &[
    ("Nyabugogo", -1.9398, 30.0447),
    ("Muhima", -1.9405, 30.0540),
    ("Downtown", -1.9448, 30.0606),
    ("Kimisagara", -1.9560, 30.0450),
    ("Nyamirambo", -1.9790, 30.0445),
    ("Rwampara", -1.9640, 30.0590),
    ("Kimihurura", -1.9560, 30.0800),
    ("Kacyiru", -1.9390, 30.0830),
    ("Gisozi", -1.9220, 30.0670),
    ("Gishushu", -1.9530, 30.1000),
    ("Nyarutarama", -1.9360, 30.1040),
    ("Kibagabaga", -1.9320, 30.1190),
    ("Remera", -1.9580, 30.1140),
    ("Kimironko", -1.9490, 30.1270),
    ("Airport", -1.9650, 30.1350),
    ("Kanombe", -1.9730, 30.1560),
    ("Sonatube", -1.9690, 30.1000),
    ("Gikondo", -1.9740, 30.0740),
    ("Kicukiro", -1.9840, 30.1040),
    ("Kagarama", -2.0010, 30.1080),
    ("Gahanga", -2.0330, 30.1100),
    ("Masaka", -1.9890, 30.1950),
];

/// What joins them, by place in `JUNCTIONS`.
const ROADS: &[(usize, usize)] = &[
    (0, 1),
    (1, 2),
    (0, 3),
    (3, 4),
    (4, 5),
    (2, 5),
    (2, 6),
    (2, 7),
    (1, 8),
    (7, 8),
    (6, 7),
    (6, 9),
    (7, 10),
    (9, 10),
    (10, 11),
    (9, 12),
    (11, 13),
    (12, 13),
    (12, 14),
    (14, 15),
    (13, 15),
    (9, 16),
    (12, 16),
    (16, 17),
    (5, 17),
    (6, 17),
    (16, 18),
    (18, 19),
    (19, 20),
    (15, 21),
];

/// Metres between two points of a way.
const STEP_M: f64 = 25.0;

/// The names of all junctions.
pub fn names() -> impl Iterator<Item = &'static str> {
    JUNCTIONS.iter().map(|(name, _, _)| *name)
}

/// How many junctions there are.
pub fn count() -> usize {
    JUNCTIONS.len()
}

/// Where a junction is. Wraps round, so that any number is one.
pub fn junction(index: usize) -> Point {
    let (_, lat, lon) = JUNCTIONS[index % JUNCTIONS.len()];
    Point { lat, lon }
}

/// The junction nearest to a place.
pub fn nearest(place: Point) -> usize {
    let distance_m = |index: &usize| junction(*index).distance_m(place);
    (0..JUNCTIONS.len()).min_by(|a, b| distance_m(a).total_cmp(&distance_m(b))).unwrap_or_default()
}

/// The way from one place to another: to the nearest junction, along roads, to the place.
pub fn way(from: Point, to: Point) -> Vec<Point> {
    let mut corners = vec![from];
    if from.distance_m(to) > 400.0 {
        corners.extend(junctions_between(nearest(from), nearest(to)).into_iter().map(junction));
    }
    corners.push(to);
    let mut points = vec![from];
    for pair in corners.windows(2) {
        bend(pair[0], pair[1], &mut points);
    }
    points
}

/// Shortest way over the roads (Dijkstra), both ends included.
fn junctions_between(from: usize, to: usize) -> Vec<usize> {
    let mut best_m: BTreeMap<usize, (u64, usize)> = BTreeMap::from([(from, (0, from))]);
    let mut open = BinaryHeap::from([Reverse((0_u64, from))]);
    while let Some(Reverse((so_far_m, at))) = open.pop() {
        if at == to {
            break;
        }
        for (a, b) in ROADS {
            let next = match (*a == at, *b == at) {
                (true, _) => *b,
                (_, true) => *a,
                _ => continue,
            };
            let length_m = so_far_m + junction(at).distance_m(junction(next)) as u64;
            if best_m.get(&next).is_none_or(|(known_m, _)| length_m < *known_m) {
                best_m.insert(next, (length_m, at));
                open.push(Reverse((length_m, next)));
            }
        }
    }
    let mut way = vec![to];
    while let Some((_, before)) = way.last().and_then(|at| best_m.get(at)) {
        if Some(before) == way.last() {
            break;
        }
        way.push(*before);
    }
    way.reverse();
    way
}

/// Points from `a` (left out) to `b`, bent a little as hills bend roads.
fn bend(a: Point, b: Point, points: &mut Vec<Point>) {
    let length_m = a.distance_m(b);
    let steps = (length_m / STEP_M).ceil().max(1.0);
    let swing = (length_m / 12.0).min(120.0) / 111_195.0;
    let (d_lat, d_lon) = (b.lat - a.lat, b.lon - a.lon);
    let norm = d_lat.hypot(d_lon).max(1e-9);
    for step in 1..=steps as u32 {
        let t = f64::from(step) / steps;
        let side = swing * (t * std::f64::consts::TAU).sin();
        points.push(Point {
            lat: a.lat + d_lat * t - d_lon / norm * side,
            lon: a.lon + d_lon * t + d_lat / norm * side,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_junction_reaches_every_other_in_small_steps() {
        for from in 0..count() {
            for to in 0..count() {
                let way = way(junction(from), junction(to));
                assert_eq!(way.first(), Some(&junction(from)));
                assert!(way.last().unwrap().distance_m(junction(to)) < 1.0);
                let longest =
                    way.windows(2).map(|pair| pair[0].distance_m(pair[1])).fold(0.0, f64::max);
                assert!(longest < 60.0, "{from} to {to}: a step of {longest} m");
            }
        }
    }
}
