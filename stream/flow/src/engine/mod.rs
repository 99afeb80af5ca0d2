//! The thin coat of timely round the rules.
//!
//! In:    the log.
//! Out:   the log, in one transaction an epoch or several, and the live bus.
//! Keeps: nothing of its own: state is the stages', cuts are in `flow.progress`.
//! Never: waits inside an operator; drops a capability of an epoch that is not finished.
//!
//! ```text
//! readers -> feed -> [orders] -> [drivers] -> [alerts] -> [sink, worker 0] -> publish -> log
//!   ticker (worker 0) -> broadcast -> every feed closes the epoch     \-> live bus, at once
//! ```

pub mod feed;
pub mod graph;
pub mod live;
pub mod publish;
pub mod reader;
pub mod recover;
pub mod shared;
pub mod snapshot;
pub mod start;
pub mod tick;
pub mod worker;
