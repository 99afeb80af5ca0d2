//! What the rollup writes down: payments, orders, and a fact for each captured payment.
//!
//! In:    rows of payment and order events.
//! Out:   groups by cell and currency.
//! Keeps: facts by the hour of capture, so that a range touches only its own hours.
//! Never: depends on the order or the repeats of events.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use inzira_schemas::states::OrderState;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::sums::{Sums, Words};
use super::{Group, HeatmapRequest};
use crate::h3;

const HOUR_US: i64 = 3_600_000_000;

/// Keys of 128 bits that are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }
    fn write_u128(&mut self, number: u128) {
        self.0 = number as u64;
    }
}

type ById<T> = HashMap<u128, T, BuildHasherDefault<AsIs>>;

/// The rollup's books.
#[derive(Debug, Default)]
pub struct Books {
    payments: ById<Payment>,
    orders: ById<Order>,
    /// Facts by the hour of capture since 1970.
    hours: BTreeMap<i64, Vec<Fact>>,
    kinds: Words,
    currencies: Words,
}

#[derive(Debug)]
struct Payment {
    captured_at_us: Option<i64>,
    captured_minor: i64,
    refunded_minor: i64,
    currency: u16,
    /// Hour and index of its fact.
    slot: Option<(i64, u32)>,
}

#[derive(Debug)]
struct Order {
    newest: i64,
    place: Place,
    driver_newest: i64,
    payments: Vec<u128>,
}

/// What a fact takes from its order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Cell at resolution 9; 0 when unknown.
    pub pickup: i64,
    /// Cell at resolution 9; 0 when unknown.
    pub destination: i64,
    /// Number of the kind; 0 when unknown.
    pub kind: u16,
    /// Hash of the customer's id; 0 for none.
    pub customer: u64,
    /// Hash of the driver's id; 0 for none.
    pub driver: u64,
}

/// A captured payment.
#[derive(Debug, Clone, Copy)]
pub struct Fact {
    /// First capture, microseconds UTC.
    pub captured_at_us: i64,
    /// Minor units.
    pub captured_minor: i64,
    /// Minor units.
    pub refunded_minor: i64,
    /// Number of the currency.
    pub currency: u16,
    /// From its order.
    pub place: Place,
}

impl Books {
    /// Payments and orders held.
    pub fn len(&self) -> usize {
        self.payments.len() + self.orders.len()
    }

    /// Takes payment events; `None` when a column is missing.
    pub fn take_payments(&mut self, rows: &RecordBatch) -> Option<()> {
        let columns = Columns::of(rows);
        let (ids, orders) = (columns.texts("payment_id")?, columns.texts("order_id")?);
        let (states, currencies) = (columns.texts("state")?, columns.texts("currency")?);
        let amounts = columns.numbers("amount_minor")?;
        let refunds = columns.numbers("refunded_minor")?;
        let at = columns.numbers("occurred_at")?;
        for row in 0..rows.num_rows() {
            let key = xxh3_128(ids.value(row).as_bytes());
            let order = xxh3_128(orders.value(row).as_bytes());
            let currency = self.currencies.number(currencies.value(row));
            let payment = self.payments.entry(key).or_insert(Payment {
                captured_at_us: None,
                captured_minor: i64::MIN,
                refunded_minor: i64::MIN,
                currency,
                slot: None,
            });
            payment.refunded_minor = payment.refunded_minor.max(refunds.value(row));
            if states.value(row) == "captured" {
                let at = at.value(row);
                payment.captured_at_us = Some(payment.captured_at_us.map_or(at, |old| old.min(at)));
                payment.captured_minor = payment.captured_minor.max(amounts.value(row));
            }
            let order = self.orders.entry(order).or_insert_with(Order::unknown);
            if !order.payments.contains(&key) {
                order.payments.push(key);
            }
            let place = order.place;
            settle(&mut self.hours, self.payments.get_mut(&key)?, place);
        }
        Some(())
    }

    /// Takes order events; `None` when a column is missing.
    pub fn take_orders(&mut self, rows: &RecordBatch) -> Option<()> {
        let columns = Columns::of(rows);
        let (ids, kinds) = (columns.texts("order_id")?, columns.texts("kind")?);
        let (states, customers) = (columns.texts("state")?, columns.texts("customer_id")?);
        let drivers = columns.texts("driver_id")?;
        let pickups = columns.numbers("pickup_h3_r9")?;
        let destinations = columns.numbers("destination_h3_r9")?;
        let at = columns.numbers("recorded_at")?;
        for row in 0..rows.num_rows() {
            let key = xxh3_128(ids.value(row).as_bytes());
            let newest = order_key(at.value(row), states.value(row));
            let kind = self.kinds.number(kinds.value(row));
            let order = self.orders.entry(key).or_insert_with(Order::unknown);
            if newest >= order.newest {
                order.newest = newest;
                order.place.pickup = valid_r9(pickups.value(row));
                order.place.destination = valid_r9(destinations.value(row));
                order.place.kind = kind;
                order.place.customer = person(&customers, row);
            }
            let driver = person(&drivers, row);
            if driver != 0 && newest >= order.driver_newest {
                order.driver_newest = newest;
                order.place.driver = driver;
            }
            for payment in &order.payments {
                if let Some(payment) = self.payments.get_mut(payment) {
                    settle(&mut self.hours, payment, order.place);
                }
            }
        }
        Some(())
    }

    /// The groups of a request.
    pub fn groups(&self, request: &HeatmapRequest) -> Vec<Group> {
        let from = request.from.map_or(i64::MIN, |from| from.0);
        let to = request.to.map_or(i64::MAX, |to| to.0);
        if from >= to {
            return Vec::new();
        }
        let kind = match request.kind {
            None => None,
            Some(kind) => match self.kinds.find(kind.as_str()) {
                None => return Vec::new(),
                known => known,
            },
        };
        let mut sums = Sums::new(request);
        let hours = from.div_euclid(HOUR_US)..=to.div_euclid(HOUR_US);
        for fact in self.hours.range(hours).flat_map(|(_, facts)| facts) {
            let wanted = fact.captured_at_us >= from
                && fact.captured_at_us < to
                && kind.is_none_or(|kind| fact.place.kind == kind);
            if wanted {
                sums.add(fact);
            }
        }
        sums.groups(&self.currencies)
    }
}

impl Order {
    fn unknown() -> Self {
        Self {
            newest: i64::MIN,
            place: Place::default(),
            driver_newest: i64::MIN,
            payments: Vec::with_capacity(1),
        }
    }
}

/// Writes the payment's fact, where it has one, as payment and order now say.
fn settle(hours: &mut BTreeMap<i64, Vec<Fact>>, payment: &mut Payment, place: Place) {
    let Some(captured_at_us) = payment.captured_at_us else { return };
    let fact = Fact {
        captured_at_us,
        captured_minor: payment.captured_minor,
        refunded_minor: payment.refunded_minor,
        currency: payment.currency,
        place,
    };
    let hour = captured_at_us.div_euclid(HOUR_US);
    if let Some((old_hour, index)) = payment.slot {
        let old = hours.get_mut(&old_hour).and_then(|facts| facts.get_mut(index as usize));
        if old_hour == hour {
            if let Some(old) = old {
                *old = fact;
            }
            return;
        }
        // Its capture turned out to be in an earlier hour: the old fact lies outside all time.
        if let Some(old) = old {
            old.captured_at_us = i64::MIN;
        }
    }
    let facts = hours.entry(hour).or_default();
    payment.slot = u32::try_from(facts.len()).ok().map(|index| (hour, index));
    facts.push(fact);
}

/// Later events are greater; two in one microsecond go by how far the state is along (as in
/// `views::newest_order_event`).
fn order_key(at_us: i64, state: &str) -> i64 {
    let rank = OrderState::parse(state)
        .and_then(|state| OrderState::ALL.iter().position(|known| *known == state))
        .and_then(|rank| i64::try_from(rank).ok())
        .unwrap_or(15);
    at_us.saturating_mul(16).saturating_add(rank)
}

/// The cell if it is one of resolution 9, else 0.
fn valid_r9(number: i64) -> i64 {
    let nine = h3::cell(number).is_some_and(|cell| u8::from(cell.resolution()) == 9);
    if nine { number } else { 0 }
}

fn person(ids: &StringViewArray, row: usize) -> u64 {
    if ids.is_null(row) || ids.value(row).is_empty() {
        return 0;
    }
    xxh3_64(ids.value(row).as_bytes()).max(1)
}

/// Columns by name, whatever kind of text or instant they hold.
struct Columns<'a>(&'a RecordBatch);

impl<'a> Columns<'a> {
    fn of(rows: &'a RecordBatch) -> Self {
        Self(rows)
    }

    fn typed(&self, name: &str, data_type: &DataType) -> Option<ArrayRef> {
        let column = self.0.column_by_name(name)?;
        cast(column, data_type).ok()
    }

    fn texts(&self, name: &str) -> Option<StringViewArray> {
        Some(self.typed(name, &DataType::Utf8View)?.as_string_view().clone())
    }

    fn numbers(&self, name: &str) -> Option<Int64Array> {
        Some(self.typed(name, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
    }
}
