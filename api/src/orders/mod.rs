//! Orders of the four kinds, from the wish to the hand-over.
//!
//! In:    wishes of customers, agents and the desk; what rails and drivers say.
//! Out:   one row an order, one history row and one event a change, all in one transaction.
//! Keeps: orders, their history, quotes, share links.
//! Never: changes a state that the machine does not know; trusts a price from outside.

pub mod create;
pub mod events;
pub mod handover;
pub mod machine;
pub mod pin;
pub mod quotes;
pub mod routes;
pub mod share;
pub mod store;
pub mod tariff;
pub mod view;
pub mod wish;
