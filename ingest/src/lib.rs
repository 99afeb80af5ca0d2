//! inzira-ingest
