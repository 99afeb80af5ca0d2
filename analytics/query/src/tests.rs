//! Journeys through the whole room.

mod consistency;
mod figures;
mod limits;
mod over_http;
mod tables;
mod with_the_archive;
