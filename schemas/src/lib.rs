//! The words of the house: what a fix, an order, a payment and an event are.
//!
//! In:    nothing; every other room imports this one and it imports none.
//! Out:   ids, money, instants, the events of the log, topics, who may do what.
//! Keeps: nothing.
//! Never: touches a file, a socket or a clock of its own.

pub mod access;
pub mod cell;
pub mod clock;
pub mod event;
pub mod geo;
pub mod identity;
pub mod ids;
pub mod money;
pub mod problem;
pub mod states;
pub mod topic;

/// The protobuf messages of the log (`proto/inzira.proto`).
#[allow(clippy::pedantic, missing_docs)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/inzira.v1.rs"));
}

pub use clock::{Clock, HandClock, Micros, SystemClock};
pub use event::{EVENT_SCHEMA, Event, event_id};
pub use geo::Point;
pub use identity::Identity;
pub use ids::*;
pub use money::{Currency, Money, MoneyError};
pub use problem::Problem;
pub use topic::{Topic, partition_of};
