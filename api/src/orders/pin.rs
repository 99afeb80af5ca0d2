//! The six digits that prove the hand-over.
//!
//! In:    an order's id and what the receiver says.
//! Out:   whether it fits.
//! Keeps: a keyed hash; five tries, then locked until an operator unlocks.
//! Never: stored or logged in the clear.

use subtle::ConstantTimeEq as _;

use crate::secrets::{Keys, random_digits};

/// Wrong tries until the lock.
pub const TRIES_MAX: i64 = 5;

/// A fresh PIN and what is stored of it.
pub fn fresh(keys: &Keys, order_id: &str) -> (String, String) {
    let pin = random_digits(6);
    let hash = hash(keys, order_id, &pin);
    (pin, hash)
}

/// True when `pin` is the one whose hash was stored, in constant time.
pub fn fits(keys: &Keys, order_id: &str, pin: &str, stored: &str) -> bool {
    hash(keys, order_id, pin).as_bytes().ct_eq(stored.as_bytes()).into()
}

fn hash(keys: &Keys, order_id: &str, pin: &str) -> String {
    keys.lookup_hash("delivery pin", &format!("{order_id}|{pin}"))
}
