//! Journeys through the whole house, each as a person or a program would go.

#![allow(clippy::unwrap_used)]

mod every_trace;
mod spine;
