//! Device to event log: the door that phones send their fixes to.
pub mod decode;
