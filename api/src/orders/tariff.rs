//! What an order costs: dated tables, integer arithmetic, half-up to one franc.
//!
//! In:    kind, weight in grams or distance in metres, value of the goods.
//! Out:   the gross price and the lines it is made of.
//! Never: a float; a price from outside.

use inzira_schemas::states::OrderKind;
use inzira_schemas::{Currency, Micros, Money, Point};

use crate::error::ApiError;

/// Heaviest shipment, grams: 30 tonnes.
pub const WEIGHT_G_MAX: i64 = 30_000_000;
/// Farthest ride or delivery, metres.
pub const DISTANCE_M_MAX: i64 = 300_000;
/// Dearest goods, francs.
pub const GOODS_VALUE_MAX: i64 = 100_000_000;
/// A road is longer than the crow's way: hundredths.
const ROAD_FACTOR_HUNDREDTHS: f64 = 130.0;

/// Shipments: francs a kilogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShipmentTariff {
    /// Its name, kept with every order it priced.
    pub name: &'static str,
    /// From when it holds.
    pub from: Micros,
    /// Within Rwanda, RWF a kg.
    pub domestic_per_kg: i64,
    /// Across a border, RWF a kg.
    pub international_per_kg: i64,
}

/// Rides and deliveries: a base, then by the kilometre.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RideTariff {
    /// Its name, kept with every order it priced.
    pub name: &'static str,
    /// From when it holds.
    pub from: Micros,
    /// RWF for the first metres.
    pub base: i64,
    /// How many metres the base covers.
    pub base_m: i64,
    /// RWF a km up to `far_m`.
    pub per_km: i64,
    /// Where the far rate begins, metres.
    pub far_m: i64,
    /// RWF a km beyond.
    pub far_per_km: i64,
    /// Minutes of waiting that cost nothing.
    pub waiting_free_min: i64,
    /// RWF a minute after that.
    pub waiting_per_min: i64,
}

/// Newest last.
const SHIPMENT_TARIFFS: &[ShipmentTariff] = &[ShipmentTariff {
    name: "shipment-1",
    from: Micros(0),
    domestic_per_kg: 1_000,
    international_per_kg: 3_000,
}];

/// Newest last. 2022-08-22 is RURA's moto tariff.
const RIDE_TARIFFS: &[RideTariff] = &[RideTariff {
    name: "rura-moto-2022-08-22",
    from: Micros(0),
    base: 400,
    base_m: 2_000,
    per_km: 117,
    far_m: 40_000,
    far_per_km: 205,
    waiting_free_min: 10,
    waiting_per_min: 21,
}];

/// A price and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// What the payer pays.
    pub gross: Money,
    /// The tariff's name.
    pub tariff: &'static str,
    /// Metres, for rides and deliveries.
    pub distance_m: Option<i64>,
    /// Its parts, in francs.
    pub lines: Vec<(&'static str, i64)>,
}

/// What is priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Which kind.
    pub kind: OrderKind,
    /// Grams, for shipments.
    pub weight_g: Option<i64>,
    /// Metres, for rides and deliveries.
    pub distance_m: i64,
    /// Francs that a delivery collects for the vendor's goods.
    pub goods_value_minor: i64,
}

/// The price of a load at a moment.
pub fn price(load: Load, at: Micros) -> Result<Price, ApiError> {
    match load.kind {
        OrderKind::ShipmentDomestic | OrderKind::ShipmentInternational => shipment(load, at),
        OrderKind::Ride | OrderKind::Delivery => carried(load, at),
    }
}

fn shipment(load: Load, at: Micros) -> Result<Price, ApiError> {
    let weight_g = load
        .weight_g
        .filter(|weight_g| (1..=WEIGHT_G_MAX).contains(weight_g))
        .ok_or_else(|| ApiError::invalid("weight", "a shipment weighs 1 g to 30,000 kg"))?;
    let tariff = newest(SHIPMENT_TARIFFS, |tariff| tariff.from <= at)?;
    let per_kg = match load.kind {
        OrderKind::ShipmentInternational => tariff.international_per_kg,
        _ => tariff.domestic_per_kg,
    };
    let francs = half_up(weight_g * per_kg, 1_000);
    Ok(Price {
        gross: Money::new(francs, Currency::Rwf),
        tariff: tariff.name,
        distance_m: None,
        lines: vec![("weight", francs)],
    })
}

fn carried(load: Load, at: Micros) -> Result<Price, ApiError> {
    if !(0..=DISTANCE_M_MAX).contains(&load.distance_m) {
        return Err(ApiError::invalid("distance", "the way is longer than 300 km"));
    }
    if !(0..=GOODS_VALUE_MAX).contains(&load.goods_value_minor) {
        return Err(ApiError::invalid("goods_value", "goods are worth 0 to 100,000,000 RWF"));
    }
    let tariff = newest(RIDE_TARIFFS, |tariff| tariff.from <= at)?;
    let way = fare(tariff, load.distance_m);
    let mut lines = vec![("way", way)];
    if load.kind == OrderKind::Delivery && load.goods_value_minor > 0 {
        lines.push(("goods", load.goods_value_minor));
    }
    Ok(Price {
        gross: Money::new(lines.iter().map(|(_, francs)| francs).sum(), Currency::Rwf),
        tariff: tariff.name,
        distance_m: Some(load.distance_m),
        lines,
    })
}

fn newest<T>(tariffs: &'static [T], holds: impl Fn(&T) -> bool) -> Result<&'static T, ApiError> {
    tariffs
        .iter()
        .rev()
        .find(|tariff| holds(tariff))
        .ok_or_else(|| ApiError::Bug("no tariff holds".to_owned()))
}

/// The fare for a way of so many metres, francs.
pub fn fare(tariff: &RideTariff, distance_m: i64) -> i64 {
    let near_m = distance_m.min(tariff.far_m).saturating_sub(tariff.base_m).max(0);
    let far_m = distance_m.saturating_sub(tariff.far_m).max(0);
    half_up(tariff.base * 1_000 + near_m * tariff.per_km + far_m * tariff.far_per_km, 1_000)
}

/// The fee for waiting so many whole minutes, francs.
pub fn waiting_fee(tariff: &RideTariff, minutes: i64) -> i64 {
    minutes.saturating_sub(tariff.waiting_free_min).max(0) * tariff.waiting_per_min
}

/// The moto tariff that holds now.
pub fn ride_tariff(at: Micros) -> Result<&'static RideTariff, ApiError> {
    newest(RIDE_TARIFFS, |tariff| tariff.from <= at)
}

/// Metres of road between two points when no route is known: the great circle times 1.3.
pub fn road_distance_m(from: Point, to: Point) -> i64 {
    (from.distance_m(to) * ROAD_FACTOR_HUNDREDTHS / 100.0).round() as i64
}

/// Non-negative division that rounds a half up.
fn half_up(value: i64, by: i64) -> i64 {
    (value + by / 2).div_euclid(by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(kind: OrderKind) -> Load {
        Load { kind, weight_g: None, distance_m: 0, goods_value_minor: 0 }
    }

    fn francs(load: Load) -> i64 {
        price(load, Micros(1)).unwrap().gross.minor
    }

    #[test]
    fn a_shipment_costs_by_the_gram_half_up() {
        let weighing = |kind, grams| francs(Load { weight_g: Some(grams), ..load(kind) });
        assert_eq!(weighing(OrderKind::ShipmentDomestic, 1_000), 1_000);
        assert_eq!(weighing(OrderKind::ShipmentInternational, 1_000), 3_000);
        assert_eq!(weighing(OrderKind::ShipmentDomestic, 2_500), 2_500);
        assert_eq!(weighing(OrderKind::ShipmentInternational, 333), 999);
        assert_eq!(weighing(OrderKind::ShipmentDomestic, 1), 1);
    }

    #[test]
    fn a_shipment_without_a_weight_or_beyond_a_lorry_is_refused() {
        for weight_g in [None, Some(0), Some(-5), Some(WEIGHT_G_MAX + 1)] {
            let load = Load { weight_g, ..load(OrderKind::ShipmentDomestic) };
            assert!(price(load, Micros(1)).is_err(), "{weight_g:?}");
        }
    }

    #[test]
    fn a_ride_costs_as_rura_says() {
        let ride = |distance_m| francs(Load { distance_m, ..load(OrderKind::Ride) });
        assert_eq!(ride(0), 400);
        assert_eq!(ride(2_000), 400);
        assert_eq!(ride(3_000), 517);
        assert_eq!(ride(10_000), 400 + 8 * 117);
        assert_eq!(ride(40_000), 400 + 38 * 117);
        assert_eq!(ride(41_000), 400 + 38 * 117 + 205);
        // 2,500 m: 400 + 58.5, half up.
        assert_eq!(ride(2_500), 459);
        assert!(price(Load { distance_m: 300_001, ..load(OrderKind::Ride) }, Micros(1)).is_err());
    }

    #[test]
    fn a_delivery_costs_a_ride_and_the_goods() {
        let load =
            Load { distance_m: 3_000, goods_value_minor: 12_000, ..load(OrderKind::Delivery) };
        let price = price(load, Micros(1)).unwrap();
        assert_eq!(price.gross.minor, 12_517);
        assert_eq!(price.lines, vec![("way", 517), ("goods", 12_000)]);
    }

    #[test]
    fn ten_minutes_of_waiting_are_free() {
        let tariff = ride_tariff(Micros(1)).unwrap();
        assert_eq!(waiting_fee(tariff, 10), 0);
        assert_eq!(waiting_fee(tariff, 15), 105);
    }

    #[test]
    fn a_road_is_three_tenths_longer_than_the_crows_way() {
        let kigali = Point::new(-1.9441, 30.0619).unwrap();
        let huye = Point::new(-2.5967, 29.7394).unwrap();
        let road_m = road_distance_m(kigali, huye) as f64;
        assert!((road_m / kigali.distance_m(huye) - 1.3).abs() < 0.001);
    }

    proptest! {
        #[test]
        fn farther_never_costs_less(a in 0_i64..DISTANCE_M_MAX, b in 0_i64..DISTANCE_M_MAX) {
            let ride = |distance_m| francs(Load { distance_m, ..load(OrderKind::Ride) });
            prop_assert!(ride(a.min(b)) <= ride(a.max(b)));
        }
    }
}
