//! Drivers: their profiles, their phones, whether they take orders.
//!
//! In:    what drivers and the desk say.
//! Out:   enrolled devices, availability, the order in hand.
//! Keeps: profiles with sealed licence and plate; keyed hashes of device secrets.
//! Never: keeps a device secret in the clear.

pub mod devices;
pub mod fleet;
pub mod profiles;
pub mod routes;
