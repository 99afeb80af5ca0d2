//! The rules for odd fixes, one by one.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const NOW: Micros = Micros(1_750_000_000_000_000);
const TIMING: Timing = Timing { received_at: NOW, stamps_arrival: false, ahead_us: 0 };

fn raw() -> RawFix {
    RawFix {
        measured_at: DeviceTime::At(NOW.plus_secs(-1)),
        lat: -1.9441,
        lon: 30.0619,
        accuracy_m: Some(5.0),
        speed_mps: Some(10.0),
        bearing_deg: Some(90.0),
        ..RawFix::default()
    }
}

pub(super) fn checked() -> Checked {
    judge(&raw(), TIMING).unwrap()
}

fn measured(time: DeviceTime) -> RawFix {
    RawFix { measured_at: time, ..raw() }
}

#[test]
fn odd_fixes_are_set_aside_each_with_its_reason() {
    let cases = [
        (RawFix { mock: true, ..raw() }, Reason::Mock),
        (RawFix { declared_invalid: true, ..raw() }, Reason::Invalid),
        (RawFix { lat: 0.0, lon: 0.0, ..raw() }, Reason::NullIsland),
        (RawFix { lat: 90.1, ..raw() }, Reason::OutOfRange),
        (RawFix { lon: -180.5, ..raw() }, Reason::OutOfRange),
        (RawFix { lat: f64::NAN, ..raw() }, Reason::OutOfRange),
        (RawFix { lon: f64::INFINITY, ..raw() }, Reason::OutOfRange),
        (RawFix { accuracy_m: Some(1_000.1), ..raw() }, Reason::Inaccurate),
        (measured(DeviceTime::At(NOW.plus_secs(24 * 3_600 + 1))), Reason::Future),
        (measured(DeviceTime::Absent), Reason::NoTime),
        (measured(DeviceTime::Unreadable), Reason::BadTime),
    ];
    for (raw, reason) in cases {
        assert_eq!(judge(&raw, TIMING), Err(reason), "{raw:?}");
    }
}

#[test]
fn a_fix_may_be_as_old_as_it_likes() {
    let years_ago = NOW.plus_secs(-10 * 365 * 24 * 3_600);
    let fix = judge(&measured(DeviceTime::At(years_ago)), TIMING).unwrap();
    assert_eq!((fix.measured_at, fix.time_source), (years_ago, TimeSource::Device));
}

#[test]
fn a_fast_clock_is_set_back_to_arrival_and_its_own_time_kept() {
    let ahead = NOW.plus_secs(3_600);
    let fix = judge(&measured(DeviceTime::At(ahead)), TIMING).unwrap();
    assert_eq!((fix.measured_at, fix.time_source), (NOW, TimeSource::Clamped));
    assert_eq!(fix.own_time, Some(ahead));
    let learned = Timing { ahead_us: 3_660_000_000, ..TIMING };
    let fix = judge(&measured(DeviceTime::At(ahead)), learned).unwrap();
    assert_eq!(fix.measured_at, NOW.plus_secs(-60));
    // Within a second of ours it is left alone.
    let near = DeviceTime::At(Micros(NOW.0 + 900_000));
    assert_eq!(judge(&measured(near), TIMING).unwrap().time_source, TimeSource::Device);
}

#[test]
fn no_time_at_all_is_stamped_where_phones_send_none() {
    let timing = Timing { stamps_arrival: true, ..TIMING };
    let fix = judge(&measured(DeviceTime::Absent), timing).unwrap();
    assert_eq!((fix.measured_at, fix.time_source), (NOW, TimeSource::Arrival));
    assert_eq!(fix.own_time, None);
}

#[test]
fn absent_and_impossible_values_become_null_and_the_fix_stays() {
    let odd = RawFix {
        accuracy_m: Some(0.0),
        speed_mps: Some(340.0),
        bearing_deg: Some(361.0),
        battery_pct: Some(101.0),
        altitude_m: Some(-5_000.0),
        ..raw()
    };
    let fix = judge(&odd, TIMING).unwrap();
    assert_eq!((fix.accuracy_m, fix.speed_mps, fix.bearing_deg), (None, None, None));
    assert_eq!((fix.battery_pct, fix.altitude_m), (None, None));
    let north = RawFix { bearing_deg: Some(360.0), speed_mps: Some(0.0), ..raw() };
    let fix = judge(&north, TIMING).unwrap();
    assert_eq!((fix.bearing_deg, fix.speed_mps), (Some(0.0), Some(0.0)));
}

proptest! {
    #[test]
    fn nothing_that_passes_is_out_of_range(
        lat in proptest::num::f64::ANY, lon in proptest::num::f64::ANY,
        values in proptest::array::uniform5(proptest::option::of(proptest::num::f64::ANY)),
        at in any::<i64>(), ahead_us in 0_i64..FUTURE_MAX_US,
    ) {
        let raw = RawFix {
            measured_at: DeviceTime::At(Micros(at)), lat, lon,
            accuracy_m: values[0], altitude_m: values[1], speed_mps: values[2],
            bearing_deg: values[3], battery_pct: values[4], ..RawFix::default()
        };
        if let Ok(fix) = judge(&raw, Timing { ahead_us, ..TIMING }) {
            let all = [fix.accuracy_m, fix.altitude_m, fix.speed_mps, fix.bearing_deg, fix.battery_pct];
            prop_assert!(all.iter().flatten().all(|value| value.is_finite()));
            prop_assert!(fix.accuracy_m.is_none_or(|accuracy_m| accuracy_m > 0.0));
            prop_assert!(fix.measured_at.0 <= NOW.0 + CLOCK_TOLERANCE_US);
        }
    }
}
