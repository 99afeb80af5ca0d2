//! One file a command of `inzira`.

pub mod replay;
