//! The room as callers see it: the real router, the real database (SQLite always, Postgres when
//! `INZIRA_TEST_POSTGRES` names one), a hand-turned clock, a log and a bus in memory.

mod audit;
mod devices;
mod doubles;
mod harness;
mod measure;
mod money;
mod orders;
mod outbox;
mod pages;
mod people;
mod routes;
