//! What somebody asks for, checked before anything is written.
//!
//! In:    the body of `POST quotes` and `POST orders`.
//! Out:   points on the earth, a weight in grams, a phone in its one spelling; 422 otherwise.
//! Never: takes a price, a state or an owner from outside.

use inzira_schemas::states::OrderKind;
use inzira_schemas::{Micros, Point};
use serde::Deserialize;
use serde_json::Number;

use crate::error::ApiError;
use crate::http::guard::Person;
use crate::orders::tariff::{Load, road_distance_m};

/// Countries of the East African Community.
const EAC: [&str; 8] = ["BI", "CD", "KE", "RW", "SO", "SS", "TZ", "UG"];
/// Longest free text.
const TEXT_CHARS_MAX: usize = 300;

/// A place as it is wished for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Latitude, degrees.
    pub lat: f64,
    /// Longitude, degrees.
    pub lon: f64,
    /// What a person would call it.
    #[serde(default)]
    pub address: Option<String>,
}

/// What is to be carried; the same words in a quote and an order.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuoteWish {
    /// `shipment_domestic`, `shipment_international`, `ride`, `delivery`.
    pub kind: String,
    /// Where it is fetched.
    pub pickup: Place,
    /// Where it goes.
    pub destination: Place,
    /// Grams.
    #[serde(default)]
    pub weight_g: Option<i64>,
    /// Kilograms with up to three decimals, instead of grams.
    #[serde(default)]
    pub weight_kg: Option<Number>,
    /// Metres of road; operators only, else it is reckoned.
    #[serde(default)]
    pub distance_m: Option<i64>,
    /// Francs that a delivery collects for its goods.
    #[serde(default)]
    pub goods_value_minor: i64,
    /// Where a shipment goes, ISO 3166.
    #[serde(default)]
    pub destination_country: Option<String>,
}

/// The body of `POST orders`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderWish {
    /// Made by the client, so that it can retry for hours.
    #[serde(default)]
    pub order_id: Option<String>,
    /// When the client made it, RFC 3339.
    #[serde(default)]
    pub created_at: Option<String>,
    /// `shipment_domestic`, `shipment_international`, `ride`, `delivery`.
    pub kind: String,
    /// Where it is fetched.
    pub pickup: Place,
    /// Where it goes.
    pub destination: Place,
    /// Grams.
    #[serde(default)]
    pub weight_g: Option<i64>,
    /// Kilograms with up to three decimals, instead of grams.
    #[serde(default)]
    pub weight_kg: Option<Number>,
    /// Metres of road; operators only, else it is reckoned.
    #[serde(default)]
    pub distance_m: Option<i64>,
    /// Francs that a delivery collects for its goods.
    #[serde(default)]
    pub goods_value_minor: i64,
    /// Where a shipment goes, ISO 3166.
    #[serde(default)]
    pub destination_country: Option<String>,
    /// Where a shipment leaves the country.
    #[serde(default)]
    pub border_post: Option<String>,
    /// Chapter of the Harmonized System, `01` to `97`.
    #[serde(default)]
    pub goods_class: Option<String>,
    /// Whom the order is for; own number when absent.
    #[serde(default)]
    pub phone: Option<String>,
    /// Who pays; `phone` when absent.
    #[serde(default)]
    pub payer_phone: Option<String>,
    /// Whose goods are delivered.
    #[serde(default)]
    pub vendor_id: Option<String>,
    /// A word to the driver.
    #[serde(default)]
    pub note: Option<String>,
    /// A price that was quoted.
    #[serde(default)]
    pub quote_id: Option<String>,
    /// Ask for the money at once.
    #[serde(default = "yes")]
    pub pay: bool,
}

const fn yes() -> bool {
    true
}

/// A checked wish.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Which kind.
    pub kind: OrderKind,
    /// Where it is fetched.
    pub pickup: Point,
    /// Where it goes.
    pub destination: Point,
    /// What is priced.
    pub load: Load,
    /// Where it goes, ISO 3166.
    pub destination_country: String,
}

impl OrderWish {
    /// The part that is priced.
    pub fn quote_wish(&self) -> QuoteWish {
        QuoteWish {
            kind: self.kind.clone(),
            pickup: self.pickup.clone(),
            destination: self.destination.clone(),
            weight_g: self.weight_g,
            weight_kg: self.weight_kg.clone(),
            distance_m: self.distance_m,
            goods_value_minor: self.goods_value_minor,
            destination_country: self.destination_country.clone(),
        }
    }

    /// Checks what an order has beside its price.
    pub fn check_rest(&self) -> Result<(), ApiError> {
        for text in [&self.pickup.address, &self.destination.address, &self.note] {
            if text.as_ref().is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX) {
                return Err(ApiError::invalid(
                    "text",
                    "addresses and notes have up to 300 letters",
                ));
            }
        }
        if let Some(class) = &self.goods_class
            && !(class.len() == 2 && class.parse::<u8>().is_ok_and(|n| (1..=97).contains(&n)))
        {
            return Err(ApiError::invalid("goods_class", "a goods class is 01 to 97"));
        }
        let plain = |text: &String| {
            (1..=40).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '-')
        };
        if self.border_post.as_ref().is_some_and(|post| !plain(post)) {
            return Err(ApiError::invalid("border_post", "a border post is a name like gatuna"));
        }
        Ok(())
    }

    /// When the client made it, if it says so.
    pub fn client_created_at(&self) -> Result<Option<Micros>, ApiError> {
        let Some(text) = &self.created_at else { return Ok(None) };
        Micros::parse_rfc3339(text)
            .map(Some)
            .ok_or_else(|| ApiError::invalid("created_at", "created_at is RFC 3339"))
    }
}

impl QuoteWish {
    /// Checks and completes what is to be priced.
    pub fn check(&self, person: &Person) -> Result<Checked, ApiError> {
        let kind = OrderKind::parse(&self.kind).ok_or_else(|| {
            ApiError::invalid(
                "kind",
                "kind is shipment_domestic, shipment_international, ride or delivery",
            )
        })?;
        let (pickup, destination) = (point(&self.pickup)?, point(&self.destination)?);
        if self.distance_m.is_some() && !person.is_desk() {
            return Err(ApiError::invalid("distance_m", "only operators set the distance"));
        }
        let is_shipment =
            matches!(kind, OrderKind::ShipmentDomestic | OrderKind::ShipmentInternational);
        let weight_g = self.grams()?;
        if is_shipment && weight_g.is_none() {
            return Err(ApiError::invalid("weight", "a shipment needs weight_g or weight_kg"));
        }
        if self.goods_value_minor != 0 && kind != OrderKind::Delivery {
            return Err(ApiError::invalid("goods_value", "only a delivery has a goods value"));
        }
        let load = Load {
            kind,
            weight_g,
            distance_m: self.distance_m.unwrap_or_else(|| road_distance_m(pickup, destination)),
            goods_value_minor: self.goods_value_minor,
        };
        let destination_country = self.country(kind)?;
        Ok(Checked { kind, pickup, destination, load, destination_country })
    }

    fn grams(&self) -> Result<Option<i64>, ApiError> {
        match (self.weight_g, &self.weight_kg) {
            (Some(_), Some(_)) => {
                Err(ApiError::invalid("weight", "send weight_g or weight_kg, not both"))
            }
            (Some(grams), None) => Ok(Some(grams)),
            (None, Some(number)) => grams_of_kilograms(&number.to_string())
                .map(Some)
                .ok_or_else(|| ApiError::invalid("weight", "weight_kg has up to three decimals")),
            (None, None) => Ok(None),
        }
    }

    fn country(&self, kind: OrderKind) -> Result<String, ApiError> {
        let asked = self.destination_country.as_deref();
        match kind {
            OrderKind::ShipmentInternational => asked
                .filter(|code| EAC.contains(code) && *code != "RW")
                .map(str::to_owned)
                .ok_or_else(|| {
                    ApiError::invalid(
                        "destination_country",
                        "an international shipment goes to BI, CD, KE, SO, SS, TZ or UG",
                    )
                }),
            _ if asked.is_none_or(|code| code == "RW") => Ok("RW".to_owned()),
            _ => Err(ApiError::invalid(
                "destination_country",
                "only a shipment_international leaves the country",
            )),
        }
    }
}

/// `2.5` as 2,500 g, without a float in between.
fn grams_of_kilograms(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = part.trim_end_matches('0');
    if part.len() > 3 || whole.is_empty() || whole.len() > 9 {
        return None;
    }
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let part: i64 = if part.is_empty() { 0 } else { format!("{part:0<3}").parse().ok()? };
    Some(whole.parse::<i64>().ok()? * 1_000 + part)
}

fn point(place: &Place) -> Result<Point, ApiError> {
    Point::new(place.lat, place.lon)
        .filter(|point| point.lat != 0.0 || point.lon != 0.0)
        .ok_or_else(|| {
            ApiError::invalid("coordinates", "lat is -90 to 90 and lon -180 to 180, not both 0")
        })
}

#[cfg(test)]
mod tests {
    use super::grams_of_kilograms;

    #[test]
    fn kilograms_become_grams_without_rounding() {
        for (text, grams) in
            [("2.5", Some(2_500)), ("0.001", Some(1)), ("7", Some(7_000)), ("1.50", Some(1_500))]
        {
            assert_eq!(grams_of_kilograms(text), grams, "{text}");
        }
        for text in ["0.0001", "-1", "1e3", "", ".5", "1.2.3", "NaN"] {
            assert_eq!(grams_of_kilograms(text), None, "{text}");
        }
    }
}
