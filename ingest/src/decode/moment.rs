//! Times as devices write them: seconds, milliseconds, microseconds or ISO text.
//!
//! In:    a number or a text.
//! Out:   an instant, by size and shape.
//! Never: guesses between two readings: a number's unit follows from its size alone, and a text
//!        without an offset is UTC.

use chrono::NaiveDateTime;
use inzira_schemas::Micros;

use super::DeviceTime;

/// Moments before 2000 come from unset clocks, not from phones.
const OLDEST: Micros = Micros::from_secs(946_684_800);

/// A time and the way it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// The time.
    pub time: DeviceTime,
    /// Written as a number of milliseconds, as the OsmAnd app does.
    pub in_millis: bool,
}

impl Moment {
    /// Something that is no time.
    pub const UNREADABLE: Moment = Moment { time: DeviceTime::Unreadable, in_millis: false };

    /// From a number: seconds below 1e11, milliseconds below 1e14, microseconds below 1e17.
    pub fn from_number(number: f64) -> Self {
        if !number.is_finite() || number >= 1e17 {
            return Self::UNREADABLE;
        }
        let (micros, in_millis) = match number {
            n if n < 1e11 => (n * 1e6, false),
            n if n < 1e14 => (n * 1e3, true),
            n => (n, false),
        };
        // Below 1e17 and finite: the conversion is exact to the microsecond's rounding.
        Self { time: plausible(Micros(micros.round() as i64)), in_millis }
    }

    /// From a whole number, without the rounding of a double.
    pub fn from_whole(number: i64) -> Self {
        let (micros, in_millis) = match number {
            n if n < 100_000_000_000 => (n.saturating_mul(1_000_000), false),
            n if n < 100_000_000_000_000 => (n.saturating_mul(1_000), true),
            n if n < 100_000_000_000_000_000 => (n, false),
            _ => return Self::UNREADABLE,
        };
        Self { time: plausible(Micros(micros)), in_millis }
    }

    /// From text: a number, RFC 3339, or `YYYY-MM-DD HH:MM:SS` in UTC.
    pub fn from_text(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::default();
        }
        if let Ok(whole) = text.parse::<i64>() {
            return Self::from_whole(whole);
        }
        if let Some(micros) = plain_rfc3339(text.as_bytes()).or_else(|| other_text(text)) {
            return Self { time: plausible(micros), in_millis: false };
        }
        match text.parse::<f64>() {
            Ok(number) => Self::from_number(number),
            Err(_) => Self::UNREADABLE,
        }
    }

    /// The first of the two that says anything.
    pub fn or(self, other: Moment) -> Moment {
        if self.time == DeviceTime::Absent { other } else { self }
    }
}

fn plausible(micros: Micros) -> DeviceTime {
    if micros < OLDEST { DeviceTime::Absent } else { DeviceTime::At(micros) }
}

/// RFC 3339 as nearly everybody writes it; ten times as fast as the general reader.
fn plain_rfc3339(text: &[u8]) -> Option<Micros> {
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[10] != b'T' {
        return None;
    }
    if text[13] != b':' || text[16] != b':' {
        return None;
    }
    let year = digits(&text[0..4])?;
    let (month, day) = (digits(&text[5..7])?, digits(&text[8..10])?);
    let (hour, minute, second) =
        (digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let (micros, rest) = fraction(&text[19..])?;
    let offset_s = offset_s(rest)?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Micros((seconds - offset_s) * 1_000_000 + micros))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0_i64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

/// The microseconds of a fraction, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let kept = length.min(6);
    let scale = 10_i64.pow(u32::try_from(6 - kept).ok()?);
    Some((digits(&rest[..kept])? * scale, &rest[length..]))
}

/// `Z`, or `+HH:MM`. A space stands for a plus that a query's decoding took.
fn offset_s(text: &[u8]) -> Option<i64> {
    match text {
        [b'Z' | b'z'] => Some(0),
        [sign, a, b, b':', c, d] => {
            let (hours, minutes) = (digits(&[*a, *b])?, digits(&[*c, *d])?);
            let seconds = hours * 3_600 + minutes * 60;
            match sign {
                b'+' | b' ' if hours < 24 && minutes < 60 => Some(seconds),
                b'-' if hours < 24 && minutes < 60 => Some(-seconds),
                _ => None,
            }
        }
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The rarer writings: leap seconds, no seconds, a space for the `T`, no offset.
fn other_text(text: &str) -> Option<Micros> {
    if let Some(micros) = Micros::parse_rfc3339(text) {
        return Some(micros);
    }
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|naive| Micros(naive.and_utc().timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> DeviceTime {
        Moment::from_text(text).time
    }

    #[test]
    fn seconds_milliseconds_and_text_name_the_same_moment() {
        let same = DeviceTime::At(Micros(1_750_000_000_000_000));
        for text in [
            "1750000000",
            "1750000000.0",
            "1750000000000",
            "1750000000000000",
            "2025-06-15T15:06:40Z",
            "2025-06-15T15:06:40.000Z",
            "2025-06-15T17:06:40+02:00",
            "2025-06-15T17:06:40 02:00",
            "2025-06-15T15:06:40",
            "2025-06-15 15:06:40",
        ] {
            assert_eq!(at(text), same, "{text}");
        }
        assert_eq!(
            at("2025-06-15T15:06:40.123456789Z"),
            DeviceTime::At(Micros(1_750_000_000_123_456))
        );
    }

    #[test]
    fn what_is_no_time_is_said_to_be_none() {
        for text in ["yesterday", "2025-13-01T00:00:00Z", "1e300", "NaN", "2025-02-29T00:00:00Z"] {
            assert_eq!(at(text), DeviceTime::Unreadable, "{text}");
        }
        for text in ["", "0", "-5", "1970-01-01T00:00:00Z"] {
            assert_eq!(at(text), DeviceTime::Absent, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_fast_reader_agrees_with_the_general_one(
            seconds in 0_i64..4_000_000_000, micros in 0_i64..1_000_000, hours in -12_i32..14,
        ) {
            let instant = Micros(seconds * 1_000_000 + micros);
            let text = instant.to_rfc3339();
            prop_assert_eq!(plain_rfc3339(text.as_bytes()), Some(instant));
            let zone = chrono::FixedOffset::east_opt(hours * 3600).unwrap();
            let there = chrono::DateTime::from_timestamp_micros(instant.0).unwrap()
                .with_timezone(&zone).to_rfc3339();
            prop_assert_eq!(plain_rfc3339(there.as_bytes()), Some(instant));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = Moment::from_text(&text);
        }

        #[test]
        fn no_number_panics(number in proptest::num::f64::ANY, whole in any::<i64>()) {
            let _ = (Moment::from_number(number), Moment::from_whole(whole));
        }
    }
}
