//! One file a command of `inzira`.

pub mod demo;
pub mod log;
pub mod replay;
pub mod serve;
pub mod smooth;
pub mod sql;
pub mod verify;
