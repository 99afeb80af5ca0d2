//! What Traccar calls OsmAnd: query or form (Traccar Client 10, the OsmAnd app), the JSON of
//! Traccar Client 9 and of background-geolocation apps, and arrays of either.
//!
//! In:    `?id=…&lat=…&lon=…&timestamp=…&speed=…`, a form of the same names, or
//!        `{"location":{"timestamp","coords":{…},…},"device_id"}` with an object or an array.
//! Out:   fixes; a message without coordinates is a heartbeat.
//!
//! | Sender | told by | speed | accuracy |
//! |---|---|---|---|
//! | Traccar Client 10 | the rest | knots | `accuracy`, metres |
//! | OsmAnd app | 13-digit time, `hdop`, neither `accuracy` nor `batt` | m/s | `hdop`, metres |
//! | anyone | `speed_mps`, `spd` | m/s | |
//! | Traccar Client 9 and kin | JSON with `coords` | m/s, -1 unknown | metres |

use serde::Deserialize;
use serde_json::value::RawValue;

use super::flat::Flat;
use super::items::{Each, items, one, pieces};
use super::moment::Moment;
use super::value::{Flag, Num, Word};
use super::{BodyError, Decoded, Entry, Item, PhoneRequest, RawFix, Reason, Shape};

/// A knot in metres a second.
const KNOT_MPS: f64 = 1852.0 / 3600.0;

/// Reads a request: JSON when the body says so, else query, else form.
pub fn decode(request: PhoneRequest<'_>) -> Result<Decoded, BodyError> {
    let first = request.body.trim_ascii().first();
    let looks_json = matches!(first, Some(b'{' | b'['));
    let says_json = request.content_type.trim_start().starts_with("application/json");
    if looks_json || (says_json && first.is_some()) {
        return json(request);
    }
    let mut flat = Flat::default();
    flat.read(request.body);
    flat.read(request.query.as_bytes());
    let device_id = flat.device_id().map(str::to_owned);
    let item = flat_item(&flat);
    Ok(Decoded {
        entries: vec![Entry { piece: 0, item }],
        shape: Shape::Whole,
        device_id,
        hint: None,
    })
}

/// The device id of a query, so that a sender can be known before the body is read.
pub fn device_id_of(query: &str) -> Option<String> {
    let mut flat = Flat::default();
    flat.read(query.as_bytes());
    flat.device_id().map(str::to_owned)
}

fn flat_item(flat: &Flat) -> Item {
    let (lat, lon) = flat.point();
    if !lat.is_there() && !lon.is_there() {
        return Item::Heartbeat;
    }
    let (Num::Is(lat), Num::Is(lon)) = (lat, lon) else {
        return Item::Bad(Reason::NoPosition);
    };
    let moment = flat.moment();
    let osmand_app = moment.in_millis
        && flat.hdop.is_there()
        && !flat.accuracy.is_there()
        && !flat.batt.is_there();
    let speed = flat.speed.not_negative();
    let speed_mps = flat.speed_mps.or(flat.spd).not_negative();
    Item::Fix(RawFix {
        seq: flat.seq.0,
        measured_at: moment.time,
        lat,
        lon,
        accuracy_m: if osmand_app { flat.hdop } else { flat.accuracy }.not_negative(),
        altitude_m: flat.altitude.value(),
        speed_mps: speed_mps.or(if osmand_app {
            speed
        } else {
            speed.map(|knots| knots * KNOT_MPS)
        }),
        bearing_deg: flat.bearing.or(flat.heading).not_negative(),
        battery_pct: flat.batt.not_negative(),
        mock: flat.mock.0 == Some(true),
        declared_invalid: flat.valid.0 == Some(false),
    })
}

/// What an object of a JSON body is, before its insides are read: a wrapper of one or many
/// locations, a location by itself, or the flat parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head<'a> {
    #[serde(borrow)]
    location: Option<&'a RawValue>,
    #[serde(borrow)]
    coords: Option<&'a RawValue>,
    id: Word,
    deviceid: Word,
    device_id: Word,
}

/// A record of background-geolocation. Speed is m/s, unknown values are -1.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Location {
    timestamp: Moment,
    coords: Option<Each<Coords>>,
    battery: Option<Each<Battery>>,
    mock: Flag,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Coords {
    latitude: Num,
    longitude: Num,
    accuracy: Num,
    speed: Num,
    heading: Num,
    altitude: Num,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Battery {
    level: Num,
}

fn json(request: PhoneRequest<'_>) -> Result<Decoded, BodyError> {
    let mut flat = Flat::default();
    flat.read(request.query.as_bytes());
    let mut device_id = flat.device_id().map(str::to_owned);
    let mut entries = Vec::new();
    for (index, piece) in pieces(request.body, request.items_max)?.into_iter().enumerate() {
        let (found, named) = object(piece, request.items_max)?;
        let other = matches!((&named, &device_id), (Some(named), Some(first)) if named != first);
        for item in found {
            let item = if other { Item::Bad(Reason::OtherDevice) } else { item };
            entries.push(Entry { piece: index, item });
        }
        device_id = device_id.or(named);
        if entries.len() > request.items_max {
            return Err(BodyError::TooMany(request.items_max));
        }
    }
    Ok(Decoded { entries, shape: Shape::Json, device_id, hint: None })
}

/// The items of one object, and the device that it names.
fn object(piece: &[u8], items_max: usize) -> Result<(Vec<Item>, Option<String>), BodyError> {
    let Ok(head) = serde_json::from_slice::<Head<'_>>(piece) else {
        return Ok((vec![Item::Bad(Reason::Unreadable)], None));
    };
    let named = head.device_id.0.or(head.id.0).or(head.deviceid.0);
    let inner = head.location.map(|raw| raw.get().as_bytes());
    let items = match inner {
        Some(inner @ ([b'{', ..] | [b'[', ..])) => {
            items::<Location>(inner, items_max)?.into_iter().map(location_item).collect()
        }
        _ if head.coords.is_some() => vec![location_item(one(piece))],
        _ => vec![flat_object(piece, head.location)],
    };
    Ok((items, named))
}

fn flat_object(piece: &[u8], location: Option<&RawValue>) -> Item {
    let Ok(mut flat) = serde_json::from_slice::<Flat>(piece) else {
        return Item::Bad(Reason::Unreadable);
    };
    let text = location.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    flat.location = Word(text);
    flat_item(&flat)
}

fn location_item(location: Each<Location>) -> Item {
    let Each::Is(location) = location else { return Item::Bad(Reason::Unreadable) };
    let coords = match location.coords {
        None => return Item::Heartbeat,
        Some(Each::Other) => return Item::Bad(Reason::NoPosition),
        Some(Each::Is(coords)) => coords,
    };
    let (Num::Is(lat), Num::Is(lon)) = (coords.latitude, coords.longitude) else {
        return Item::Bad(Reason::NoPosition);
    };
    let level = match location.battery {
        Some(Each::Is(battery)) => battery.level.not_negative(),
        _ => None,
    };
    Item::Fix(RawFix {
        seq: None,
        measured_at: location.timestamp.time,
        lat,
        lon,
        accuracy_m: coords.accuracy.not_negative(),
        altitude_m: coords.altitude.value(),
        speed_mps: coords.speed.not_negative(),
        bearing_deg: coords.heading.not_negative(),
        battery_pct: level.map(|level| level * 100.0),
        mock: location.mock.0 == Some(true),
        declared_invalid: false,
    })
}
