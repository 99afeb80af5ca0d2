//! Messages as phones really send them, and what they mean.
#![allow(clippy::unwrap_used)]

use inzira_schemas::Micros;
use proptest::prelude::*;

use super::*;

const MAX: usize = 20_000;

fn phone<'a>(query: &'a str, content_type: &'a str, body: &'a str) -> PhoneRequest<'a> {
    PhoneRequest { query, content_type, body: body.as_bytes(), items_max: MAX }
}

fn at(text: &str) -> DeviceTime {
    DeviceTime::At(Micros::parse_rfc3339(text).unwrap())
}

fn items_of(decoded: Decoded) -> Vec<Item> {
    decoded.entries.into_iter().map(|entry| entry.item).collect()
}

fn only_fix(decoded: Decoded) -> RawFix {
    match items_of(decoded).as_slice() {
        [Item::Fix(fix)] => fix.clone(),
        other => panic!("one fix expected, got {other:?}"),
    }
}

fn osmand_query(query: &str) -> Decoded {
    osmand::decode(phone(query, "", "")).unwrap()
}

#[test]
fn traccars_own_examples_read_as_traccar_reads_them() {
    let decoded = osmand_query(
        "id=123456&timestamp=1377177267&lat=60.0&lon=30.0&speed=0.0&bearing=0.0&altitude=0&hdop=0.0",
    );
    assert_eq!(decoded.device_id.as_deref(), Some("123456"));
    let expected = RawFix {
        measured_at: at("2013-08-22T13:14:27Z"),
        lat: 60.0,
        lon: 30.0,
        speed_mps: Some(0.0),
        bearing_deg: Some(0.0),
        altitude_m: Some(0.0),
        ..RawFix::default()
    };
    assert_eq!(only_fix(decoded), expected);

    let decoded = osmand_query(
        "lat=49.60688&lon=6.15788&timestamp=2014-06-04+09%3A10%3A11&altitude=384.7&speed=0.0&id=353861053849681",
    );
    let fix = only_fix(decoded);
    assert_eq!(fix.measured_at, at("2014-06-04T09:10:11Z"));
    assert_eq!(fix.altitude_m, Some(384.7));
}

#[test]
fn the_osmand_app_sends_metres_a_second_and_metres_of_hdop() {
    let app = "id=902064&lat=42.06288&lon=-88.23412&timestamp=1442068686579&hdop=6.0";
    let fix = only_fix(osmand_query(app));
    assert_eq!(fix.measured_at, DeviceTime::At(Micros(1_442_068_686_579_000)));
    assert_eq!((fix.accuracy_m, fix.speed_mps), (Some(6.0), None));
    let fix = only_fix(osmand_query(&format!("{app}&speed=10")));
    assert_eq!(fix.speed_mps, Some(10.0));
    // The same with a battery is Traccar Client, whose speed is knots and whose hdop is no metre.
    let fix = only_fix(osmand_query(&format!("{app}&speed=10&batt=50")));
    assert_eq!((fix.accuracy_m, fix.speed_mps), (None, Some(10.0 * 1852.0 / 3600.0)));
    let fix = only_fix(osmand_query(&format!("{app}&speed=10&accuracy=3")));
    assert_eq!((fix.accuracy_m, fix.speed_mps), (Some(3.0), Some(10.0 * 1852.0 / 3600.0)));
    let fix = only_fix(osmand_query("id=1&lat=1&lon=2&timestamp=1442068686&speed=10&speed_mps=4"));
    assert_eq!(fix.speed_mps, Some(4.0));
}

#[test]
fn traccar_client_10_posts_a_form() {
    let body = "id=48241179&lat=-1.9441&lon=30.0619&timestamp=1750000000&accuracy=12.5\
                &altitude=1500.5&speed=19.44&bearing=271.5&batt=83.0&charge=false";
    let decoded = osmand::decode(phone("", "application/x-www-form-urlencoded", body)).unwrap();
    assert_eq!(decoded.device_id.as_deref(), Some("48241179"));
    let fix = only_fix(decoded);
    assert_eq!(fix.accuracy_m, Some(12.5));
    assert_eq!(fix.battery_pct, Some(83.0));
    assert!((fix.speed_mps.unwrap() - 10.0).abs() < 0.01, "{fix:?}");
}

#[test]
fn a_message_without_coordinates_is_a_sign_of_life() {
    for query in [
        "id=1&timestamp=1750000000",
        "id=1&timestamp=1750000000&batt=50",
        "id=1&notificationToken=x",
    ] {
        assert_eq!(items_of(osmand_query(query)), [Item::Heartbeat], "{query}");
    }
    assert_eq!(items_of(osmand_query("id=1&lat=1")), [Item::Bad(Reason::NoPosition)]);
    assert_eq!(items_of(osmand_query("id=1&lat=a&lon=b")), [Item::Bad(Reason::NoPosition)]);
    let fix = only_fix(osmand_query("id=1&location=-1.5,30.25&valid=false"));
    assert_eq!((fix.lat, fix.lon, fix.declared_invalid), (-1.5, 30.25, true));
    assert_eq!(fix.measured_at, DeviceTime::Absent);
}

const CLIENT_9: &str = r#"{"location":{"timestamp":"2025-06-15T13:45:12.862Z",
  "coords":{"latitude":37.4219983,"longitude":-122.084,"accuracy":5,"speed":0,"heading":-1,"altitude":5},
  "is_moving":false,"odometer":0,"event":"motionchange",
  "battery":{"level":1,"is_charging":false},"activity":{"type":"still"},
  "extras":{},"_":"&id=48241179&lat=37.4219983&lon=-122.084&timestamp=2025-06-15T13:45:12.862Z&"},
 "device_id":"48241179"}"#;

fn client_9_fix() -> RawFix {
    RawFix {
        measured_at: at("2025-06-15T13:45:12.862Z"),
        lat: 37.4219983,
        lon: -122.084,
        accuracy_m: Some(5.0),
        altitude_m: Some(5.0),
        speed_mps: Some(0.0),
        battery_pct: Some(100.0),
        ..RawFix::default()
    }
}

#[test]
fn traccar_client_9_posts_json_where_minus_one_is_unknown() {
    let decoded = osmand::decode(phone("", "application/json", CLIENT_9)).unwrap();
    assert_eq!(decoded.device_id.as_deref(), Some("48241179"));
    assert_eq!(only_fix(decoded), client_9_fix());
    let mocked = CLIENT_9.replace("\"is_moving\"", "\"mock\":true,\"is_moving\"");
    let fix = only_fix(osmand::decode(phone("", "application/json", &mocked)).unwrap());
    assert!(fix.mock);
    let no_coords = r#"{"location":{"timestamp":"2025-06-15T13:45:12.862Z","extras":{"heartbeat":true}},"device_id":"1"}"#;
    let decoded = osmand::decode(phone("", "application/json", no_coords)).unwrap();
    assert_eq!(items_of(decoded), [Item::Heartbeat]);
}

#[test]
fn background_geolocation_sends_an_array_of_locations() {
    let one = |n: u32| {
        format!(
            r#"{{"uuid":"u{n}","timestamp":"2025-06-15T13:45:{n:02}Z","coords":{{"latitude":-1.9,"longitude":30.0,"accuracy":8.2,"speed":-1,"heading":90.0}},"battery":{{"level":-1}}}}"#
        )
    };
    let body = format!(r#"{{"location":[{},{},7],"device_id":"abc"}}"#, one(1), one(2));
    let decoded = osmand::decode(phone("", "application/json", &body)).unwrap();
    assert_eq!(decoded.device_id.as_deref(), Some("abc"));
    let items = items_of(decoded);
    let Item::Fix(fix) = &items[1] else { panic!("{items:?}") };
    assert_eq!(fix.measured_at, at("2025-06-15T13:45:02Z"));
    assert_eq!((fix.speed_mps, fix.bearing_deg, fix.battery_pct), (None, Some(90.0), None));
    assert_eq!(items[2], Item::Bad(Reason::Unreadable));
}

#[test]
fn an_array_of_flat_objects_is_welcome_but_not_from_another_device() {
    let body = r#"[{"id":"a","lat":"1.5","lon":2,"timestamp":1750000000,"speed":10},
                   {"id":"a","lat":1.6,"lon":2,"timestamp":1750000001},
                   {"id":"b","lat":1.7,"lon":2,"timestamp":1750000002}]"#;
    let decoded = osmand::decode(phone("", "application/json", body)).unwrap();
    assert_eq!(decoded.device_id.as_deref(), Some("a"));
    let items = items_of(decoded);
    let Item::Fix(fix) = &items[0] else { panic!("{items:?}") };
    assert_eq!(fix.speed_mps, Some(10.0 * 1852.0 / 3600.0));
    assert!(matches!(items[1], Item::Fix(_)));
    assert_eq!(items[2], Item::Bad(Reason::OtherDevice));
}

#[test]
fn owntracks_speed_is_kilometres_an_hour_and_its_time_is_the_fix() {
    let body = r#"{"_type":"location","lat":48.856826,"lon":2.292713,"tst":1456212791,"tid":"JJ",
      "acc":12,"alt":154,"vac":5,"vel":54,"cog":271,"batt":11,"bs":1,"conn":"m","t":"u","m":2,
      "created_at":1456212795,"topic":"owntracks/jane/phone","inregions":["Home"],"inrids":["6da9cf"],
      "_id":"x","motionactivities":["automotive"]}"#;
    let decoded = owntracks::decode(body.as_bytes(), MAX).unwrap();
    assert_eq!(decoded.hint.as_deref(), Some("phone"));
    let expected = RawFix {
        measured_at: DeviceTime::At(Micros::from_secs(1_456_212_791)),
        lat: 48.856826,
        lon: 2.292713,
        accuracy_m: Some(12.0),
        altitude_m: Some(154.0),
        speed_mps: Some(15.0),
        bearing_deg: Some(271.0),
        battery_pct: Some(11.0),
        ..RawFix::default()
    };
    assert_eq!(only_fix(decoded), expected);
}

#[test]
fn owntracks_other_messages_are_no_positions_and_an_empty_body_is_nothing() {
    for kind in
        ["lwt", "waypoint", "waypoints", "transition", "card", "cmd", "dump", "status", "steps"]
    {
        let body = format!(r#"{{"_type":"{kind}","tst":1,"lat":1.0,"lon":2.0}}"#);
        assert_eq!(items_of(owntracks::decode(body.as_bytes(), MAX).unwrap()), [Item::Other]);
    }
    assert!(items_of(owntracks::decode(b"", MAX).unwrap()).is_empty());
    let body = br#"[{"_type":"location","lat":1,"lon":2,"tst":1456212791},{"_type":"encrypted","data":"x"},3]"#;
    let items = items_of(owntracks::decode(body, MAX).unwrap());
    let Item::Fix(fix) = &items[0] else { panic!("{items:?}") };
    assert_eq!((fix.accuracy_m, fix.speed_mps, fix.bearing_deg), (None, None, None));
    assert_eq!(items[1..], [Item::Bad(Reason::Encrypted), Item::Bad(Reason::Unreadable)]);
}

#[test]
fn gpslogger_speaks_in_three_templates() {
    let default = "lat=60.387&longitude=5.3221&time=2016-08-11T10:15:32.000Z&s=3.5";
    let fix = only_fix(gpslogger::decode(phone(default, "", "")).unwrap());
    assert_eq!((fix.lat, fix.lon, fix.speed_mps), (60.387, 5.3221, Some(3.5)));
    assert_eq!(fix.measured_at, at("2016-08-11T10:15:32Z"));

    let all = "lat=60.387&lon=5.3221&sat=9&desc=&alt=46.0&acc=8.0&dir=211.5&prov=gps&spd_kph=12.6\
        &spd=3.5&timestamp=1470910532&timeoffset=2016-08-11T12:15:32.000%2B02:00\
        &time=2016-08-11T10:15:32.000Z&starttimestamp=1470910500&date=2016-08-11&batt=72.0\
        &ischarging=false&aid=9774d56d682e549c&ser=abc&act=&filename=20160811&profile=Default\
        &hdop=1.1&vdop=1&pdop=1.2&dist=12&";
    let decoded = gpslogger::decode(phone("", "", all)).unwrap();
    assert_eq!(decoded.hint.as_deref(), Some("9774d56d682e549c"));
    let fix = only_fix(decoded);
    assert_eq!(fix.measured_at, at("2016-08-11T10:15:32Z"));
    assert_eq!(
        (fix.accuracy_m, fix.bearing_deg, fix.altitude_m),
        (Some(8.0), Some(211.5), Some(46.0))
    );
    assert_eq!((fix.speed_mps, fix.battery_pct), (Some(3.5), Some(72.0)));

    let like_osmand = "id=DEV&lat=1&lon=2&timestamp=1470910532&accuracy=8&bearing=9&altitude=3&batt=72&speed_mps=2";
    let decoded = gpslogger::decode(phone(like_osmand, "", "")).unwrap();
    assert_eq!(decoded.device_id.as_deref(), Some("DEV"));
    assert_eq!(only_fix(decoded).speed_mps, Some(2.0));
    let kph = only_fix(gpslogger::decode(phone("lat=1&lon=2&spd_kph=36", "", "")).unwrap());
    assert_eq!(kph.speed_mps, Some(10.0));
}

#[test]
fn our_json_is_one_fix_an_array_or_a_line_each() {
    let one = r#"{"driver_id":"drv_x","seq":7,"measured_at":"2025-06-15T13:45:12Z","lat":-1.9,"lon":30.1,
        "accuracy_m":5,"speed_mps":-1,"bearing_deg":359.5}"#;
    let fix = only_fix(json::decode(one.as_bytes(), MAX).unwrap());
    assert_eq!((fix.seq, fix.speed_mps, fix.bearing_deg), (Some(7), None, Some(359.5)));
    assert_eq!(fix.measured_at, at("2025-06-15T13:45:12Z"));

    let flat = one.replace('\n', " ");
    let lines = format!(
        "{flat}\n\n{}\r\nnot json\n{flat}",
        flat.replace("\"2025-06-15T13:45:12Z\"", "1750000000123")
    );
    let items = items_of(json::decode(lines.as_bytes(), MAX).unwrap());
    assert_eq!(items.len(), 4);
    assert_eq!(items[2], Item::Bad(Reason::Unreadable));
    let Item::Fix(fix) = &items[1] else { panic!("{items:?}") };
    assert_eq!(fix.measured_at, DeviceTime::At(Micros(1_750_000_000_123_000)));

    let array = format!("[{one}, 5, null, {{}}, {{\"lat\":1e400,\"lon\":2}}, {one}]");
    let decoded = json::decode(array.as_bytes(), MAX).unwrap();
    let pieces = pieces(decoded.shape, array.as_bytes(), MAX);
    assert_eq!(pieces[1], b"5");
    let items = items_of(decoded);
    assert_eq!(items.len(), 6);
    assert!(matches!((&items[0], &items[5]), (Item::Fix(_), Item::Fix(_))));
    assert_eq!(items[3], Item::Bad(Reason::NoPosition));
    assert_eq!(items[4], Item::Bad(Reason::Unreadable));
}

#[test]
fn a_body_that_is_not_json_is_told_from_one_with_bad_items() {
    let deep = "[".repeat(100_000);
    for body in ["", "  ", "lat=1", "<xml/>", "{", "[{\"lat\":1}", "\u{0}", deep.as_str()] {
        assert_eq!(
            json::decode(body.as_bytes(), MAX),
            Err(BodyError::NotReadable("JSON")),
            "{body:.20}"
        );
    }
    for body in ["null", "12", "\"x\"", "[1]", "{}"] {
        let items = items_of(json::decode(body.as_bytes(), MAX).unwrap());
        assert!(matches!(items.as_slice(), [Item::Bad(_)]), "{body}: {items:?}");
    }
    assert!(items_of(json::decode(b"[]", MAX).unwrap()).is_empty());
    assert_eq!(json::decode(b"[1,2,3]", 2), Err(BodyError::TooMany(2)));
    assert_eq!(json::decode(b"{}\n{}\n{}", 2), Err(BodyError::TooMany(2)));
    assert_eq!(json::decode(b"[1,2]", 2).map(|decoded| decoded.entries.len()), Ok(2));
    let bom = b"\xef\xbb\xbf{\"lat\":1,\"lon\":2}";
    assert!(matches!(items_of(json::decode(bom, MAX).unwrap())[..], [Item::Fix(_)]));
}

#[test]
fn protobuf_is_a_list_or_a_single_fix() {
    use inzira_schemas::wire::{DeviceFix, DeviceFixes};
    use prost::Message as _;
    let fix = DeviceFix {
        seq: Some(3),
        measured_at_us: 1_750_000_000_000_000,
        lat: -1.5,
        lon: 30.5,
        accuracy_m: Some(-1.0),
        speed_mps: Some(4.5),
        ..DeviceFix::default()
    };
    let single = protobuf::decode(&fix.encode_to_vec(), MAX).unwrap();
    let list = DeviceFixes { fixes: vec![fix, fix] }.encode_to_vec();
    let many = items_of(protobuf::decode(&list, MAX).unwrap());
    let expected = RawFix {
        seq: Some(3),
        measured_at: DeviceTime::At(Micros(1_750_000_000_000_000)),
        lat: -1.5,
        lon: 30.5,
        speed_mps: Some(4.5),
        ..RawFix::default()
    };
    assert_eq!(only_fix(single), expected);
    assert_eq!(many, [Item::Fix(expected.clone()), Item::Fix(expected)]);
    let without_seq = DeviceFix { seq: None, ..fix }.encode_to_vec();
    assert_eq!(only_fix(protobuf::decode(&without_seq, MAX).unwrap()).seq, None);
    assert_eq!(protobuf::decode(&list, 1), Err(BodyError::TooMany(1)));
    assert_eq!(protobuf::decode(b"hello", MAX), Err(BodyError::NotReadable("protobuf")));
    assert_eq!(protobuf::decode(b"\x0a\x7fxx", MAX), Err(BodyError::NotReadable("protobuf")));
}

proptest! {
    #[test]
    fn no_bytes_panic_a_decoder(body in proptest::collection::vec(any::<u8>(), 0..400), query in ".{0,80}") {
        let text = String::from_utf8_lossy(&body).into_owned();
        let request = PhoneRequest { query: &query, content_type: "", body: &body, items_max: 5 };
        let _ = (json::decode(&body, 5), protobuf::decode(&body, 5), owntracks::decode(&body, 5));
        let _ = (osmand::decode(request), gpslogger::decode(request));
        let _ = osmand::decode(phone("", "application/json", &text));
        for shape in [Shape::Whole, Shape::Json, Shape::Protobuf] {
            let _ = pieces(shape, &body, 5);
        }
    }

    #[test]
    fn no_damage_to_a_real_message_panics_a_decoder(
        at in 0_usize..480, byte in any::<u8>(), cut in 0_usize..480,
    ) {
        let mut body = CLIENT_9.as_bytes().to_vec();
        let at = at % body.len();
        body[at] = byte;
        for body in [&body[..], &body[..cut.min(body.len())]] {
            let request = PhoneRequest { query: "", content_type: "application/json", body, items_max: 5 };
            let _ = (json::decode(body, 5), owntracks::decode(body, 5));
            let _ = (osmand::decode(request), gpslogger::decode(request));
        }
    }

    #[test]
    fn every_item_has_its_piece(lines in proptest::collection::vec("[{\\[\\]}:,\"a0 ]{0,8}", 0..6)) {
        let body = format!("{{\"lat\":1,\"lon\":2}}\n{}", lines.join("\n"));
        if let Ok(decoded) = json::decode(body.as_bytes(), 50) {
            let pieces = pieces(decoded.shape, body.as_bytes(), 50);
            prop_assert_eq!(pieces.len(), decoded.entries.len());
        }
    }
}
