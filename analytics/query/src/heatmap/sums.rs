//! Adds facts up by cell and currency.
//!
//! In:    facts.
//! Out:   groups, with people counted as far as hiding needs.
//! Never: adds two currencies.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use super::books::Fact;
use super::{By, Group, HeatmapRequest, PEOPLE_MIN};
use crate::h3;

/// The sums of one request.
pub struct Sums {
    resolution: u8,
    by: By,
    people: bool,
    by_cell: HashMap<(i64, u16), Sum, BuildHasherDefault<CellHasher>>,
}

#[derive(Default)]
struct Sum {
    captured_minor: i64,
    refunded_minor: i64,
    payments: u64,
    customers: Few,
    drivers: Few,
}

impl Sums {
    /// For one request.
    pub fn new(request: &HeatmapRequest) -> Self {
        Self {
            resolution: request.resolution,
            by: request.by,
            people: request.hide_thin,
            by_cell: HashMap::default(),
        }
    }

    /// Adds a fact.
    pub fn add(&mut self, fact: &Fact) {
        let cell = match self.by {
            By::Pickup => fact.place.pickup,
            By::Destination => fact.place.destination,
        };
        let cell = if cell == 0 { 0 } else { h3::parent_unchecked(cell, self.resolution) };
        let sum = self.by_cell.entry((cell, fact.currency)).or_default();
        sum.captured_minor = sum.captured_minor.saturating_add(fact.captured_minor);
        sum.refunded_minor = sum.refunded_minor.saturating_add(fact.refunded_minor);
        sum.payments += 1;
        if self.people {
            sum.customers.add(fact.place.customer);
            sum.drivers.add(fact.place.driver);
        }
    }

    /// What they come to.
    pub fn groups(self, currencies: &Words) -> Vec<Group> {
        let group = |((cell, currency), sum): ((i64, u16), Sum)| Group {
            cell: (cell != 0).then_some(cell),
            currency: currencies.word(currency).to_owned(),
            captured_minor: sum.captured_minor,
            refunded_minor: sum.refunded_minor,
            payments: sum.payments,
            customers: sum.customers.count(),
            drivers: sum.drivers.count(),
        };
        self.by_cell.into_iter().map(group).collect()
    }
}

/// Distinct people, counted up to `PEOPLE_MIN`.
#[derive(Default)]
struct Few(Vec<u64>);

impl Few {
    fn add(&mut self, person: u64) {
        if person != 0 && self.0.len() < PEOPLE_MIN as usize && !self.0.contains(&person) {
            self.0.push(person);
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

/// Cells differ in their upper digits: one multiplication spreads them.
#[derive(Default)]
struct CellHasher(u64);

impl Hasher for CellHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= xxh3_64(bytes);
    }
    fn write_i64(&mut self, number: i64) {
        let mixed = (self.0 ^ number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 29);
    }
    fn write_u16(&mut self, number: u16) {
        self.write_i64(i64::from(number));
    }
}

/// Few distinct words as small numbers.
#[derive(Debug, Default)]
pub struct Words(Vec<String>);

impl Words {
    /// The word's number, if it was seen.
    pub fn find(&self, word: &str) -> Option<u16> {
        self.0
            .iter()
            .position(|known| known == word)
            .and_then(|index| u16::try_from(index + 1).ok())
    }

    /// The word's number, from 1; 0 once there are too many words to number.
    pub fn number(&mut self, word: &str) -> u16 {
        self.find(word).unwrap_or_else(|| {
            if self.0.len() + 1 >= usize::from(u16::MAX) {
                return 0;
            }
            self.0.push(word.to_owned());
            u16::try_from(self.0.len()).unwrap_or(0)
        })
    }

    /// The word of a number; empty for 0.
    pub fn word(&self, number: u16) -> &str {
        usize::from(number).checked_sub(1).and_then(|index| self.0.get(index)).map_or("", |w| w)
    }
}
