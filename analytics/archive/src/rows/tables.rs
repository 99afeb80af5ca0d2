//! Every table's columns: name, kind, where in the message it comes from, what it means.
//!
//! In:    messages of `inzira-schemas`.
//! Out:   builders, one a table. The common columns of the envelope come first in each.
//!
//! `few` marks columns of few distinct values, which are worth a dictionary in Parquet.

use arrow::array::ArrayRef;
use inzira_schemas::wire;
use prost::Message;

use super::kinds::{
    ColumnKind, Flag, Float, Instant, Int, OptFloat, OptInt, OptText, Small, Text, Texts,
};
use super::{Columns, checked, instant, merge};
use crate::layout::Column;

macro_rules! few {
    (few) => {
        true
    };
    () => {
        false
    };
}

/// `name: Kind = value of (envelope e, message m), "comment";`
macro_rules! rows {
    ($($(#[$doc:meta])* $rows:ident of $message:ident by $date:ident {
        $($(@$few:ident)? $column:ident: $kind:ident = $value:expr, $comment:literal;)*
    })*) => {$(
        rows! { @build $(#[$doc])* $rows of $message by $date {
            event_id: Text = |e, _| &e.event_id, "the same cause always has the same id";
            @few event_type: Text = |e, _| &e.event_type, "what happened, e.g. order.confirmed";
            @few schema: Small = |e, _| e.schema, "version of the field layout";
            occurred_at: Instant = |e, _| e.occurred_at_us, "when it happened";
            recorded_at: Instant = |e, _| e.recorded_at_us, "when the house took note of it";
            @few actor_role: Text = |e, _| &e.actor_role, "who did it: a role, or system";
            @few actor_id: OptText = |e, _| &e.actor_id, "opaque id of the one who did it";
            @few reason: OptText = |e, _| &e.reason, "why, where a reason was given";
            traceparent: OptText = |e, _| &e.traceparent, "W3C trace context";
            $($(@$few)? $column: $kind = $value, $comment;)*
        } }
    )*};
    (@build $(#[$doc:meta])* $rows:ident of $message:ident by $date:ident {
        $($(@$few:ident)? $column:ident: $kind:ident = $value:expr, $comment:literal;)*
    }) => {
        $(#[$doc])*
        pub struct $rows {
            message: wire::$message,
            $($column: <$kind as ColumnKind>::Builder,)*
        }

        impl $rows {
            /// The columns, in order.
            pub fn columns() -> Vec<Column> {
                vec![$(Column {
                    name: stringify!($column),
                    kind: <$kind as ColumnKind>::KIND,
                    nullable: <$kind as ColumnKind>::NULLABLE,
                    few: few!($($few)?),
                    comment: $comment,
                },)*]
            }

            /// An empty builder with room for `capacity` rows.
            pub fn with_capacity(capacity: usize) -> Self {
                Self {
                    message: wire::$message::default(),
                    $($column: <$kind as ColumnKind>::builder(capacity),)*
                }
            }
        }

        impl Columns for $rows {
            fn push(&mut self, value: &[u8]) -> Result<(), String> {
                // Clearing keeps the strings' memory; the envelope is put aside because
                // clearing the message would drop it.
                let mut envelope = self.message.envelope.take().unwrap_or_default();
                envelope.clear();
                self.message.clear();
                self.message.envelope = Some(envelope);
                merge(&mut self.message, value)?;
                let message = &self.message;
                let envelope = checked(message.envelope.as_ref())?;
                instant("occurred_at", envelope.occurred_at_us)?;
                instant(stringify!($date), deciding::$date(envelope, message))?;
                $({
                    let of: for<'a> fn(&'a wire::Envelope, &'a wire::$message)
                        -> <$kind as ColumnKind>::Value<'a> = $value;
                    <$kind as ColumnKind>::append(&mut self.$column, of(envelope, message));
                })*
                Ok(())
            }

            fn finish(&mut self) -> Vec<ArrayRef> {
                vec![$(<$kind as ColumnKind>::finish(&mut self.$column),)*]
            }
        }
    };
}

/// The instants that decide a row's date.
mod deciding {
    use inzira_schemas::wire;

    pub(super) trait Measured {
        fn us(&self) -> i64;
    }
    impl Measured for wire::Fix {
        fn us(&self) -> i64 {
            self.measured_at_us
        }
    }
    impl Measured for wire::Position {
        fn us(&self) -> i64 {
            self.measured_at_us
        }
    }

    pub(super) fn measured_at(_: &wire::Envelope, message: &impl Measured) -> i64 {
        message.us()
    }
    pub(super) fn at(_: &wire::Envelope, message: &wire::TrackingEvent) -> i64 {
        message.at_us
    }
    pub(super) fn occurred_at<M>(envelope: &wire::Envelope, _: &M) -> i64 {
        envelope.occurred_at_us
    }
}

rows! {
    /// `fixes`.
    FixRows of Fix by measured_at {
        @few driver_id: Text = |_, m| &m.driver_id, "opaque id of the driver";
        @few device_id: Text = |_, m| &m.device_id, "opaque id of the device";
        seq: OptInt = |_, m| m.seq.and_then(|seq| i64::try_from(seq).ok()), "the device's own count of its fixes";
        measured_at: Instant = |_, m| m.measured_at_us, "when the device measured it";
        received_at: Instant = |_, m| m.received_at_us, "when it reached the service";
        @few time_source: Text = |_, m| &m.time_source, "device, arrival or clamped";
        @few protocol: Text = |_, m| &m.protocol, "json, osmand, owntracks, gpslogger, protobuf or replay";
        lat: Float = |_, m| m.lat, "degrees, WGS 84";
        lon: Float = |_, m| m.lon, "degrees, WGS 84";
        @few accuracy_m: OptFloat = |_, m| m.accuracy_m, "radius of 68 per cent, metres";
        altitude_m: OptFloat = |_, m| m.altitude_m, "metres";
        speed_mps: OptFloat = |_, m| m.speed_mps, "metres per second";
        bearing_deg: OptFloat = |_, m| m.bearing_deg, "degrees clockwise from north";
        @few battery_pct: OptFloat = |_, m| m.battery_pct, "per cent";
        @few h3_r9: Int = |_, m| m.h3_r9, "H3 cell, resolution 9";
    }

    /// `positions_all`.
    PositionRows of Position by measured_at {
        @few driver_id: Text = |_, m| &m.driver_id, "opaque id of the driver";
        @few order_id: OptText = |_, m| &m.order_id, "the open order, if there was one";
        measured_at: Instant = |_, m| m.measured_at_us, "when the device measured the fix";
        received_at: Instant = |_, m| m.received_at_us, "when the fix reached the service";
        lat: Float = |_, m| m.lat, "degrees, WGS 84, smoothed";
        lon: Float = |_, m| m.lon, "degrees, WGS 84, smoothed";
        accuracy_m: Float = |_, m| m.accuracy_m, "metres, of the smoothed place";
        speed_mps: Float = |_, m| m.speed_mps, "metres per second";
        bearing_deg: Float = |_, m| m.bearing_deg, "degrees clockwise from north";
        @few h3_r9: Int = |_, m| m.h3_r9, "H3 cell, resolution 9";
        distance_m: OptFloat = |_, m| m.distance_m, "metres to go";
        eta_s: OptFloat = |_, m| m.eta_s, "seconds to go";
        @few source: Text = |_, m| &m.source, "live, late or smoothed";
        @few revision: Small = |_, m| m.revision, "the newest revision of a fix counts";
    }

    /// `tracking_events`.
    TrackingEventRows of TrackingEvent by at {
        @few order_id: OptText = |_, m| &m.order_id, "the order, if there is one";
        @few driver_id: Text = |_, m| &m.driver_id, "opaque id of the driver";
        @few leg: OptText = |_, m| &m.leg, "pickup or delivery";
        @few area_id: OptText = |_, m| &m.area_id, "the area entered, left or stayed in";
        at: Instant = |_, m| m.at_us, "when it happened on the road";
        lat: Float = |_, m| m.lat, "degrees, WGS 84";
        lon: Float = |_, m| m.lon, "degrees, WGS 84";
        @few h3_r9: Int = |_, m| m.h3_r9, "H3 cell, resolution 9";
        late: Flag = |_, m| m.late, "proved by late fixes; nobody was alerted";
    }

    /// `trips`.
    TripRows of Trip by occurred_at {
        trip_id: Text = |_, m| &m.trip_id, "opaque id of the trip";
        @few order_id: OptText = |_, m| &m.order_id, "the order, if it was driven for one";
        @few driver_id: Text = |_, m| &m.driver_id, "opaque id of the driver";
        started_at: Instant = |_, m| m.started_at_us, "first fix";
        ended_at: Instant = |_, m| m.ended_at_us, "last fix";
        @few origin_h3_r9: Int = |_, m| m.origin_h3_r9, "H3 cell of the first fix, resolution 9";
        @few destination_h3_r9: Int = |_, m| m.destination_h3_r9, "H3 cell of the last fix, resolution 9";
        distance_m: Float = |_, m| m.distance_m, "metres driven";
        moving_s: Float = |_, m| m.moving_s, "seconds in motion";
        stopped_s: Float = |_, m| m.stopped_s, "seconds standing";
        line: Text = |_, m| &m.line, "encoded polyline, precision 5";
        @few revision: Small = |_, m| m.revision, "the newest revision of a trip counts";
    }

    /// `order_events`.
    OrderEventRows of OrderEvent by occurred_at {
        order_id: Text = |_, m| &m.order_id, "opaque id of the order";
        @few kind: Text = |_, m| &m.kind, "shipment_domestic, shipment_international, ride or delivery";
        @few state: Text = |_, m| &m.state, "the state after this change";
        @few country: Text = |_, m| &m.country, "ISO 3166 alpha-2";
        @few currency: Text = |_, m| &m.currency, "ISO 4217 of every amount in the row";
        gross_minor: Int = |_, m| m.gross_minor, "price, minor units";
        commission_minor: Int = |_, m| m.commission_minor, "the platform's share, minor units";
        tax_minor: Int = |_, m| m.tax_minor, "tax, minor units";
        discount_minor: Int = |_, m| m.discount_minor, "discount, minor units";
        @few customer_id: Text = |_, m| &m.customer_id, "opaque id of the customer";
        @few agent_id: OptText = |_, m| &m.agent_id, "opaque id of the agent who booked";
        @few vendor_id: OptText = |_, m| &m.vendor_id, "opaque id of the vendor";
        @few driver_id: OptText = |_, m| &m.driver_id, "opaque id of the driver";
        weight_g: OptInt = |_, m| m.weight_g, "grams";
        @few goods_class: OptText = |_, m| &m.goods_class, "HS chapter";
        @few origin_country: Text = |_, m| &m.origin_country, "ISO 3166 alpha-2";
        @few destination_country: Text = |_, m| &m.destination_country, "ISO 3166 alpha-2";
        @few border_post: OptText = |_, m| &m.border_post, "where it crosses";
        @few pickup_h3_r9: Int = |_, m| m.pickup_h3_r9, "H3 cell of the pickup, resolution 9";
        @few destination_h3_r9: Int = |_, m| m.destination_h3_r9, "H3 cell of the destination, resolution 9";
        @few pickup_district: Text = |_, m| &m.pickup_district, "district of the pickup";
        @few destination_district: Text = |_, m| &m.destination_district, "district of the destination";
        created_at: Instant = |_, m| m.created_at_us, "when the order was made";
    }

    /// `payment_events`.
    PaymentEventRows of PaymentEvent by occurred_at {
        payment_id: Text = |_, m| &m.payment_id, "opaque id of the attempt";
        order_id: Text = |_, m| &m.order_id, "opaque id of the order";
        @few attempt: Small = |_, m| m.attempt, "1, 2, 3 within the order";
        @few provider: Text = |_, m| &m.provider, "the rail";
        @few state: Text = |_, m| &m.state, "the state after this change";
        @few currency: Text = |_, m| &m.currency, "ISO 4217 of every amount in the row";
        amount_minor: Int = |_, m| m.amount_minor, "asked for, minor units";
        provider_fee_minor: Int = |_, m| m.provider_fee_minor, "the rail's fee, minor units";
        refunded_minor: Int = |_, m| m.refunded_minor, "given back so far, minor units";
        @few failure_code: OptText = |_, m| &m.failure_code, "why it failed, in the rail's word";
        requested_at: Instant = |_, m| m.requested_at_us, "when the rail was asked";
    }

    /// `fraud_decisions`.
    FraudDecisionRows of FraudDecision by occurred_at {
        payment_id: Text = |_, m| &m.payment_id, "opaque id of the attempt";
        order_id: Text = |_, m| &m.order_id, "opaque id of the order";
        score: Small = |_, m| m.score, "0 to 100";
        @few decision: Text = |_, m| &m.decision, "allow, review or reject";
        reasons: Texts = |_, m| &m.reasons, "the rules that spoke";
        late: Flag = |_, m| m.late, "came after the payment had gone on";
    }
}
