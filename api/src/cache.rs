//! Remembers answers for a few seconds, so that a busy device costs no query a fix.
//!
//! In:    a key and its answer.
//! Out:   the answer while it is young.
//! Keeps: at most `ENTRIES_MAX`; at the bound what is old goes, and all of it if nothing is.
//! Never: remembers that something does not exist.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const ENTRIES_MAX: usize = 200_000;

/// Answers by key, each for `life`.
#[derive(Debug)]
pub struct Remembered<V> {
    life: Duration,
    entries: Mutex<HashMap<String, (Instant, V)>>,
}

impl<V: Clone> Remembered<V> {
    /// Remembers for `life`.
    pub fn new(life: Duration) -> Self {
        Self { life, entries: Mutex::default() }
    }

    /// The answer, if it is young.
    pub fn get(&self, key: &str) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, value) = entries.get(key)?;
        (since.elapsed() < self.life).then(|| value.clone())
    }

    /// Remembers an answer.
    pub fn put(&self, key: String, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, (since, _)| since.elapsed() < self.life);
            if entries.len() >= ENTRIES_MAX {
                entries.clear();
            }
        }
        entries.insert(key, (Instant::now(), value));
    }

    /// Forgets every answer that `gone` picks: it was revoked.
    pub fn forget(&self, gone: impl Fn(&V) -> bool) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, (_, value)| !gone(value));
    }
}
