//! What the client was told, kept outside the service.
//!
//! In:    every fix that is about to be sent, and every answer.
//! Out:   the set of fixes that were answered 2xx: they must be found again, once each.
//! Keeps: a file, written before the request goes out and after the answer came.
//! Never: counts a request without an answer as failed: its outcome is unknown.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Context;

/// One fix, as the client names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FixName {
    /// Device.
    pub device_id: String,
    /// Its sequence number.
    pub seq: u64,
}

/// What is known of a fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Sent, not answered (yet).
    Unknown,
    /// Answered 2xx.
    Answered,
}

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// 2xx: kept.
    Taken,
    /// 503 or 429 with Retry-After: come again.
    Later,
    /// The line broke, or nothing came in time.
    Silence,
    /// Anything else: nobody should say that to a phone.
    Odd,
}

/// The client's own record.
pub struct Ledger {
    fixes: Mutex<BTreeMap<FixName, Outcome>>,
    answers: Mutex<BTreeMap<Answer, u64>>,
    file: Mutex<std::fs::File>,
    in_flight: AtomicI64,
}

impl Ledger {
    /// A ledger that is kept at `path`.
    pub fn at(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self {
            fixes: Mutex::default(),
            answers: Mutex::default(),
            file: Mutex::new(file),
            in_flight: AtomicI64::new(0),
        })
    }

    /// A request with this fix is about to leave.
    pub fn invoke(&self, name: &FixName) -> anyhow::Result<()> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        self.write("invoke", name)?;
        if let Ok(mut fixes) = self.fixes.lock() {
            fixes.entry(name.clone()).or_insert(Outcome::Unknown);
        }
        Ok(())
    }

    /// The request ended.
    pub fn end(&self, name: &FixName, answer: Answer) -> anyhow::Result<()> {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        let taken = answer == Answer::Taken;
        self.write(if taken { "ok" } else { "info" }, name)?;
        if taken && let Ok(mut fixes) = self.fixes.lock() {
            fixes.insert(name.clone(), Outcome::Answered);
        }
        if let Ok(mut answers) = self.answers.lock() {
            *answers.entry(answer).or_default() += 1;
        }
        Ok(())
    }

    /// How many requests ended so.
    pub fn count(&self, answer: Answer) -> u64 {
        self.answers.lock().ok().and_then(|all| all.get(&answer).copied()).unwrap_or_default()
    }

    /// Requests that have left and not ended.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Every fix that was ever sent.
    pub fn fixes(&self) -> BTreeMap<FixName, Outcome> {
        self.fixes.lock().map(|fixes| fixes.clone()).unwrap_or_default()
    }

    fn write(&self, what: &str, name: &FixName) -> anyhow::Result<()> {
        let mut file = self.file.lock().map_err(|_| anyhow::anyhow!("the ledger broke"))?;
        writeln!(file, "{what} {} {}", name.device_id, name.seq)?;
        Ok(())
    }
}

/// How the ledger and an independent reader compare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Answered, and not found.
    pub lost: u64,
    /// Found more than once.
    pub doubled: u64,
    /// Found, and never sent.
    pub phantom: u64,
}

/// Compares the ledger with what a reader found: `(device, seq) -> rows`.
pub fn compare(ledger: &BTreeMap<FixName, Outcome>, found: &BTreeMap<FixName, u64>) -> Comparison {
    let answered = ledger.iter().filter(|(_, outcome)| **outcome == Outcome::Answered);
    Comparison {
        lost: answered.filter(|(name, _)| !found.contains_key(name)).count() as u64,
        doubled: found.values().filter(|rows| **rows > 1).count() as u64,
        phantom: found.keys().filter(|name| !ledger.contains_key(name)).count() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(seq: u64) -> FixName {
        FixName { device_id: "dev_x".to_owned(), seq }
    }

    #[test]
    fn an_unanswered_fix_may_be_there_or_not_but_not_twice() {
        let ledger = BTreeMap::from([
            (name(1), Outcome::Answered),
            (name(2), Outcome::Unknown),
            (name(3), Outcome::Answered),
        ]);
        let found = BTreeMap::from([(name(1), 1), (name(2), 2), (name(9), 1)]);
        let comparison = compare(&ledger, &found);
        assert_eq!(comparison, Comparison { lost: 1, doubled: 1, phantom: 1 });
    }
}
