//! Instants as integer microseconds, and the one way to ask for the time.
//!
//! In:    nothing, or a test's hand.
//! Out:   `Micros` since 1970 UTC.
//! Never: lets a rule read the wall clock: rules are handed `now`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// From whole seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// From milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Seconds from `earlier` to `self`; negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Micros) -> f64 {
        (self.0.saturating_sub(earlier.0)) as f64 / 1e6
    }

    /// `self` moved by a number of seconds.
    pub const fn plus_secs(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// RFC 3339 in UTC with microseconds, as people and programs outside see it.
    pub fn to_rfc3339(self) -> String {
        DateTime::<Utc>::from_timestamp_micros(self.0)
            .map(|instant| instant.to_rfc3339_opts(SecondsFormat::Micros, true))
            .unwrap_or_else(|| self.0.to_string())
    }

    /// Reads RFC 3339. `None` when the text is not one.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|instant| Self(instant.timestamp_micros()))
    }

    /// The UTC date as `YYYY-MM-DD`: the archive's partition.
    pub fn utc_date(self) -> String {
        DateTime::<Utc>::from_timestamp_micros(self.0)
            .map(|instant| instant.format("%Y-%m-%d").to_string())
            .unwrap_or_else(|| "1970-01-01".to_owned())
    }

    /// The date in Africa/Kigali (UTC+2 all year) as `YYYY-MM-DD`: days in every report.
    pub fn kigali_date(self) -> String {
        let kigali = FixedOffset::east_opt(2 * 3600);
        match (DateTime::<Utc>::from_timestamp_micros(self.0), kigali) {
            (Some(instant), Some(zone)) => {
                instant.with_timezone(&zone).format("%Y-%m-%d").to_string()
            }
            _ => "1970-01-01".to_owned(),
        }
    }
}

/// Where the time comes from. The binary hands in `SystemClock`, tests a `HandClock`.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The present moment.
    fn now(&self) -> Micros;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that moves only when a test turns it.
#[derive(Debug)]
pub struct HandClock(AtomicI64);

impl HandClock {
    /// A clock that stands at `now`.
    pub fn at(now: Micros) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Turns the clock forward by `seconds` (back when negative).
    pub fn advance_secs(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_in_kigali_begins_two_hours_before_utc() {
        let instant = Micros::parse_rfc3339("2026-01-31T22:30:00Z").unwrap();
        assert_eq!(instant.utc_date(), "2026-01-31");
        assert_eq!(instant.kigali_date(), "2026-02-01");
    }

    #[test]
    fn rfc3339_comes_back_as_it_went() {
        let instant = Micros(1_750_000_000_123_456);
        assert_eq!(Micros::parse_rfc3339(&instant.to_rfc3339()), Some(instant));
    }
}
