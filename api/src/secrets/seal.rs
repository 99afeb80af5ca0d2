//! Personal columns: AES-256-GCM, bound to the place they stand in.
//!
//! In:    text, and (table, column, row).
//! Out:   version, key id, nonce, ciphertext and tag as one blob.
//! Never: opens a blob in another row, column or table than the one it was sealed for.

use aes_gcm::Nonce;
use aes_gcm::aead::{Aead as _, Payload};
use rand::RngCore as _;

use super::Keys;
use super::keys::KEY_ID;

/// A blob cannot be opened here: it was moved, changed, or sealed with another key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("personal data in {table}.{column} of {row} does not open")]
pub struct SealError {
    /// Table.
    pub table: &'static str,
    /// Column.
    pub column: &'static str,
    /// Row.
    pub row: String,
}

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;

impl Keys {
    /// Seals `text` for its place.
    pub fn seal(
        &self,
        table: &'static str,
        column: &'static str,
        row: &str,
        text: &str,
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0_u8; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let place = place(table, column, row);
        let payload = Payload { msg: text.as_bytes(), aad: place.as_bytes() };
        let body = self.cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| SealError {
            table,
            column,
            row: row.to_owned(),
        })?;
        let mut blob = Vec::with_capacity(1 + 1 + KEY_ID.len() + NONCE_BYTES + body.len());
        blob.push(VERSION);
        blob.push(KEY_ID.len() as u8);
        blob.extend_from_slice(KEY_ID.as_bytes());
        blob.extend_from_slice(&nonce);
        blob.extend_from_slice(&body);
        Ok(blob)
    }

    /// Seals what is there.
    pub fn seal_some(
        &self,
        table: &'static str,
        column: &'static str,
        row: &str,
        text: Option<&str>,
    ) -> Result<Option<Vec<u8>>, SealError> {
        text.map(|text| self.seal(table, column, row, text)).transpose()
    }

    /// Opens a blob in its place.
    pub fn unseal(
        &self,
        table: &'static str,
        column: &'static str,
        row: &str,
        blob: &[u8],
    ) -> Result<String, SealError> {
        let wrong = || SealError { table, column, row: row.to_owned() };
        let header = 2 + KEY_ID.len();
        if blob.len() < header + NONCE_BYTES
            || blob[0] != VERSION
            || &blob[2..header] != KEY_ID.as_bytes()
        {
            return Err(wrong());
        }
        let (nonce, body) = blob[header..].split_at(NONCE_BYTES);
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| wrong())?;
        let place = place(table, column, row);
        let payload = Payload { msg: body, aad: place.as_bytes() };
        let bytes = self.cipher.decrypt(&Nonce::from(nonce), payload).map_err(|_| wrong())?;
        String::from_utf8(bytes).map_err(|_| wrong())
    }
}

fn place(table: &str, column: &str, row: &str) -> String {
    format!("{table}|{column}|{row}|{KEY_ID}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphertext_moved_to_another_row_or_column_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        let blob = keys.seal("users", "phone", "usr_a", "+250780000001").unwrap();
        assert_eq!(keys.unseal("users", "phone", "usr_a", &blob).unwrap(), "+250780000001");
        assert!(keys.unseal("users", "phone", "usr_b", &blob).is_err());
        assert!(keys.unseal("users", "email", "usr_a", &blob).is_err());
        let mut changed = blob.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(keys.unseal("users", "phone", "usr_a", &changed).is_err());
        assert!(!blob.windows(5).any(|window| window == b"78000"));
    }
}
