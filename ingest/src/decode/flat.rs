//! The flat parameters of OsmAnd and GPSLogger, from a query, a form, or a JSON object.
//!
//! In:    pairs of text, or JSON fields of the same names.
//! Out:   one struct with everything that is known by name. Unknown names are passed over.

use serde::Deserialize;

use super::moment::Moment;
use super::value::{Flag, Num, Word};

/// Everything that either protocol may send.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Flat {
    pub id: Word,
    pub deviceid: Word,
    pub device_id: Word,
    pub lat: Num,
    pub lon: Num,
    pub latitude: Num,
    pub longitude: Num,
    #[serde(skip)]
    pub location: Word,
    pub timestamp: Moment,
    pub timestamp_ms: Moment,
    pub time: Moment,
    pub speed: Num,
    pub speed_mps: Num,
    pub spd: Num,
    pub spd_kph: Num,
    pub s: Num,
    pub bearing: Num,
    pub heading: Num,
    pub dir: Num,
    pub altitude: Num,
    pub alt: Num,
    pub accuracy: Num,
    pub acc: Num,
    pub hdop: Num,
    pub batt: Num,
    pub valid: Flag,
    pub mock: Flag,
    pub aid: Word,
    pub ser: Word,
    pub seq: super::value::Count,
}

impl Flat {
    /// Reads `a=1&b=2`. A name that stands twice keeps its last value.
    pub fn read(&mut self, text: &[u8]) {
        for (name, value) in form_urlencoded::parse(text) {
            self.set(&name, &value);
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        let number = || Num::from_text(value);
        let word = || Word::from_text(value);
        match name {
            "id" => self.id = word(),
            "deviceid" => self.deviceid = word(),
            "device_id" => self.device_id = word(),
            "lat" => self.lat = number(),
            "lon" => self.lon = number(),
            "latitude" => self.latitude = number(),
            "longitude" => self.longitude = number(),
            "location" => self.location = word(),
            "timestamp" => self.timestamp = Moment::from_text(value),
            "timestamp_ms" => self.timestamp_ms = Moment::from_text(value),
            "time" => self.time = Moment::from_text(value),
            "speed" => self.speed = number(),
            "speed_mps" => self.speed_mps = number(),
            "spd" => self.spd = number(),
            "spd_kph" => self.spd_kph = number(),
            "s" => self.s = number(),
            "bearing" => self.bearing = number(),
            "heading" => self.heading = number(),
            "dir" => self.dir = number(),
            "altitude" => self.altitude = number(),
            "alt" => self.alt = number(),
            "accuracy" => self.accuracy = number(),
            "acc" => self.acc = number(),
            "hdop" => self.hdop = number(),
            "batt" => self.batt = number(),
            "valid" => self.valid = Flag::from_text(value),
            "mock" => self.mock = Flag::from_text(value),
            "aid" => self.aid = word(),
            "ser" => self.ser = word(),
            "seq" => self.seq = super::value::Count(value.trim().parse().ok()),
            _ => {}
        }
    }

    /// The device id, wherever it stands.
    pub fn device_id(&self) -> Option<&str> {
        [&self.id, &self.deviceid, &self.device_id].into_iter().find_map(|word| word.0.as_deref())
    }

    /// Latitude and longitude, wherever they stand.
    pub fn point(&self) -> (Num, Num) {
        let lat = self.lat.or(self.latitude);
        let lon = self.lon.or(self.longitude);
        match (lat, lon, self.location.0.as_deref().and_then(|text| text.split_once(','))) {
            (Num::Absent, Num::Absent, Some((lat, lon))) => {
                (Num::from_text(lat), Num::from_text(lon))
            }
            _ => (lat, lon),
        }
    }

    /// The time, wherever it stands: the finer writing first, so that a fix that is sent a
    /// second time under the same template gives the same moment.
    pub fn moment(&self) -> Moment {
        self.timestamp_ms.or(self.timestamp)
    }
}
