//! The flow from the outside: the cases of ARRIVING one by one, and the engine against the
//! oracle.

mod cases;
mod embedded;
mod engine;
mod real;

use inzira_event_log::{NewRecord, Record};
use inzira_schemas::{Event, Micros, Point, Topic, event_id, wire};

use crate::oracle::Oracle;
use crate::rules::Tick;
use crate::stages::{Item, Output};

/// The moment at which every test begins.
pub const START: Micros = Micros::from_secs(1_790_000_000);
/// Where orders go unless a test says otherwise.
pub const TARGET: Point = Point { lat: -1.95, lon: 30.06 };

/// A place so many metres north of the target.
pub fn north(metres: f64) -> Point {
    Point { lat: TARGET.lat + metres / 111_195.08, lon: TARGET.lon }
}

pub fn order(version: u32, state: &str, driver: &str, at_s: i64) -> wire::OrderEvent {
    order_of("ord_test0001", version, state, driver, at_s)
}

pub fn order_of(id: &str, version: u32, state: &str, driver: &str, at_s: i64) -> wire::OrderEvent {
    let at = START.plus_secs(at_s);
    wire::OrderEvent {
        envelope: Some(wire::Envelope::by_system(
            event_id(&[b"order", id.as_bytes(), &version.to_le_bytes()]),
            &format!("order.{state}"),
            at,
            at,
        )),
        order_id: id.to_owned(),
        state: state.to_owned(),
        driver_id: driver.to_owned(),
        pickup_lat: north(5_000.0).lat,
        pickup_lon: TARGET.lon,
        destination_lat: TARGET.lat,
        destination_lon: TARGET.lon,
        version,
        ..Default::default()
    }
}

/// A fix that reaches us a second after it was taken.
pub fn fix(driver: &str, at_s: i64, place: Point) -> wire::Fix {
    let (at, received) = (START.plus_secs(at_s), START.plus_secs(at_s + 1));
    let device = format!("dev_{}", driver.trim_start_matches("drv_"));
    let (lat, lon) = ((place.lat * 1e7).round() as i64, (place.lon * 1e7).round() as i64);
    let id = event_id(&[
        b"fix",
        device.as_bytes(),
        &at.0.to_le_bytes(),
        &lat.to_le_bytes(),
        &lon.to_le_bytes(),
    ]);
    wire::Fix {
        envelope: Some(wire::Envelope::by_system(id, "fix.accepted", at, received)),
        driver_id: driver.to_owned(),
        device_id: device,
        measured_at_us: at.0,
        received_at_us: received.0,
        time_source: "device".to_owned(),
        protocol: "json".to_owned(),
        lat: place.lat,
        lon: place.lon,
        accuracy_m: Some(8.0),
        ..Default::default()
    }
}

/// A fix that was on the way for `late_s` seconds.
pub fn late(fix: wire::Fix, late_s: i64) -> wire::Fix {
    wire::Fix { received_at_us: fix.measured_at_us + late_s * 1_000_000, ..fix }
}

/// A record as the log would hold it.
pub fn item(record: NewRecord, offset: u64) -> Item {
    let partition = record.partition();
    Item::of(Record {
        topic: record.topic,
        partition,
        offset,
        appended_at_us: 0,
        key: record.key,
        value: record.value,
        headers: record.headers,
    })
    .unwrap()
}

/// The oracle fed by hand, one record an epoch.
#[derive(Default)]
pub struct Hand {
    oracle: Oracle,
    offset: u64,
    epoch: u64,
    pub told: Vec<Output>,
}

impl Hand {
    pub fn order(&mut self, event: &wire::OrderEvent) {
        let at = Micros(event.envelope.as_ref().unwrap().occurred_at_us);
        self.put(NewRecord::of(event), at);
    }

    pub fn fix(&mut self, fix: &wire::Fix) {
        let aged_s = (fix.received_at_us - fix.measured_at_us) / 1_000_000;
        let topic = if aged_s > 300 { Topic::GpsBacklog } else { Topic::GpsFixes };
        self.put(NewRecord::on(topic, fix), Micros(fix.received_at_us));
    }

    /// Nothing comes, time passes.
    pub fn pass_until(&mut self, at_s: i64) {
        self.tick(START.plus_secs(at_s), Vec::new());
    }

    pub fn put(&mut self, record: NewRecord, at: Micros) {
        self.offset += 1;
        let item = item(record, self.offset);
        self.tick(at, vec![item]);
    }

    fn tick(&mut self, now: Micros, items: Vec<Item>) {
        self.epoch += 1;
        let tick = Tick { epoch: self.epoch, now, watermark: now };
        self.told.extend(self.oracle.epoch(&tick, items));
    }

    /// The kinds of tracking events so far, states of the order left out.
    pub fn alerts(&self) -> Vec<String> {
        self.events()
            .into_iter()
            .map(|event| event.envelope.unwrap().event_type)
            .filter(|kind| {
                !["ASSIGNED", "PICKED_UP", "DELIVERED", "CANCELLED"].contains(&kind.as_str())
            })
            .collect()
    }

    pub fn events(&self) -> Vec<wire::TrackingEvent> {
        self.of(Topic::TrackingEvents)
    }

    pub fn of<E: Event>(&self, topic: Topic) -> Vec<E> {
        self.told
            .iter()
            .filter(|output| output.topic() == topic)
            .map(|output| E::decode(output.value.clone()).unwrap())
            .collect()
    }
}
