//! The archive: what the log said, as Delta tables of Parquet that anyone can read.
//!
//! In:    the log's topics, from the offsets that the tables themselves hold.
//! Out:   one Delta table a kind of event (`layout`), each row once, sorted, dated.
//! Keeps: every row until its retention ends; the offsets in the same commit as the files.
//! Never: loses or doubles a row across a kill; skips damage in silence.

pub mod layout;
pub mod rows;

pub use layout::{EVENT_DATE, Table, Undecodable};
