//! Knows a fix that a device has sent before.
//!
//! In:    fixes of one driver's devices.
//! Out:   true once per fix: a repeat has the same device and `seq`, or the same event id, which
//!        ingest makes of the device, its own time and the place.
//! Keeps: the intervals of `seq` seen, and a 64-bit key of every event id, for 72 hours since
//!        arrival (at most 65,536 keys and 4,096 intervals a device; the oldest go first).
//! Never: reads a clock; forgets in the middle.

use inzira_schemas::Micros;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::fix::FixView;

/// How long a fix is remembered after it arrived, seconds.
pub const REMEMBER_S: i64 = 72 * 3_600;
const BUCKET_S: i64 = 6 * 3_600;
const KEYS_MAX: usize = 65_536;
const INTERVALS_MAX: usize = 4_096;
/// An unsorted tail longer than this is sorted before it is searched.
const TAIL_MAX: usize = 32;

/// What one device has sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Device, as 64 bits: a driver has few, so they never meet.
    device: u64,
    /// The interval that the last number went to, when it is the highest one.
    top: Option<(u64, u64, Micros)>,
    /// The others: sorted, apart, both ends included; with the time of the last touch.
    intervals: Vec<(u64, u64, Micros)>,
    current: Bucket,
    older: Vec<Bucket>,
    /// The newest time seen: anything newer cannot be a repeat of a fix with a true clock.
    newest: Micros,
    /// A time was clamped to its arrival: the same fix may come again with another one.
    clock_fast: bool,
}

/// Keys that arrived within six hours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Bucket {
    began_at: Micros,
    sorted: u32,
    keys: Vec<u64>,
}

/// What all devices of one driver have sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    /// Nearly every driver has one phone: it lies with the driver's other state.
    first: Option<Seen>,
    more: Vec<Seen>,
}

impl Repeats {
    /// True for a fix that is new; it is remembered from now on.
    pub fn admit(&mut self, fix: &FixView<'_>, now: Micros) -> bool {
        let device = xxh3_64(fix.device.as_bytes());
        let seen = match &mut self.first {
            None => self.first.insert(Seen { device, ..Seen::default() }),
            Some(first) if first.device == device => first,
            Some(_) => match self.more.iter().position(|seen| seen.device == device) {
                Some(index) => &mut self.more[index],
                None => {
                    self.more.push(Seen { device, ..Seen::default() });
                    let last = self.more.len() - 1;
                    &mut self.more[last]
                }
            },
        };
        seen.admit(fix, now)
    }

    /// Forgets what arrived more than 72 hours ago.
    pub fn forget(&mut self, now: Micros) {
        let oldest = now.plus_secs(-REMEMBER_S);
        for seen in self.first.iter_mut().chain(&mut self.more) {
            seen.forget(oldest);
        }
        self.more.retain(|seen| !seen.is_empty());
        if self.first.as_ref().is_some_and(Seen::is_empty) {
            self.first = self.more.pop();
        }
    }

    /// Reads what the next fix will need, so that the processor has it at hand by then.
    pub fn touch(&self) -> u64 {
        self.first
            .as_ref()
            .map_or(0, |seen| seen.current.keys.last().copied().unwrap_or(seen.device))
    }
}

impl Seen {
    fn admit(&mut self, fix: &FixView<'_>, now: Micros) -> bool {
        if let Some(seq) = fix.seq
            && self.has_seq(seq)
        {
            return false;
        }
        self.clock_fast |= fix.clock_fast;
        let (key, measured_at) = (key_of(fix), fix.raw.measured_at);
        if (measured_at <= self.newest || self.clock_fast)
            && (self.current.has(key) || self.older.iter_mut().any(|bucket| bucket.has(key)))
        {
            return false;
        }
        if let Some(seq) = fix.seq {
            self.add_seq(seq, now);
        }
        self.newest = self.newest.max(measured_at);
        self.add_key(key, now);
        true
    }

    fn is_empty(&self) -> bool {
        self.current.keys.is_empty()
            && self.older.is_empty()
            && self.intervals.is_empty()
            && self.top.is_none()
    }

    fn forget(&mut self, oldest: Micros) {
        let is_old = |bucket: &Bucket| bucket.began_at.plus_secs(BUCKET_S) < oldest;
        self.older.retain(|bucket| !is_old(bucket));
        if is_old(&self.current) {
            self.current = Bucket::default();
        }
        self.intervals.retain(|(_, _, touched)| *touched >= oldest);
        self.top = self.top.filter(|(_, _, touched)| *touched >= oldest);
    }

    fn has_seq(&self, seq: u64) -> bool {
        if let Some((first, last, _)) = self.top {
            if seq > last {
                return false;
            }
            if seq >= first {
                return true;
            }
        }
        let after = self.intervals.partition_point(|(first, _, _)| *first <= seq);
        after > 0 && self.intervals[after - 1].1 >= seq
    }

    /// Takes a number in. Nearly always it follows the highest: then nothing else is looked at.
    fn add_seq(&mut self, seq: u64, now: Micros) {
        match self.top {
            Some((first, last, _)) if last.checked_add(1) == Some(seq) => {
                self.top = Some((first, seq, now));
            }
            Some((_, last, _)) if seq < last => {
                // It may join the top from below: put it back among the others for a moment.
                self.intervals.extend(self.top.take());
                self.insert_seq(seq, now);
                self.top = self.intervals.pop();
            }
            _ => {
                self.intervals.extend(self.top.take());
                self.top = Some((seq, seq, now));
            }
        }
        if self.intervals.len() > INTERVALS_MAX {
            let oldest = (0..self.intervals.len()).min_by_key(|&i| self.intervals[i].2);
            if let Some(oldest) = oldest {
                self.intervals.remove(oldest);
            }
        }
    }

    fn insert_seq(&mut self, seq: u64, now: Micros) {
        let after = self.intervals.partition_point(|(first, _, _)| *first <= seq);
        let joins_before = after > 0 && self.intervals[after - 1].1.checked_add(1) == Some(seq);
        let joins_after = self
            .intervals
            .get(after)
            .is_some_and(|(first, _, _)| seq.checked_add(1) == Some(*first));
        match (joins_before, joins_after) {
            (true, true) => {
                let (_, last, _) = self.intervals.remove(after);
                let before = &mut self.intervals[after - 1];
                (before.1, before.2) = (last, now);
            }
            (true, false) => {
                let before = &mut self.intervals[after - 1];
                (before.1, before.2) = (seq, now);
            }
            (false, true) => {
                let next = &mut self.intervals[after];
                (next.0, next.2) = (seq, now);
            }
            (false, false) => self.intervals.insert(after, (seq, seq, now)),
        }
    }

    fn add_key(&mut self, key: u64, now: Micros) {
        let full = self.current.keys.len() >= KEYS_MAX / 4
            || now.seconds_since(self.current.began_at) >= BUCKET_S as f64;
        if full {
            let fresh = Bucket { began_at: now, ..Bucket::default() };
            let filled = std::mem::replace(&mut self.current, fresh);
            if !filled.keys.is_empty() {
                self.older.push(filled);
            }
        }
        self.current.keys.push(key);
        let kept: usize = self.older.iter().map(|bucket| bucket.keys.len()).sum();
        if kept + self.current.keys.len() > KEYS_MAX && !self.older.is_empty() {
            self.older.remove(0);
        }
    }
}

impl Bucket {
    fn has(&mut self, key: u64) -> bool {
        let sorted = (self.sorted as usize).min(self.keys.len());
        if self.keys.len() - sorted > TAIL_MAX {
            self.keys.sort_unstable();
            self.sorted = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
            return self.keys.binary_search(&key).is_ok();
        }
        self.keys[..sorted].binary_search(&key).is_ok() || self.keys[sorted..].contains(&key)
    }
}

/// The event id as 64 bits; time and place (to 1e-7 of a degree) where there is none.
fn key_of(fix: &FixView<'_>) -> u64 {
    if !fix.event_id.is_empty() {
        return xxh3_64(fix.event_id.as_bytes());
    }
    let raw = &fix.raw;
    let mut bytes = [0_u8; 24];
    bytes[..8].copy_from_slice(&raw.measured_at.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&((raw.lat * 1e7).round() as i64).to_le_bytes());
    bytes[16..].copy_from_slice(&((raw.lon * 1e7).round() as i64).to_le_bytes());
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::super::smooth::RawFix;
    use super::*;
    use proptest::prelude::*;

    fn fix(device: &str, seq: Option<u64>, at_s: i64, lat: f64) -> FixView<'_> {
        let raw = RawFix {
            measured_at: Micros::from_secs(at_s),
            lat,
            lon: 30.0,
            accuracy_m: None,
            speed_mps: None,
            bearing_deg: None,
        };
        FixView { event_id: "", driver: "d", device, seq, received_at: NOW, clock_fast: false, raw }
    }

    const NOW: Micros = Micros::from_secs(1_000_000);

    #[test]
    fn a_fix_sent_twice_counts_once() {
        let mut seen = Repeats::default();
        assert!(seen.admit(&fix("a", None, 1, -1.0), NOW));
        assert!(seen.admit(&fix("a", None, 2, -1.0), NOW));
        assert!(!seen.admit(&fix("a", None, 1, -1.0), NOW));
        assert!(seen.admit(&fix("a", None, 1, -1.1), NOW), "another place is another fix");
        assert!(seen.admit(&fix("b", None, 1, -1.0), NOW), "another phone is another fix");
    }

    #[test]
    fn the_same_number_is_a_repeat_whatever_it_carries() {
        let mut seen = Repeats::default();
        assert!(seen.admit(&fix("a", Some(5), 1, -1.0), NOW));
        assert!(!seen.admit(&fix("a", Some(5), 9, -1.2), NOW));
        assert!(!seen.admit(&fix("a", Some(6), 1, -1.0), NOW), "same time and place");
    }

    #[test]
    fn a_phone_whose_clock_runs_fast_is_known_by_the_event_id() {
        let mut seen = Repeats::default();
        let clamped_at =
            |at_s| FixView { event_id: "evt_1", clock_fast: true, ..fix("a", None, at_s, -1.0) };
        assert!(seen.admit(&clamped_at(100), NOW));
        assert!(!seen.admit(&clamped_at(160), NOW), "sent again, clamped to another arrival");
        let true_by_now = FixView { event_id: "evt_1", ..fix("a", None, 400, -1.0) };
        assert!(!seen.admit(&true_by_now, NOW), "sent again when its own time was past");
        let other = FixView { event_id: "evt_2", ..fix("a", None, 400, -1.0) };
        assert!(seen.admit(&other, NOW));
    }

    #[test]
    fn a_whole_file_sent_again_adds_nothing() {
        let mut seen = Repeats::default();
        for at_s in 0..5_000 {
            assert!(seen.admit(&fix("a", None, at_s + 1, -1.0), NOW));
        }
        for at_s in 0..5_000 {
            assert!(!seen.admit(&fix("a", None, at_s + 1, -1.0), NOW));
        }
    }

    #[test]
    fn three_days_later_nothing_is_kept() {
        let mut seen = Repeats::default();
        seen.admit(&fix("a", Some(1), 1, -1.0), NOW);
        seen.forget(NOW.plus_secs(REMEMBER_S + BUCKET_S + 1));
        assert_eq!(seen, Repeats::default());
    }

    proptest! {
        #[test]
        fn numbers_in_any_order_count_once(seqs in proptest::collection::vec(0_u64..60, 1..200)) {
            let mut seen = Seen::default();
            let mut model = std::collections::BTreeSet::new();
            for (index, seq) in seqs.into_iter().enumerate() {
                let new = seen.admit(&fix("a", Some(seq), index as i64 + 1, -1.0), NOW);
                prop_assert_eq!(new, model.insert(seq));
            }
            seen.intervals.extend(seen.top);
            for pair in seen.intervals.windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0);
            }
        }
    }
}
