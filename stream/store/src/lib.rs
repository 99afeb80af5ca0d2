//! Objects: snapshots, data files, documents.
//!
//! In:    bytes under a path.
//! Out:   the same bytes; a put that answered is durable and whole.
//! Keeps: nothing in memory but what is on its way.
//! Never: makes a file visible before its bytes are durable.
//!
//! The seam is `object_store::ObjectStore` itself, so that Delta and DataFusion take it as it is.
//! Two implementations, one contract suite (`contract`): `disk` (our own put over the library's
//! local store) and S3 or MinIO. `open` chooses by URL: `file:`, `file:///folder` or
//! `s3://bucket/prefix?endpoint=…&region=…`.
//!
//! A put ends three ways. Done; not done (`AlreadyExists` under `PutMode::Create`); or unknown,
//! which is every other error. After an unknown `Create`, look at the object before trying again:
//! what stands there may be your own. `PutMode::Update` is on no store of ours promised: rely on
//! `Create` alone.
//!
//! A delete on disk may be undone by a loss of power; whoever must be sure lists again.

#[cfg(test)]
mod contract;
pub mod disk;
mod open;
mod probe;

pub use object_store::{self, ObjectStore};
pub use open::{OpenError, Opened, open};
