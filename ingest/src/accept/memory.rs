//! What is remembered of devices between requests.
//!
//! In:    the keys of fixes that are durable, the state of a device.
//! Out:   whether a fix was seen lately; the last cell; how fast a device is allowed to go on.
//! Keeps: two generations of keys and of devices, each of a fixed size: the older generation is
//!        dropped when the newer one is full. After a restart it knows nothing, and the flow and
//!        the archive still know every repeat.
//! Never: knows a fix as seen before it is durable: a retry of one that was lost must get in.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use inzira_schemas::cell::NearCell;
use inzira_schemas::{DeviceId, Micros};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

use super::Checked;
use super::clock_ahead::ClockAhead;

const SHARDS: usize = 16;

/// How fast a device that empties a backlog is let on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Fixes at once before any delay.
    pub burst_fixes: f64,
    /// Fixes a second after that.
    pub fixes_per_s: f64,
    /// The longest that an answer is delayed. Never refused.
    pub delay_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { burst_fixes: 20_000.0, fixes_per_s: 5_000.0, delay_max: Duration::from_secs(2) }
    }
}

/// What a device carries from one request to the next.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeviceState {
    /// The last cell.
    pub near: NearCell,
    /// Its clock.
    pub clock: ClockAhead,
    /// When it was last heard of, heartbeats included.
    pub last_seen: Micros,
    bucket: Option<Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    fixes: f64,
    at: Micros,
}

/// The two ways in which a fix is the same as another of its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixKeys {
    seq: Option<u128>,
    place: Option<u128>,
}

impl FixKeys {
    /// The keys of a fix. One that was stamped on arrival has no time of its own to be known by.
    pub fn of(device_id: &DeviceId, fix: &Checked) -> Self {
        let device = device_id.as_str().as_bytes();
        let (lat, lon) = super::stamp::rounded(fix.point);
        let place = |own_time: Micros| key(device, 1, [own_time.0, lat, lon]);
        Self {
            seq: fix.seq.map(|seq| key(device, 0, [seq.cast_signed(), 0, 0])),
            place: fix.own_time.map(place),
        }
    }

    fn each(self) -> impl Iterator<Item = u128> {
        self.seq.into_iter().chain(self.place)
    }
}

/// 128 bits of a device, a kind and three numbers.
fn key(device: &[u8], kind: u64, numbers: [i64; 3]) -> u128 {
    let mut bytes = [0_u8; 24];
    for (eight, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        eight.copy_from_slice(&number.to_le_bytes());
    }
    xxh3_128_with_seed(&bytes, xxh3_64_with_seed(device, kind))
}

/// The memory of one process.
#[derive(Debug)]
pub struct Memory {
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug)]
struct Shard {
    seen: Generations<u128, ()>,
    devices: Generations<DeviceId, DeviceState>,
}

impl Memory {
    /// Remembers about so many fixes and devices.
    pub fn new(fixes: usize, devices: usize) -> Self {
        // Two keys a fix, two generations.
        let shard = || Shard {
            seen: Generations::new(fixes / SHARDS),
            devices: Generations::new(devices / SHARDS / 2),
        };
        Self { shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect() }
    }

    /// The state of a device; a fresh one when it is not known.
    pub fn state(&self, device_id: &DeviceId) -> DeviceState {
        self.shard(device_id).devices.get(device_id).copied().unwrap_or_default()
    }

    /// Which of the fixes were seen, in an earlier request or earlier in this one.
    pub fn repeats(&self, device_id: &DeviceId, fixes: &[FixKeys]) -> Vec<bool> {
        let mut here: HashSet<u128, RandomState> = HashSet::default();
        let shard = self.shard(device_id);
        let mut seen = Vec::with_capacity(fixes.len());
        for keys in fixes {
            let before = keys.each().any(|key| shard.seen.get(&key).is_some());
            let earlier_here = fixes.len() > 1 && keys.each().any(|key| here.contains(&key));
            if fixes.len() > 1 && !before && !earlier_here {
                here.extend(keys.each());
            }
            seen.push(before || earlier_here);
        }
        seen
    }

    /// Takes note of fixes that are durable now, and of the device's cell and clock.
    pub fn remember(&self, device_id: &DeviceId, fixes: &[FixKeys], state: DeviceState) {
        let mut shard = self.shard(device_id);
        for key in fixes.iter().copied().flat_map(FixKeys::each) {
            shard.seen.put(key, ());
        }
        let known = shard.devices.entry(device_id);
        *known = DeviceState { bucket: known.bucket, ..state };
    }

    /// How long to hold the answer to a device that has just sent `fixes`.
    pub fn delay(&self, device_id: &DeviceId, fixes: usize, now: Micros, pace: Pace) -> Duration {
        let mut shard = self.shard(device_id);
        let state = shard.devices.entry(device_id);
        let full = Bucket { fixes: pace.burst_fixes, at: now };
        let bucket = state.bucket.get_or_insert(full);
        let gained = now.seconds_since(bucket.at).max(0.0) * pace.fixes_per_s;
        // The debt is bounded too: after the longest delay the device starts even.
        let least = -pace.fixes_per_s * pace.delay_max.as_secs_f64();
        bucket.fixes = (bucket.fixes + gained).min(pace.burst_fixes) - fixes as f64;
        bucket.fixes = bucket.fixes.max(least);
        bucket.at = now;
        let owed_s = (-bucket.fixes).max(0.0) / pace.fixes_per_s;
        Duration::try_from_secs_f64(owed_s).unwrap_or(pace.delay_max).min(pace.delay_max)
    }

    fn shard(&self, device_id: &DeviceId) -> MutexGuard<'_, Shard> {
        let hash = xxh3_64(device_id.as_str().as_bytes()) as usize;
        // Plain maps: a panic elsewhere cannot have left them half written.
        self.shards[hash % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A map that forgets its older half when the newer one is full.
#[derive(Debug)]
struct Generations<K, V> {
    newer: HashMap<K, V, RandomState>,
    older: HashMap<K, V, RandomState>,
    size: usize,
}

impl<K: Hash + Eq + Clone, V: Default + Copy> Generations<K, V> {
    fn new(size: usize) -> Self {
        Self { newer: HashMap::default(), older: HashMap::default(), size: size.max(1) }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.newer.get(key).or_else(|| self.older.get(key))
    }

    fn put(&mut self, key: K, value: V) {
        if self.newer.len() >= self.size && !self.newer.contains_key(&key) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, value);
    }

    fn entry(&mut self, key: &K) -> &mut V {
        if !self.newer.contains_key(key) {
            let value = self.older.get(key).copied().unwrap_or_default();
            self.put(key.clone(), value);
        }
        self.newer.entry(key.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;
    use super::*;

    fn keys(device: &DeviceId, seq: Option<u64>, at_s: i64) -> FixKeys {
        let mut fix = checked();
        fix.seq = seq;
        fix.own_time = Some(Micros::from_secs(at_s));
        FixKeys::of(device, &fix)
    }

    #[test]
    fn a_fix_is_a_repeat_by_its_count_or_by_time_and_place() {
        let (memory, device) = (Memory::new(1_000, 100), DeviceId::new());
        let first = keys(&device, Some(1), 100);
        assert_eq!(memory.repeats(&device, &[first]), [false]);
        // Not remembered yet: it is not durable.
        assert_eq!(memory.repeats(&device, &[first]), [false]);
        memory.remember(&device, &[first], DeviceState::default());
        let same_count = keys(&device, Some(1), 200);
        let same_place = keys(&device, Some(9), 100);
        let other = keys(&device, Some(2), 300);
        assert_eq!(
            memory.repeats(&device, &[same_count, same_place, other, other]),
            [true, true, false, true],
        );
        let elsewhere = DeviceId::new();
        assert_eq!(memory.repeats(&elsewhere, &[keys(&elsewhere, Some(1), 100)]), [false]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (memory, device) = (Memory::new(160, 32), DeviceId::new());
        for seq in 0..10_000 {
            memory.remember(&device, &[keys(&device, Some(seq), 1)], DeviceState::default());
        }
        let held: usize = memory
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap())
            .map(|shard| shard.seen.newer.len() + shard.seen.older.len())
            .sum();
        assert!(held <= 20, "{held}");
        assert_eq!(memory.repeats(&device, &[keys(&device, Some(9_999), 2)]), [true]);
    }

    #[test]
    fn a_long_backlog_is_delayed_and_never_by_more_than_the_bound() {
        let (memory, device) = (Memory::new(10, 10), DeviceId::new());
        let pace =
            Pace { burst_fixes: 1_000.0, fixes_per_s: 500.0, delay_max: Duration::from_secs(2) };
        let at = Micros::from_secs;
        assert_eq!(memory.delay(&device, 1_000, at(0), pace), Duration::ZERO);
        assert_eq!(memory.delay(&device, 500, at(0), pace), Duration::from_secs(1));
        assert_eq!(memory.delay(&device, 20_000, at(0), pace), Duration::from_secs(2));
        assert_eq!(memory.delay(&device, 1, at(60), pace), Duration::ZERO);
    }
}
