//! GPX 1.0 and 1.1: `trkpt` with `time`, `ele`, `speed`, `course`.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{TracePoint, Traces, instant, number, place};

/// `None` when it is no GPX.
pub(super) fn parse(text: &str, name: &str) -> Option<Traces> {
    let mut reader = Reader::from_str(text);
    let (mut points, mut skipped, mut is_gpx) = (Vec::new(), 0, false);
    let mut open: Option<OpenPoint> = None;
    let mut element = Vec::new();
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                element = start.local_name().as_ref().to_vec();
                is_gpx |= element == b"gpx";
                if element == b"trkpt" {
                    open = Some(OpenPoint::of(&start));
                }
            }
            Ok(Event::Empty(start)) if start.local_name().as_ref() == b"trkpt" => skipped += 1,
            Ok(Event::Text(text)) => {
                if let (Some(point), Ok(text)) = (open.as_mut(), text.decode()) {
                    point.fill(&element, &text);
                }
            }
            Ok(Event::End(end)) => {
                element.clear();
                if end.local_name().as_ref() == b"trkpt" {
                    match open.take().and_then(OpenPoint::close) {
                        Some(point) => points.push(point),
                        None => skipped += 1,
                    }
                }
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    is_gpx.then(|| Traces::one(name, points, skipped))
}

/// A `trkpt` whose end has not come yet.
struct OpenPoint {
    place: Option<(f64, f64)>,
    point: TracePoint,
    timed: bool,
}

impl OpenPoint {
    fn of(start: &BytesStart<'_>) -> Self {
        let attribute = |name: &str| {
            let value = start.try_get_attribute(name).ok().flatten()?;
            number(std::str::from_utf8(&value.value).ok()?)
        };
        Self {
            place: place(attribute("lat"), attribute("lon")),
            point: TracePoint::default(),
            timed: false,
        }
    }

    fn fill(&mut self, element: &[u8], text: &str) {
        match element {
            b"time" => {
                if let Some(measured_at) = instant(text) {
                    self.point.measured_at = measured_at;
                    self.timed = true;
                }
            }
            b"ele" => self.point.altitude_m = number(text),
            b"speed" => self.point.speed_mps = number(text),
            b"course" => self.point.bearing_deg = number(text),
            _ => {}
        }
    }

    fn close(self) -> Option<TracePoint> {
        let (lat, lon) = self.place?;
        self.timed.then_some(TracePoint { lat, lon, ..self.point })
    }
}
