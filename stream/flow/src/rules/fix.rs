//! Reads a fix from its bytes without copying: only the fields that the rules need.
//!
//! In:    protobuf bytes of `inzira.v1.Fix`.
//! Out:   a view into them.
//! Never: allocates; fails on fields that are newer than we are.

use inzira_schemas::Micros;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::smooth::RawFix;

/// The bytes are not a fix that can be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FixError {
    /// Not that message.
    #[error("not a fix: {0}")]
    Bytes(String),
    /// A field is missing or out of range.
    #[error("a fix without a usable {0}")]
    Field(&'static str),
}

/// A fix, borrowed from its record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FixView<'a> {
    /// The fix's event id.
    pub event_id: &'a str,
    /// Who.
    pub driver: &'a str,
    /// Which phone.
    pub device: &'a str,
    /// The device's own number.
    pub seq: Option<u64>,
    /// When we received it.
    pub received_at: Micros,
    /// The time was clamped to arrival since the phone's clock is ahead.
    pub clock_fast: bool,
    /// The rest.
    pub raw: RawFix,
}

impl<'a> FixView<'a> {
    /// Reads the view. Coordinates must be on the earth, ids must be there.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FixError> {
        let mut view = FixView {
            event_id: "",
            driver: "",
            device: "",
            seq: None,
            received_at: Micros(0),
            clock_fast: false,
            raw: RawFix {
                measured_at: Micros(0),
                lat: f64::NAN,
                lon: f64::NAN,
                accuracy_m: None,
                speed_mps: None,
                bearing_deg: None,
            },
        };
        // A zero is not written on the wire: the equator and Greenwich are places too.
        (view.raw.lat, view.raw.lon) = (0.0, 0.0);
        let mut buf = bytes;
        while !buf.is_empty() {
            let (tag, wire) = decode_key(&mut buf).map_err(|e| FixError::Bytes(e.to_string()))?;
            view.field(tag, wire, &mut buf)?;
        }
        view.checked()
    }

    fn field(&mut self, tag: u32, wire: WireType, buf: &mut &'a [u8]) -> Result<(), FixError> {
        match (tag, wire) {
            (1, WireType::LengthDelimited) => self.event_id = event_id_of(slice(buf)?)?,
            (2, WireType::LengthDelimited) => self.driver = text(buf)?,
            (3, WireType::LengthDelimited) => self.device = text(buf)?,
            (4, WireType::Varint) => self.seq = Some(varint(buf)?),
            (5, WireType::Varint) => self.raw.measured_at = Micros(varint(buf)? as i64),
            (6, WireType::Varint) => self.received_at = Micros(varint(buf)? as i64),
            (7, WireType::LengthDelimited) => self.clock_fast = slice(buf)? == b"clamped",
            (9, WireType::SixtyFourBit) => self.raw.lat = double(buf)?,
            (10, WireType::SixtyFourBit) => self.raw.lon = double(buf)?,
            (11, WireType::SixtyFourBit) => self.raw.accuracy_m = Some(double(buf)?),
            (13, WireType::SixtyFourBit) => self.raw.speed_mps = Some(double(buf)?),
            (14, WireType::SixtyFourBit) => self.raw.bearing_deg = Some(double(buf)?),
            _ => skip_field(wire, tag, buf, DecodeContext::default())
                .map_err(|e| FixError::Bytes(e.to_string()))?,
        }
        Ok(())
    }

    fn checked(mut self) -> Result<Self, FixError> {
        let raw = &mut self.raw;
        if !(-90.0..=90.0).contains(&raw.lat) || !(-180.0..=180.0).contains(&raw.lon) {
            return Err(FixError::Field("place"));
        }
        if raw.measured_at.0 <= 0 {
            return Err(FixError::Field("time"));
        }
        if self.driver.is_empty() {
            return Err(FixError::Field("driver"));
        }
        raw.accuracy_m = raw.accuracy_m.filter(|accuracy| accuracy.is_finite() && *accuracy > 0.0);
        raw.speed_mps = raw.speed_mps.filter(|speed| speed.is_finite() && *speed >= 0.0);
        raw.bearing_deg = raw.bearing_deg.filter(|bearing| bearing.is_finite());
        if self.received_at.0 <= 0 {
            self.received_at = raw.measured_at;
        }
        Ok(self)
    }
}

/// Field 1 of an envelope.
fn event_id_of(mut envelope: &[u8]) -> Result<&str, FixError> {
    let mut id = "";
    while !envelope.is_empty() {
        let (tag, wire) = decode_key(&mut envelope).map_err(|e| FixError::Bytes(e.to_string()))?;
        if (tag, wire) == (1, WireType::LengthDelimited) {
            id = text(&mut envelope)?;
            break;
        }
        skip_field(wire, tag, &mut envelope, DecodeContext::default())
            .map_err(|e| FixError::Bytes(e.to_string()))?;
    }
    Ok(id)
}

fn varint(buf: &mut &[u8]) -> Result<u64, FixError> {
    decode_varint(buf).map_err(|e| FixError::Bytes(e.to_string()))
}

fn double(buf: &mut &[u8]) -> Result<f64, FixError> {
    if buf.len() < 8 {
        return Err(FixError::Bytes("cut short".to_owned()));
    }
    Ok(buf.get_f64_le())
}

fn slice<'a>(buf: &mut &'a [u8]) -> Result<&'a [u8], FixError> {
    let length = varint(buf)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (head, tail) =
        buf.split_at_checked(length).ok_or_else(|| FixError::Bytes("cut short".to_owned()))?;
    *buf = tail;
    Ok(head)
}

fn text<'a>(buf: &mut &'a [u8]) -> Result<&'a str, FixError> {
    std::str::from_utf8(slice(buf)?).map_err(|_| FixError::Bytes("not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use inzira_schemas::wire;
    use prost::Message;

    #[test]
    fn the_view_reads_what_the_message_says() {
        let fix = wire::Fix {
            envelope: Some(wire::Envelope {
                event_id: "evt_1".to_owned(),
                event_type: "fix.accepted".to_owned(),
                ..Default::default()
            }),
            driver_id: "drv_abcd".to_owned(),
            device_id: "dev_abcd".to_owned(),
            seq: Some(7),
            measured_at_us: 1_000_000,
            received_at_us: 2_000_000,
            time_source: "clamped".to_owned(),
            lat: -1.95,
            lon: 30.06,
            accuracy_m: Some(8.0),
            altitude_m: Some(1_500.0),
            speed_mps: Some(0.0),
            bearing_deg: None,
            ..Default::default()
        };
        let bytes = fix.encode_to_vec();
        let view = FixView::decode(&bytes).unwrap();
        assert_eq!((view.event_id, view.driver, view.device), ("evt_1", "drv_abcd", "dev_abcd"));
        assert_eq!(
            (view.seq, view.received_at, view.clock_fast),
            (Some(7), Micros(2_000_000), true)
        );
        assert_eq!((view.raw.lat, view.raw.lon), (-1.95, 30.06));
        assert_eq!((view.raw.speed_mps, view.raw.bearing_deg), (Some(0.0), None));
    }

    #[test]
    fn bytes_that_are_no_fix_are_an_error_and_never_a_panic() {
        let good = wire::Fix {
            driver_id: "drv_abcd".to_owned(),
            measured_at_us: 5,
            lat: 1.0,
            lon: 1.0,
            ..Default::default()
        }
        .encode_to_vec();
        assert!(FixView::decode(&good).is_ok());
        for cut in 1..good.len() {
            let _ = FixView::decode(&good[..cut]);
        }
        assert!(FixView::decode(&[0xff; 40]).is_err());
        assert!(FixView::decode(&[]).is_err());
    }
}
