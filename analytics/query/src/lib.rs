//! inzira-query
