//! inzira-fan-out
