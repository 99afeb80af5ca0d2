//! OwnTracks over HTTP: one message, or an array of them.
//!
//! In:    `{"_type":"location","lat","lon","tst","acc","alt","vel","cog","batt","tid",…}`; `vel`
//!        is km/h, `tst` the second of the fix; other types and empty bodies are legal.
//! Out:   fixes; what is no position is `Other`.
//!
//! The app leaves out `acc`, `alt`, `cog` and `vel` when they are 0, so absent says nothing.

use serde::Deserialize;

use super::items::{Each, items};
use super::moment::Moment;
use super::value::{Num, Word};
use super::{BodyError, Decoded, Item, RawFix, Reason, Shape, entries_of};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Message {
    #[serde(rename = "_type")]
    kind: Word,
    lat: Num,
    lon: Num,
    tst: Moment,
    acc: Num,
    alt: Num,
    vel: Num,
    cog: Num,
    batt: Num,
    tid: Word,
    topic: Word,
}

/// Reads a body. `hint` in the answer is the device part of the topic, else the `tid`.
pub fn decode(body: &[u8], items_max: usize) -> Result<Decoded, BodyError> {
    if body.trim_ascii().is_empty() {
        return Ok(Decoded::default());
    }
    let read = items::<Message>(body, items_max)?;
    let hint = read.iter().find_map(|each| match each {
        Each::Is(message) => message.hint(),
        Each::Other => None,
    });
    let entries = entries_of(read.into_iter().map(|each| match each {
        Each::Is(message) => message.into_item(),
        Each::Other => Item::Bad(Reason::Unreadable),
    }));
    Ok(Decoded { entries, shape: Shape::Json, device_id: None, hint })
}

impl Message {
    fn hint(&self) -> Option<String> {
        let device = self.topic.0.as_deref().and_then(|topic| topic.split('/').nth(2));
        device.map(str::to_owned).or_else(|| self.tid.0.clone())
    }

    fn into_item(self) -> Item {
        match self.kind.0.as_deref() {
            Some("location") => {}
            Some("encrypted") => return Item::Bad(Reason::Encrypted),
            Some(_) => return Item::Other,
            None => return Item::Bad(Reason::Unreadable),
        }
        let (Num::Is(lat), Num::Is(lon)) = (self.lat, self.lon) else {
            return Item::Bad(Reason::NoPosition);
        };
        Item::Fix(RawFix {
            seq: None,
            measured_at: self.tst.time,
            lat,
            lon,
            accuracy_m: self.acc.not_negative(),
            altitude_m: self.alt.value(),
            speed_mps: self.vel.not_negative().map(|kmh| kmh / 3.6),
            bearing_deg: self.cog.not_negative(),
            battery_pct: self.batt.not_negative(),
            mock: false,
            declared_invalid: false,
        })
    }
}
