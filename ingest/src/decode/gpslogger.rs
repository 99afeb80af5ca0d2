//! GPSLogger's custom URL: its default template, an OsmAnd-like one, and `%ALL`.
//!
//! In:    query or form: `lat, lon|longitude, time|timestamp, s|spd|speed|speed_mps|spd_kph,
//!        acc|accuracy, dir|bearing, alt|altitude, batt, id|deviceid, aid, ser`.
//! Out:   fixes; a message without coordinates is a heartbeat.
//!
//! Speed is m/s under every name but `spd_kph`: `%SPD` is. An accuracy of 0 means that the phone
//! gave none.

use super::flat::Flat;
use super::items::{Each, items};
use super::value::Num;
use super::{BodyError, Decoded, Entry, Item, PhoneRequest, RawFix, Reason, Shape, entries_of};

/// Reads a request. A JSON body, object or array, may carry the same names.
pub fn decode(request: PhoneRequest<'_>) -> Result<Decoded, BodyError> {
    let mut flat = Flat::default();
    if matches!(request.body.trim_ascii().first(), Some(b'{' | b'[')) {
        flat.read(request.query.as_bytes());
        return json(request, &flat);
    }
    flat.read(request.body);
    flat.read(request.query.as_bytes());
    Ok(Decoded {
        entries: vec![Entry { piece: 0, item: item(&flat) }],
        shape: Shape::Whole,
        device_id: flat.device_id().map(str::to_owned),
        hint: hint(&flat),
    })
}

fn json(request: PhoneRequest<'_>, query: &Flat) -> Result<Decoded, BodyError> {
    let read = items::<Flat>(request.body, request.items_max)?;
    let first = read.iter().find_map(|each| match each {
        Each::Is(flat) => Some(flat),
        Each::Other => None,
    });
    let device_id = query.device_id().or_else(|| first.and_then(Flat::device_id));
    let device_id = device_id.map(str::to_owned);
    let hint = first.and_then(hint);
    let entries = entries_of(read.iter().map(|each| match each {
        Each::Is(flat) if flat.device_id().is_some_and(|id| Some(id) != device_id.as_deref()) => {
            Item::Bad(Reason::OtherDevice)
        }
        Each::Is(flat) => item(flat),
        Each::Other => Item::Bad(Reason::Unreadable),
    }));
    Ok(Decoded { entries, shape: Shape::Json, device_id, hint })
}

fn hint(flat: &Flat) -> Option<String> {
    flat.aid.0.clone().or_else(|| flat.ser.0.clone())
}

fn item(flat: &Flat) -> Item {
    let (lat, lon) = flat.point();
    if !lat.is_there() && !lon.is_there() {
        return Item::Heartbeat;
    }
    let (Num::Is(lat), Num::Is(lon)) = (lat, lon) else {
        return Item::Bad(Reason::NoPosition);
    };
    let mps = flat.speed_mps.or(flat.spd).or(flat.s).or(flat.speed).not_negative();
    let from_kph = || flat.spd_kph.not_negative().map(|kph| kph / 3.6);
    Item::Fix(RawFix {
        seq: flat.seq.0,
        measured_at: flat.timestamp_ms.or(flat.time).or(flat.timestamp).time,
        lat,
        lon,
        accuracy_m: flat.acc.or(flat.accuracy).not_negative(),
        altitude_m: flat.alt.or(flat.altitude).value(),
        speed_mps: mps.or_else(from_kph),
        bearing_deg: flat.dir.or(flat.bearing).or(flat.heading).not_negative(),
        battery_pct: flat.batt.not_negative(),
        mock: flat.mock.0 == Some(true),
        declared_invalid: flat.valid.0 == Some(false),
    })
}
