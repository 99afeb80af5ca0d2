//! People: who they are, how they prove it, and what their session may do.
//!
//! In:    phones, passwords, codes, tokens, cookies.
//! Out:   sessions; `Identity` for every room.
//! Keeps: users with sealed phones and names, sessions, codes; wrong tries in memory.
//! Never: stores a password, token or code in the clear; says which part of a secret was wrong.

pub mod first_logins;
pub mod identity;
pub mod limiter;
pub mod password;
pub mod phone;
pub mod routes;
pub mod sessions;
pub mod tokens;
pub mod users;
