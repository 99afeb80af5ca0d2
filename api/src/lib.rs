//! inzira-api
