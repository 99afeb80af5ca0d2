//! inzira-simulators
