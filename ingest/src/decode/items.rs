//! JSON bodies as items: one object, an array, or one object a line.
//!
//! In:    bytes, and the most items that are taken.
//! Out:   each item read into `T`, or the fact that it could not be; the bytes of each.
//! Never: lets one bad item cost its neighbours; holds more than the limit in memory.
//!
//! The fast way reads straight into `T`. Only when it fails is the body cut into pieces, each
//! of which is then read alone.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor, value::MapAccessDeserializer,
};
use serde_json::value::RawValue;

use super::BodyError;

/// An item that may not be what it should.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Each<T> {
    /// An object with the fields of `T`.
    Is(T),
    /// Anything else.
    Other,
}

/// Reads every item.
pub(super) fn items<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    items_max: usize,
) -> Result<Vec<Each<T>>, BodyError> {
    let body = trimmed(body);
    match whole::<Each<T>>(body, items_max)? {
        Some(items) => Ok(items),
        None => Ok(pieces(body, items_max)?.into_iter().map(one).collect()),
    }
}

/// The bytes of every item, in the same order.
pub(super) fn pieces(body: &[u8], items_max: usize) -> Result<Vec<&[u8]>, BodyError> {
    let body = trimmed(body);
    match whole::<&RawValue>(body, items_max)? {
        Some(items) => Ok(items.into_iter().map(|raw| raw.get().as_bytes()).collect()),
        None if body.first() == Some(&b'[') => Err(BodyError::NotReadable("JSON")),
        None => lines(body, items_max),
    }
}

/// Reads one piece.
pub(super) fn one<'a, T: Deserialize<'a>>(piece: &'a [u8]) -> Each<T> {
    serde_json::from_slice(piece).unwrap_or(Each::Other)
}

/// Every item, if all of the body can be read.
fn whole<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    items_max: usize,
) -> Result<Option<Vec<T>>, BodyError> {
    let over = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = if body.first() == Some(&b'[') {
        let capped = Capped { items_max, over: &over, of: PhantomData };
        capped.deserialize(&mut reader).and_then(|items| reader.end().map(|()| items))
    } else {
        let capped = reader.into_iter::<T>().take(items_max.saturating_add(1));
        let items: Result<Vec<T>, _> = capped.collect();
        over.set(items.as_ref().is_ok_and(|items| items.len() > items_max));
        items
    };
    match read {
        _ if over.get() => Err(BodyError::TooMany(items_max)),
        Ok(items) if items.is_empty() && body.is_empty() => Err(BodyError::NotReadable("JSON")),
        read => Ok(read.ok()),
    }
}

/// One object a line, of which some lines may be damaged. Not JSON when no line is.
fn lines(body: &[u8], items_max: usize) -> Result<Vec<&[u8]>, BodyError> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let found: Vec<&[u8]> =
        lines.filter(|line| !line.is_empty()).take(items_max.saturating_add(1)).collect();
    let is_json = |line: &&[u8]| serde_json::from_slice::<IgnoredAny>(line).is_ok();
    if !found.iter().any(is_json) {
        Err(BodyError::NotReadable("JSON"))
    } else if found.len() > items_max {
        Err(BodyError::TooMany(items_max))
    } else {
        Ok(found)
    }
}

fn trimmed(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii()
}

/// Reads an array, and stops at the limit.
struct Capped<'c, T> {
    items_max: usize,
    over: &'c Cell<bool>,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Capped<'_, T> {
    type Value = Vec<T>;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Vec<T>, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Capped<'_, T> {
    type Value = Vec<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == self.items_max {
                self.over.set(true);
                return Err(A::Error::custom("too many items"));
            }
            items.push(item);
        }
        Ok(items)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Each<T> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(EachVisitor(PhantomData))
    }
}

struct EachVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EachVisitor<T> {
    type Value = Each<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Each<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Each::Is)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Each<T>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Each::Other)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Each<T>, E> {
        Ok(Each::Other)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Each<T>, E> {
        Ok(Each::Other)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Each<T>, E> {
        Ok(Each::Other)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Each<T>, E> {
        Ok(Each::Other)
    }
    fn visit_str<E>(self, _: &str) -> Result<Each<T>, E> {
        Ok(Each::Other)
    }
    fn visit_unit<E>(self) -> Result<Each<T>, E> {
        Ok(Each::Other)
    }
}
