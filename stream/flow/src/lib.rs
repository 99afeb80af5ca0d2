//! inzira-flow
