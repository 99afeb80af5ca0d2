//! Our own protobuf: `DeviceFixes`, or a single `DeviceFix`.
//!
//! In:    bytes. The two are told apart by their first byte: the list can only begin with the
//!        tag of its field 1, which in a single fix is a varint and has another.
//! Out:   fixes in the order sent.

use inzira_schemas::Micros;
use inzira_schemas::wire::DeviceFix;
use prost::Message;

use super::moment::Moment;
use super::{BodyError, Decoded, DeviceTime, Item, RawFix, Reason, Shape, entries_of};

/// Field 1, length-prefixed: an element of `DeviceFixes`.
const ELEMENT: u8 = 0x0a;

/// Reads a body. An empty one is an empty list.
pub fn decode(body: &[u8], items_max: usize) -> Result<Decoded, BodyError> {
    let pieces = pieces(body, items_max)?;
    let single = body.first().is_some_and(|byte| *byte != ELEMENT);
    if single && DeviceFix::decode(body).is_err() {
        return Err(BodyError::NotReadable("protobuf"));
    }
    let entries = entries_of(pieces.into_iter().map(|piece| match DeviceFix::decode(piece) {
        Ok(fix) => Item::Fix(raw(fix)),
        Err(_) => Item::Bad(Reason::Unreadable),
    }));
    Ok(Decoded { entries, shape: Shape::Protobuf, ..Decoded::default() })
}

/// The bytes of every fix. Elements are counted before any is decoded.
pub(super) fn pieces(body: &[u8], items_max: usize) -> Result<Vec<&[u8]>, BodyError> {
    if body.first().is_some_and(|byte| *byte != ELEMENT) {
        return Ok(vec![body]);
    }
    let mut found = Vec::new();
    let mut rest = body;
    while let Some((tag, after_tag)) = rest.split_first() {
        let (length, after_length) = varint(after_tag)?;
        let length = usize::try_from(length).map_err(|_| BodyError::NotReadable("protobuf"))?;
        if *tag != ELEMENT || after_length.len() < length {
            return Err(BodyError::NotReadable("protobuf"));
        }
        if found.len() == items_max {
            return Err(BodyError::TooMany(items_max));
        }
        let (piece, after) = after_length.split_at(length);
        found.push(piece);
        rest = after;
    }
    Ok(found)
}

fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), BodyError> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[index + 1..]));
        }
    }
    Err(BodyError::NotReadable("protobuf"))
}

fn raw(fix: DeviceFix) -> RawFix {
    let measured_at = match fix.measured_at_us {
        0 => DeviceTime::Absent,
        micros if micros < 100_000_000_000_000 => Moment::from_whole(micros).time,
        micros => DeviceTime::At(Micros(micros)),
    };
    let known = |value: Option<f64>| value.filter(|value| value.is_finite() && *value >= 0.0);
    RawFix {
        seq: fix.seq,
        measured_at,
        lat: fix.lat,
        lon: fix.lon,
        accuracy_m: known(fix.accuracy_m),
        altitude_m: fix.altitude_m.filter(|value| value.is_finite()),
        speed_mps: known(fix.speed_mps),
        bearing_deg: known(fix.bearing_deg),
        battery_pct: known(fix.battery_pct),
        mock: fix.mock,
        declared_invalid: false,
    }
}
