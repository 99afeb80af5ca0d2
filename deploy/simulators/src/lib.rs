//! What stands outside: phones that send fixes, from real traces or made up.
//!
//! In:    trace files of many makers, or a seed.
//! Out:   requests to the device endpoints, exactly as phones send them; a summary of answers.
//! Never: imports a room: it speaks to the service over HTTP as everyone does.

pub mod client;
pub mod fleet;
pub mod replay;
pub mod traces;
