//! Our own JSON: one fix, an array, or one a line.
//!
//! In:    `{"seq","measured_at","lat","lon","accuracy_m","altitude_m","speed_mps","bearing_deg",
//!        "battery_pct","mock"}`; only `measured_at`, `lat` and `lon` are needed. `driver_id` is
//!        not looked at: the driver comes from the token.
//! Out:   fixes in the order sent.

use serde::Deserialize;

use super::items::{Each, items};
use super::moment::Moment;
use super::value::{Count, Flag, Num};
use super::{BodyError, Decoded, Item, RawFix, Reason, Shape, entries_of};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct JsonFix {
    seq: Count,
    measured_at: Moment,
    lat: Num,
    lon: Num,
    accuracy_m: Num,
    altitude_m: Num,
    speed_mps: Num,
    bearing_deg: Num,
    battery_pct: Num,
    mock: Flag,
    valid: Flag,
}

/// Reads a body. An empty body is not JSON.
pub fn decode(body: &[u8], items_max: usize) -> Result<Decoded, BodyError> {
    let read = items::<JsonFix>(body, items_max)?;
    let entries = entries_of(read.into_iter().map(|each| match each {
        Each::Is(fix) => fix.into_item(),
        Each::Other => Item::Bad(Reason::Unreadable),
    }));
    Ok(Decoded { entries, shape: Shape::Json, ..Decoded::default() })
}

impl JsonFix {
    fn into_item(self) -> Item {
        let (Num::Is(lat), Num::Is(lon)) = (self.lat, self.lon) else {
            return Item::Bad(Reason::NoPosition);
        };
        Item::Fix(RawFix {
            seq: self.seq.0,
            measured_at: self.measured_at.time,
            lat,
            lon,
            accuracy_m: self.accuracy_m.not_negative(),
            altitude_m: self.altitude_m.value(),
            speed_mps: self.speed_mps.not_negative(),
            bearing_deg: self.bearing_deg.not_negative(),
            battery_pct: self.battery_pct.not_negative(),
            mock: self.mock.0 == Some(true),
            declared_invalid: self.valid.0 == Some(false),
        })
    }
}
