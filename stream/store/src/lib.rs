//! Objects: snapshots, data files, documents.
//!
//! In:    bytes under a path.
//! Out:   the same bytes; a put that answered is durable and whole.
//! Never: makes a file visible before it is durable.
//!
//! The seam is `object_store::ObjectStore` itself, so that Delta and DataFusion take it as it is.
//! Two implementations, one contract suite (`contract`): `disk` (our own put over the library's
//! local store) and S3 or MinIO. `open` chooses by URL: `file:` or `s3://bucket?endpoint=…`.

pub mod contract;
pub mod disk;
mod open;

pub use open::{OpenError, Opened, open};
pub use object_store::{self, ObjectStore};
