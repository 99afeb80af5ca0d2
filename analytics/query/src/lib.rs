//! Questions: SQL over the archive and what the log holds beyond it, and the measures built on it.
//!
//! In:    questions; the archive's committed versions; the log from their offsets on.
//! Out:   rows, heat maps, each with the moment it is true of.
//! Keeps: the newest consistent cut, the revenue rollup, bounded memory and spill space.
//! Never: writes; reads anything but the archive's own store and log.
//!
//! The way of one question: `http` or the command line → `questions` (takes the newest `view`,
//! which `follow` keeps) → `guard` (questions only) → `session` (tables, views, H3) → `table`
//! (files by their bounds, and the `tail`) → `sql` (limits, stream) → `format`.

pub mod error;
pub mod format;
pub mod guard;
pub mod h3;
pub mod heatmap;
pub mod http;
pub mod questions;
pub mod session;
pub mod source;
pub mod sql;
pub mod view;

mod cells;
mod delta;
mod follow;
mod repeats;
mod shape;
mod table;
mod tail;
mod track;
mod views;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use error::QueryError;
pub use format::{Format, write};
pub use heatmap::{HeatmapAnswer, HeatmapRequest};
pub use http::router;
pub use questions::{Mode, QueryConfig, QueryHealth, Questions};
pub use session::EngineLimits;
pub use sql::{Answer, Limits};

/// What this room serves, as a part of an OpenAPI 3.1 document: JSON with `paths` and `components`.
pub const OPENAPI: &str = include_str!("../openapi.json");
