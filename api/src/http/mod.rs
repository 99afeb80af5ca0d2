//! The HTTP surface: one table of routes, each with who may call it.
//!
//! In:    requests at full paths (`/api/v1/…`, `/t/{token}`, `/`).
//! Out:   answers, or problems.
//! Never: has a route that is not in the table: the guard, the OpenAPI test and the test that
//!        calls every route as nobody all read it.

pub mod body;
pub mod gateway;
pub mod guard;
pub mod idempotency;
pub mod openapi;
pub mod pages;
pub mod routes;
