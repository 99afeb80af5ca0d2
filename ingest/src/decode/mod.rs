//! Bytes as phones send them, read into fixes: one file a protocol.
//!
//! In:    a body, a query, the address of neither clock nor network.
//! Out:   for every item a fix in our units, or what it is instead, in the order sent; beside
//!        them the device id that the body carried, which may be the secret that authenticates.
//! Keeps: nothing.
//! Never: panics, whatever the bytes; drops an item without a word; invents a value: absent,
//!        negative and unreadable stay absent.

pub mod gpslogger;
pub mod json;
pub mod osmand;
pub mod owntracks;
pub mod protobuf;

mod flat;
mod items;
pub mod moment;
mod value;

use inzira_schemas::Micros;

/// How a fix came. Spelt into `protocol` of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Our own JSON.
    Json,
    /// Our own protobuf.
    Protobuf,
    /// Traccar Client, the OsmAnd app, background-geolocation apps.
    Osmand,
    /// OwnTracks over HTTP.
    OwnTracks,
    /// GPSLogger's custom URL.
    GpsLogger,
}

impl Protocol {
    /// As the log spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Json => "json",
            Protocol::Protobuf => "protobuf",
            Protocol::Osmand => "osmand",
            Protocol::OwnTracks => "owntracks",
            Protocol::GpsLogger => "gpslogger",
        }
    }

    /// Whether a fix without a time is stamped with its arrival: only where phones really send
    /// such ones.
    pub const fn stamps_arrival(self) -> bool {
        matches!(self, Protocol::Osmand | Protocol::GpsLogger)
    }
}

/// When the device says it measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceTime {
    /// It says nothing, or a moment before there were phones (1970 from an unset clock).
    #[default]
    Absent,
    /// This moment, by its own clock.
    At(Micros),
    /// Something that is no time.
    Unreadable,
}

/// One fix as the device said it, in metres, metres a second and degrees. Not judged yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawFix {
    /// The device's own count.
    pub seq: Option<u64>,
    /// The device's own time of the fix.
    pub measured_at: DeviceTime,
    /// Latitude, degrees; any number.
    pub lat: f64,
    /// Longitude, degrees; any number.
    pub lon: f64,
    /// 68 % radius, metres.
    pub accuracy_m: Option<f64>,
    /// Above the sea, metres.
    pub altitude_m: Option<f64>,
    /// Metres a second.
    pub speed_mps: Option<f64>,
    /// Degrees clockwise from north.
    pub bearing_deg: Option<f64>,
    /// 0 to 100.
    pub battery_pct: Option<f64>,
    /// The phone says that an app made the position up.
    pub mock: bool,
    /// The device says that the position is not valid.
    pub declared_invalid: bool,
}

/// Why an item became no fix. Spelt into replies, metrics and the dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Not an object of the protocol, or with fields that cannot be read.
    Unreadable,
    /// No latitude or longitude, or not numbers.
    NoPosition,
    /// No time, where the protocol has one.
    NoTime,
    /// A time that cannot be read.
    BadTime,
    /// A mock location.
    Mock,
    /// Declared invalid by the device.
    Invalid,
    /// (0, 0), where receivers without a fix are.
    NullIsland,
    /// Not on the earth, or not a number.
    OutOfRange,
    /// Accuracy over 1 km.
    Inaccurate,
    /// More than 24 h ahead of us.
    Future,
    /// Names another device than the one that authenticated.
    OtherDevice,
    /// An encrypted payload, whose key we do not have.
    Encrypted,
}

impl Reason {
    /// As replies and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Unreadable => "unreadable",
            Reason::NoPosition => "no_position",
            Reason::NoTime => "no_time",
            Reason::BadTime => "bad_time",
            Reason::Mock => "mock",
            Reason::Invalid => "invalid",
            Reason::NullIsland => "null_island",
            Reason::OutOfRange => "out_of_range",
            Reason::Inaccurate => "inaccurate",
            Reason::Future => "future",
            Reason::OtherDevice => "other_device",
            Reason::Encrypted => "encrypted",
        }
    }
}

/// What one item turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A position.
    Fix(RawFix),
    /// A sign of life without coordinates: presence, not position.
    Heartbeat,
    /// A message of the protocol that is no position: a waypoint, a card, a push token.
    Other,
    /// To be set aside, with its reason.
    Bad(Reason),
}

/// An item and the piece of the body that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Index into `pieces` of the same body.
    pub piece: usize,
    /// What it is.
    pub item: Item,
}

/// How a body falls into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// The whole body is one piece.
    #[default]
    Whole,
    /// A JSON object, array, or one object a line.
    Json,
    /// Length-prefixed messages, or a single one.
    Protobuf,
}

/// A body that was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// Its items, in the order sent.
    pub entries: Vec<Entry>,
    /// How to find the bytes of an item again.
    pub shape: Shape,
    /// The device id that the body or the query carried.
    pub device_id: Option<String>,
    /// Which of the sender's devices, if the body says so.
    pub hint: Option<String>,
}

/// A body that could not be read as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not the format at all. Our own routes answer 400; phones are answered 2xx.
    #[error("the body is not {0}")]
    NotReadable(&'static str),
    /// More items than one request may carry. Answer 413: split it.
    #[error("more than {0} fixes in one request")]
    TooMany(usize),
}

/// What the routes hand to the decoder of a phone protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct PhoneRequest<'a> {
    /// The query without its question mark.
    pub query: &'a str,
    /// The value of `Content-Type`, empty when absent.
    pub content_type: &'a str,
    /// The body, inflated.
    pub body: &'a [u8],
    /// Most items that it may carry.
    pub items_max: usize,
}

/// The pieces of a body, to keep those that were set aside. Empty when it has none: then the
/// whole body is kept.
pub fn pieces(shape: Shape, body: &[u8], items_max: usize) -> Vec<&[u8]> {
    match shape {
        Shape::Whole => vec![body],
        Shape::Json => items::pieces(body, items_max).unwrap_or_default(),
        Shape::Protobuf => protobuf::pieces(body, items_max).unwrap_or_default(),
    }
}

/// True for a device id that is long enough to be a secret of 128 random bits: 22 characters of
/// base 64, 26 of base 32, 32 of hex. Whether it *is* one is for `Identity` to say.
pub fn could_be_secret(device_id: &str) -> bool {
    (22..=256).contains(&device_id.len())
}

fn entries_of(items: impl IntoIterator<Item = Item>) -> Vec<Entry> {
    items.into_iter().enumerate().map(|(piece, item)| Entry { piece, item }).collect()
}

#[cfg(test)]
mod tests;
