//! Plays real traces through the device endpoints.
//!
//! In:    tracks, a pace, a running service.
//! Out:   requests as phones send them, one vehicle in its own order; a summary.
//! Never: gives up on a fix that was not answered, short of being told to or 5 minutes of silence.

mod schedule;
mod send;
mod summary;

pub use schedule::{Pace, Plan, Planned, VehiclePlan, schedule};
pub use send::{Protocol, Replay, ReplayError};
pub use summary::{Counts, Summary};
