//! State by key, in 256 groups that are written down and moved as wholes.
//!
//! In:    keys.
//! Out:   their state; for a snapshot, each group as bytes, keys sorted.
//! Keeps: one map a group, only of the groups that this worker owns.
//! Never: lets a snapshot see a later epoch: a group that is waiting to be written is written
//!        before it changes, so the work is spread and nobody waits for the whole.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::rules::{KEY_GROUPS, Key, group_of};

/// Keys are hashes already.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

type Map<V> = HashMap<Key, V, BuildHasherDefault<AlreadyHashed>>;

/// One group's state, written down.
#[derive(Debug, Clone)]
pub struct GroupBytes {
    /// Which group.
    pub group: usize,
    /// How many keys.
    pub keys: usize,
    /// postcard of `Vec<(Key, V)>`, keys ascending.
    pub bytes: Bytes,
}

/// The bytes of a group are not what this version writes.
#[derive(Debug, thiserror::Error)]
#[error("key group {group} cannot be read: {why}")]
pub struct GroupError {
    /// Which.
    pub group: usize,
    /// Why.
    pub why: String,
}

/// State by key.
#[derive(Debug)]
pub struct KeyGroups<V> {
    maps: Vec<Map<V>>,
    waiting: Vec<bool>,
    next_waiting: usize,
    written: Vec<GroupBytes>,
    writing: bool,
}

impl<V> Default for KeyGroups<V> {
    fn default() -> Self {
        Self {
            maps: (0..KEY_GROUPS).map(|_| Map::default()).collect(),
            waiting: vec![false; KEY_GROUPS],
            next_waiting: KEY_GROUPS,
            written: Vec::new(),
            writing: false,
        }
    }
}

impl<V: Serialize + DeserializeOwned> KeyGroups<V> {
    /// The state of a key, made when there is none.
    pub fn entry(&mut self, key: Key, make: impl FnOnce() -> V) -> &mut V {
        let group = group_of(key);
        self.write_if_waiting(group);
        self.maps[group].entry(key).or_insert_with(make)
    }

    /// The state of a key, only to look at.
    pub fn get(&self, key: Key) -> Option<&V> {
        self.maps[group_of(key)].get(&key)
    }

    /// The state of a key.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut V> {
        let group = group_of(key);
        self.write_if_waiting(group);
        self.maps[group].get_mut(&key)
    }

    /// Keeps only what `keep` says, in one group.
    pub fn retain(&mut self, group: usize, mut keep: impl FnMut(&mut V) -> bool) {
        self.write_if_waiting(group);
        self.maps[group].retain(|_, state| keep(state));
    }

    /// Every key and state, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &V)> {
        self.maps.iter().flatten().map(|(key, state)| (*key, state))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.maps.iter().map(Map::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From now on every group is written down as it is at this moment.
    pub fn begin_snapshot(&mut self) {
        for (waiting, map) in self.waiting.iter_mut().zip(&self.maps) {
            *waiting = !map.is_empty();
        }
        self.next_waiting = 0;
        self.written.clear();
        self.writing = true;
    }

    /// Writes up to `groups` waiting groups; all of them come back once none is left.
    pub fn write_some(&mut self, mut groups: usize) -> Option<Vec<GroupBytes>> {
        if !self.writing {
            return None;
        }
        while self.next_waiting < KEY_GROUPS {
            if self.waiting[self.next_waiting] {
                if groups == 0 {
                    return None;
                }
                groups -= 1;
                self.write_if_waiting(self.next_waiting);
            }
            self.next_waiting += 1;
        }
        self.writing = false;
        Some(std::mem::take(&mut self.written))
    }

    /// Whether groups are still waiting to be written.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// Takes a group's state back from its bytes.
    pub fn load(&mut self, group: usize, bytes: &[u8]) -> Result<(), GroupError> {
        let states: Vec<(Key, V)> = postcard::from_bytes(bytes)
            .map_err(|error| GroupError { group, why: error.to_string() })?;
        if let Some((key, _)) = states.iter().find(|(key, _)| group_of(*key) != group) {
            return Err(GroupError { group, why: format!("key {key:032x} is not of this group") });
        }
        self.maps[group] = states.into_iter().collect();
        Ok(())
    }

    fn write_if_waiting(&mut self, group: usize) {
        if !std::mem::take(&mut self.waiting[group]) {
            return;
        }
        let mut states: Vec<(Key, &V)> =
            self.maps[group].iter().map(|(key, state)| (*key, state)).collect();
        states.sort_unstable_by_key(|(key, _)| *key);
        let keys = states.len();
        // Writing plain data into memory cannot fail; if it ever did the group would be missing
        // and the snapshot incomplete, which its reader refuses.
        if let Ok(bytes) = postcard::to_allocvec(&states) {
            self.written.push(GroupBytes { group, keys, bytes: bytes.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::key_of;

    #[test]
    fn a_snapshot_shows_the_moment_it_began_whatever_changes_since() {
        let mut groups = KeyGroups::<u32>::default();
        for name in 0..1_000_u32 {
            *groups.entry(key_of(&name.to_string()), || 0) = name;
        }
        groups.begin_snapshot();
        assert!(groups.write_some(10).is_none());
        for name in 0..1_000_u32 {
            *groups.entry(key_of(&name.to_string()), || 0) += 7_000;
        }
        let written = groups.write_some(usize::MAX).unwrap();
        let mut back = KeyGroups::<u32>::default();
        for group in &written {
            back.load(group.group, &group.bytes).unwrap();
        }
        assert_eq!(back.len(), 1_000);
        for name in 0..1_000_u32 {
            assert_eq!(back.get_mut(key_of(&name.to_string())), Some(&mut { name }));
        }
        assert!(back.load(3, &[0xff; 9]).is_err());
    }
}
