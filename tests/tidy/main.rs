//! The rules of the house, held by a test: `cargo test -p inzira-tests --test tidy`.
//!
//! In:    the checkout as it lies on disk, built and fetched folders left out.
//! Out:   every breach of a rule, with its file; exceptions stand beside their rule, with a reason.
//! Never: needs git, a network or a built binary.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;
mod imports;
mod tree;

use tree::{root, top_level};

/// What a newcomer sees first, and nothing more.
const TOP_LEVEL: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "analytics",
    "api",
    "deploy",
    "ingest",
    "schemas",
    "stream",
    "tests",
];

#[test]
fn the_top_level_is_the_list_of_rooms() {
    assert_eq!(top_level(), TOP_LEVEL, "in {}", root().display());
}

/// Fails with every breach, a line each.
fn none(breaches: Vec<String>, rule: &str) {
    assert!(
        breaches.is_empty(),
        "{rule}; {} breaches:\n  {}",
        breaches.len(),
        breaches.join("\n  ")
    );
}
