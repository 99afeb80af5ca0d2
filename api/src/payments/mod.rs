//! Money: asked of a rail, posted in the ledger, given back when an order falls away.
//!
//! In:    orders that want paying; what a rail says of an attempt.
//! Out:   attempts, postings that sum to zero, events.
//! Keeps: one row an attempt, the ledger for ten years.
//! Never: sends an attempt again under another reference; guesses an outcome; loses a franc.

pub mod attempts;
pub mod gateway;
pub mod ledger;
pub mod mock;
pub mod poller;
pub mod routes;
pub mod settle;
