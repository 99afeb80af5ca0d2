//! The states and kinds that orders and payments go through, as the log spells them.
//!
//! In:    text from the log or the database.
//! Out:   one of ours, or `None`: readers must survive a state that is newer than they are.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// As the log, the tables and the API spell it.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
            /// Reads the spelling; `None` for one that we do not know.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)* _ => None }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    )*};
}

words! {
    /// What is carried.
    OrderKind {
        /// A parcel within Rwanda, by weight.
        ShipmentDomestic = "shipment_domestic",
        /// A parcel across a border, by weight.
        ShipmentInternational = "shipment_international",
        /// A passenger, by distance.
        Ride = "ride",
        /// A vendor's goods, by distance.
        Delivery = "delivery",
    }

    /// Where an order stands. ARRIVING and ARRIVED are events, not states.
    OrderState {
        /// Waiting for money.
        PendingPayment = "pending_payment",
        /// Paid, a driver is being found.
        Confirmed = "confirmed",
        /// Paid, no driver was found: an operator's gap.
        ConfirmedNoDriver = "confirmed_no_driver",
        /// The money did not come.
        PaymentFailed = "payment_failed",
        /// A driver is on the way to the pickup.
        Assigned = "assigned",
        /// On the way to the destination.
        PickedUp = "picked_up",
        /// Handed over.
        Delivered = "delivered",
        /// Called off before pickup.
        Cancelled = "cancelled",
    }

    /// Where one attempt to collect money stands.
    PaymentState {
        /// Being scored or asked for.
        Pending = "pending",
        /// Held for review.
        Held = "held",
        /// The rail has it; the customer is asked for a PIN.
        Submitted = "submitted",
        /// Money came.
        Captured = "captured",
        /// Money did not come.
        Failed = "failed",
        /// Nobody answered in time.
        Expired = "expired",
        /// Money went back, in part or whole.
        Refunded = "refunded",
    }

    /// Things that happen on the way, in `tracking.events` and in frames.
    TrackingKind {
        /// A driver took the order.
        Assigned = "ASSIGNED",
        /// Within 400 m.
        Arriving = "ARRIVING",
        /// Within 50 m.
        Arrived = "ARRIVED",
        /// Late fixes prove an arrival that nobody was told of; for the record.
        ArrivedBackfill = "ARRIVED_BACKFILL",
        /// The goods or the passenger are on board.
        PickedUp = "PICKED_UP",
        /// Handed over.
        Delivered = "DELIVERED",
        /// Called off.
        Cancelled = "CANCELLED",
        /// No fix for a while.
        Offline = "OFFLINE",
        /// Fixes come again.
        Back = "BACK",
        /// Into an area.
        Enter = "ENTER",
        /// Out of an area.
        Exit = "EXIT",
        /// Stayed in an area.
        Dwell = "DWELL",
    }
}

impl OrderState {
    /// No more changes come after it, save a refund.
    pub const fn is_final(self) -> bool {
        matches!(self, OrderState::PaymentFailed | OrderState::Delivered | OrderState::Cancelled)
    }

    /// A driver is bound and can be watched.
    pub const fn is_tracked(self) -> bool {
        matches!(self, OrderState::Assigned | OrderState::PickedUp)
    }
}
