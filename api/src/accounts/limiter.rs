//! Counts wrong tries in a window, by phone and by address.
//!
//! In:    a key and the present moment.
//! Out:   whether one more may be tried, and in how many seconds otherwise.
//! Keeps: at most `KEYS_MAX` keys in memory; a restart forgets them.
//! Never: counts what succeeded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use inzira_schemas::Micros;

/// Keys remembered; at the bound the oldest windows are dropped first.
const KEYS_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy)]
struct Window {
    began_at: Micros,
    tries: u32,
}

/// Wrong tries by key.
#[derive(Debug)]
pub struct Limiter {
    window_s: i64,
    windows: Mutex<HashMap<String, Window>>,
}

impl Limiter {
    /// Counts over windows of `window_s` seconds.
    pub fn new(window_s: i64) -> Self {
        Self { window_s, windows: Mutex::default() }
    }

    /// Seconds to wait when `key` has used up its `tries_max`; `None` when it may try.
    pub fn wait_s(&self, key: &str, tries_max: u32, now: Micros) -> Option<u32> {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.get(key)?;
        let ends_at = window.began_at.plus_secs(self.window_s);
        (window.tries >= tries_max && now < ends_at)
            .then(|| ends_at.seconds_since(now).ceil().max(1.0) as u32)
    }

    /// One more wrong try of `key`.
    pub fn failed(&self, key: &str, now: Micros) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= KEYS_MAX && !windows.contains_key(key) {
            self.make_room(&mut windows, now);
        }
        let window = windows.entry(key.to_owned()).or_insert(Window { began_at: now, tries: 0 });
        if now >= window.began_at.plus_secs(self.window_s) {
            *window = Window { began_at: now, tries: 0 };
        }
        window.tries = window.tries.saturating_add(1);
    }

    /// Forgets the tries of `key`: it succeeded.
    pub fn succeeded(&self, key: &str) {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn make_room(&self, windows: &mut HashMap<String, Window>, now: Micros) {
        windows.retain(|_, window| now < window.began_at.plus_secs(self.window_s));
        if windows.len() >= KEYS_MAX {
            let mut ages: Vec<Micros> = windows.values().map(|window| window.began_at).collect();
            ages.sort_unstable();
            let cut = ages[ages.len() / 2];
            windows.retain(|_, window| window.began_at > cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_try_waits_until_the_window_ends() {
        let limiter = Limiter::new(900);
        let start = Micros::from_secs(1_000);
        for _ in 0..5 {
            assert_eq!(limiter.wait_s("a", 5, start), None);
            limiter.failed("a", start);
        }
        assert_eq!(limiter.wait_s("a", 5, start.plus_secs(100)), Some(800));
        assert_eq!(limiter.wait_s("b", 5, start), None);
        assert_eq!(limiter.wait_s("a", 5, start.plus_secs(900)), None);
        limiter.failed("a", start.plus_secs(900));
        assert_eq!(limiter.wait_s("a", 5, start.plus_secs(900)), None);
    }
}
