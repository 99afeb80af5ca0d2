//! inzira-archive
