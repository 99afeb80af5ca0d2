//! A whole house for tests: the real binary as a process of its own, embedded or on real services.
//!
//! In:    a mode, a fresh folder.
//! Out:   a running service with its log-ins; clients, watchers and SQL beside it.
//! Keeps: the ports, so that a killed house comes back at the same address.
//! Never: reaches inside: everything goes through the front doors.

pub mod driver;
pub mod house;
pub mod ledger;
pub mod outside;
pub mod probe;
pub mod watch;

pub use house::{House, Mode};
