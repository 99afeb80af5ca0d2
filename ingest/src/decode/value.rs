//! Values that may be written in many ways: a number as text, a flag as 1, a wrong type.
//!
//! In:    any JSON value, or the text of a query parameter.
//! Out:   absent, a value, or the fact that it was not one.
//! Never: fails: one odd field must not cost the whole body.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::moment::Moment;

/// A number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Num {
    /// Not there, or null, or empty.
    #[default]
    Absent,
    /// A finite number.
    Is(f64),
    /// There, but no finite number.
    Bad,
}

impl Num {
    /// The number, when it is one.
    pub fn value(self) -> Option<f64> {
        match self {
            Num::Is(value) => Some(value),
            Num::Absent | Num::Bad => None,
        }
    }

    /// The number, when it is one and not negative: phones write -1 for unknown.
    pub fn not_negative(self) -> Option<f64> {
        self.value().filter(|value| *value >= 0.0)
    }

    /// The first of the two that is there.
    pub fn or(self, other: Num) -> Num {
        if self == Num::Absent { other } else { self }
    }

    /// Whether anything was written.
    pub fn is_there(self) -> bool {
        self != Num::Absent
    }

    /// Reads text.
    pub fn from_text(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case("null") {
            return Num::Absent;
        }
        text.parse().map_or(Num::Bad, Num::from_f64)
    }

    fn from_f64(value: f64) -> Self {
        if value.is_finite() { Num::Is(value) } else { Num::Bad }
    }
}

/// A count that never goes below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count(pub Option<u64>);

/// Yes, no, or not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flag(pub Option<bool>);

impl Flag {
    /// Reads text: `true`, `1`, `yes`; `false`, `0`, `no`.
    pub fn from_text(text: &str) -> Self {
        let text = text.trim();
        let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        if is(["true", "1", "yes"]) {
            Flag(Some(true))
        } else if is(["false", "0", "no"]) {
            Flag(Some(false))
        } else {
            Flag(None)
        }
    }
}

/// A word, or a number that is used as one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Word(pub Option<String>);

impl Word {
    /// Reads text, at most 256 characters of it: no name or id of ours is longer.
    pub fn from_text(text: &str) -> Self {
        let text = text.trim();
        Word((!text.is_empty()).then(|| text.chars().take(256).collect()))
    }
}

/// One reader for every lenient type: what it makes of each JSON value.
trait Lenient: Sized + Default {
    const BAD: Self;
    fn bool(value: bool) -> Self;
    fn whole(value: i64) -> Self;
    fn float(value: f64) -> Self;
    fn text(value: &str) -> Self;
    /// Whole numbers above `i64`.
    fn large(value: u64) -> Self {
        Self::float(value as f64)
    }
}

impl Lenient for Num {
    const BAD: Self = Num::Bad;
    fn bool(_: bool) -> Self {
        Num::Bad
    }
    fn whole(value: i64) -> Self {
        Num::Is(value as f64)
    }
    fn float(value: f64) -> Self {
        Num::from_f64(value)
    }
    fn text(value: &str) -> Self {
        Num::from_text(value)
    }
}

impl Lenient for Count {
    const BAD: Self = Count(None);
    fn bool(_: bool) -> Self {
        Count(None)
    }
    fn whole(value: i64) -> Self {
        Count(u64::try_from(value).ok())
    }
    fn float(value: f64) -> Self {
        // Exact up to 2^53: a count written as 12.0 is still a count.
        let whole = value.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&value);
        Count(whole.then_some(value as u64))
    }
    fn text(value: &str) -> Self {
        Count(value.trim().parse().ok())
    }
    fn large(value: u64) -> Self {
        Count(Some(value))
    }
}

impl Lenient for Flag {
    const BAD: Self = Flag(None);
    fn bool(value: bool) -> Self {
        Flag(Some(value))
    }
    fn whole(value: i64) -> Self {
        Flag(Some(value != 0))
    }
    fn float(value: f64) -> Self {
        Flag(Some(value != 0.0))
    }
    fn text(value: &str) -> Self {
        Flag::from_text(value)
    }
}

impl Lenient for Word {
    const BAD: Self = Word(None);
    fn bool(_: bool) -> Self {
        Word(None)
    }
    fn whole(value: i64) -> Self {
        Word(Some(value.to_string()))
    }
    fn float(value: f64) -> Self {
        Word(Some(value.to_string()))
    }
    fn text(value: &str) -> Self {
        Word::from_text(value)
    }
}

impl Lenient for Moment {
    const BAD: Self = Moment::UNREADABLE;
    fn bool(_: bool) -> Self {
        Moment::UNREADABLE
    }
    fn whole(value: i64) -> Self {
        Moment::from_whole(value)
    }
    fn float(value: f64) -> Self {
        Moment::from_number(value)
    }
    fn text(value: &str) -> Self {
        Moment::from_text(value)
    }
}

struct LenientVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Lenient> Visitor<'de> for LenientVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<T, E> {
        Ok(T::whole(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(i64::try_from(value).map_or_else(|_| T::large(value), T::whole))
    }
    fn visit_f64<E>(self, value: f64) -> Result<T, E> {
        Ok(T::float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<T, E> {
        Ok(T::text(value))
    }
    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::BAD)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(T::BAD)
    }
}

macro_rules! lenient {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(LenientVisitor(std::marker::PhantomData))
            }
        }
    )*};
}

lenient!(Num, Count, Flag, Word, Moment);
