//! Routes, bodies, the server.
//!
//! In:    connections of phones, and everything else that the public port serves.
//! Out:   answers.
//! Never: holds more than its bounds: connections, header and body times, bytes in flight.

mod answer;
mod body;
mod connection;
mod phones;
mod server;
mod stream;
mod timed_body;
mod tracking;
mod who;

pub use server::{Drained, Draining, ServeLimits, serve};
pub use timed_body::BodyTimedOut;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, post};
use tokio::sync::Semaphore;

use crate::Ingest;
use crate::accept::memory::Memory;
use crate::intake::Shared;

/// The device routes:
/// `POST /api/v1/tracking/location`, `GET /api/v1/tracking/stream`, `/osmand`, `/owntracks`,
/// `/gpslogger`.
pub fn router(ingest: Ingest) -> Router {
    let limits = &ingest.limits;
    let door = Door {
        known: body::Room::new(limits.in_flight_bytes_max),
        strangers: body::Room::new(limits.stranger_bytes_max),
        inflating: Arc::new(Semaphore::new(8)),
        shared: Arc::new(Shared {
            memory: Memory::new(limits.fixes_remembered, limits.devices_remembered),
            ingest,
        }),
    };
    Router::new()
        .route("/api/v1/tracking/location", post(tracking::location))
        .route("/api/v1/tracking/stream", get(stream::stream))
        .route("/osmand", any(phones::osmand))
        .route("/osmand/", any(phones::osmand))
        .route("/owntracks", post(phones::owntracks))
        .route("/owntracks/", post(phones::owntracks))
        .route("/gpslogger", any(phones::gpslogger))
        .route("/gpslogger/", any(phones::gpslogger))
        // Bodies are bounded by `body::take`, which knows more than the framework's default.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Arc::new(door))
}

/// What the handlers share.
pub(crate) struct Door {
    pub shared: Arc<Shared>,
    /// Room for the bodies of senders who proved themselves in the header or the query.
    pub known: body::Room,
    /// Room for the bodies of those who do so inside the body.
    pub strangers: body::Room,
    /// How many bodies are inflated at once.
    pub inflating: Arc<Semaphore>,
}
