//! Keys of the house and what is done with them: sealing, looking up, tagging, making tokens.
//!
//! In:    one folder with one file, mode 0600, made at the first start.
//! Out:   ciphertext bound to its place, keyed hashes, random tokens.
//! Keeps: the keys in memory.
//! Never: prints a key; opens ciphertext that was moved to another row or column.

mod keys;
mod seal;

pub use keys::{GatewayKey, Keys, KeysError};
pub use seal::SealError;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;

/// Crockford base 32, as ids have it.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// `prefix` and `characters` random ones of five bits each, from a generator seeded by the system.
pub fn random_token(prefix: &str, characters: usize) -> String {
    let mut bytes = vec![0_u8; characters];
    rand::rng().fill_bytes(&mut bytes);
    let body: String =
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
    format!("{prefix}{body}")
}

/// `digits` random decimal digits, each equally likely.
pub fn random_digits(digits: u32) -> String {
    let bound = 10_u64.pow(digits);
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let mut bytes = [0_u8; 8];
        rand::rng().fill_bytes(&mut bytes);
        let drawn = u64::from_le_bytes(bytes);
        if drawn < limit {
            return format!("{:0width$}", drawn % bound, width = digits as usize);
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// URL-safe base 64 without padding.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_digits_have_their_length_and_differ() {
        let (a, b) = (random_token("dvt_", 32), random_token("dvt_", 32));
        assert_eq!(a.len(), 36);
        assert_ne!(a, b);
        assert_eq!(random_digits(6).len(), 6);
    }
}
