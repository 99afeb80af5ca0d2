//! The keys of the house: one master, from which every other symmetric key is derived by name,
//! one signing key for tokens, and the gateway keys.
//!
//! In:    `FOLDER/keys.json`, made at the first start with mode 0600.
//! Out:   keyed hashes, tags, the signing key, gateway keys in two slots.
//! Never: shows itself in `Debug`.

use std::io::Write as _;
use std::path::Path;

use aes_gcm::{Aes256Gcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use hmac::{Hmac, Mac};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{base64url, hex};

/// Why the keys could not be had: exit 78.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or made.
    #[error("keys file {path}: {why}")]
    File {
        /// Where.
        path: String,
        /// What happened.
        why: String,
    },
    /// The file is there and is not one of ours.
    #[error("keys file {0} is damaged; restore it: without it personal data cannot be read")]
    Damaged(String),
}

/// A gateway key with its two slots, both valid, so that one can be changed without a gap.
#[derive(Clone, Serialize, Deserialize)]
pub struct GatewayKey {
    /// What callers use now.
    pub current: String,
    /// What they will use next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl std::fmt::Debug for GatewayKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GatewayKey(…)")
    }
}

impl GatewayKey {
    /// True for either slot, in constant time.
    pub fn opens(&self, presented: &str) -> bool {
        let same = |key: &str| bool::from(key.as_bytes().ct_eq(presented.as_bytes()));
        let next = self.next.as_deref().is_some_and(same);
        same(&self.current) | next
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    master: String,
    token_signing: String,
    gateway_external: GatewayKey,
    gateway_internal: GatewayKey,
}

/// The keys of the house.
pub struct Keys {
    master: [u8; 32],
    pub(super) cipher: Aes256Gcm,
    signing: SigningKey,
    /// For programs outside (`x-inzira-key`).
    pub gateway_external: GatewayKey,
    /// For our own services (`x-internal-key`).
    pub gateway_internal: GatewayKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// What ciphertext and blind indexes are made with now.
pub(super) const KEY_ID: &str = "k1";

impl Keys {
    /// Reads the keys, or makes them when the file is not there.
    pub fn open(folder: &Path) -> Result<Keys, KeysError> {
        let path = folder.join("keys.json");
        let shown = path.display().to_string();
        let failed =
            |error: std::io::Error| KeysError::File { path: shown.clone(), why: error.to_string() };
        match std::fs::read(&path) {
            Ok(bytes) => {
                let stored: Stored = serde_json::from_slice(&bytes)
                    .map_err(|_| KeysError::Damaged(shown.clone()))?;
                Self::of(stored).ok_or_else(|| KeysError::Damaged(shown.clone()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let stored = fresh();
                std::fs::create_dir_all(folder).map_err(failed)?;
                write_private(&path, &stored).map_err(failed)?;
                Self::of(stored).ok_or_else(|| KeysError::Damaged(shown.clone()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn of(stored: Stored) -> Option<Keys> {
        let master: [u8; 32] = STANDARD.decode(&stored.master).ok()?.try_into().ok()?;
        let signing: [u8; 32] = STANDARD.decode(&stored.token_signing).ok()?.try_into().ok()?;
        let personal = derive(&master, &format!("personal columns {KEY_ID}"));
        Some(Keys {
            master,
            cipher: Aes256Gcm::new(&personal.into()),
            signing: SigningKey::from_bytes(&signing),
            gateway_external: stored.gateway_external,
            gateway_internal: stored.gateway_internal,
        })
    }

    /// A keyed hash for looking things up: `purpose` keeps the uses apart. 64 hex digits.
    pub fn lookup_hash(&self, purpose: &str, text: &str) -> String {
        hex(&mac(&derive(&self.master, purpose), text.as_bytes()))
    }

    /// A short tag that says "this house made it", for tokens that are checked without a database.
    pub fn tag(&self, purpose: &str, text: &str) -> String {
        base64url(&mac(&derive(&self.master, purpose), text.as_bytes())[..12])
    }

    /// True when `tag` is the one for `text`, in constant time.
    pub fn tag_fits(&self, purpose: &str, text: &str, tag: &str) -> bool {
        self.tag(purpose, text).as_bytes().ct_eq(tag.as_bytes()).into()
    }

    /// The private half of the token key, PKCS#8 DER.
    pub(crate) fn signing_der(&self) -> Result<Vec<u8>, KeysError> {
        let der = self.signing.to_pkcs8_der();
        der.map(|der| der.as_bytes().to_vec())
            .map_err(|_| KeysError::Damaged("token signing key".to_owned()))
    }

    /// The public half, PEM: all that a verifier needs.
    pub fn public_pem(&self) -> Result<String, KeysError> {
        let key = self.signing.verifying_key();
        key.to_public_key_pem(LineEnding::LF)
            .map_err(|_| KeysError::Damaged("token signing key".to_owned()))
    }

    /// Signs with the house's key (audit checkpoints). Base 64.
    pub fn sign(&self, bytes: &[u8]) -> String {
        use ed25519_dalek::Signer as _;
        STANDARD.encode(self.signing.sign(bytes).to_bytes())
    }

    /// True when `signature` is ours over `bytes`.
    pub fn signed(&self, bytes: &[u8], signature: &str) -> bool {
        let Ok(raw) = STANDARD.decode(signature) else { return false };
        let Ok(signature) = ed25519_dalek::Signature::from_slice(&raw) else { return false };
        self.signing.verifying_key().verify_strict(bytes, &signature).is_ok()
    }
}

fn fresh() -> Stored {
    let random = || {
        let mut bytes = [0_u8; 32];
        rand::rng().fill_bytes(&mut bytes);
        STANDARD.encode(bytes)
    };
    let key = |prefix| GatewayKey { current: super::random_token(prefix, 40), next: None };
    Stored {
        master: random(),
        token_signing: random(),
        gateway_external: key("inz_pk_"),
        gateway_internal: key("inz_sk_"),
    }
}

/// Written beside and linked into place, so that a crash leaves no half file and two starts at
/// once cannot both win.
fn write_private(path: &Path, stored: &Stored) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = path.with_extension(format!("tmp{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(serde_json::to_string_pretty(stored)?.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&beside, path);
    std::fs::remove_file(&beside)?;
    linked?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn derive(master: &[u8; 32], purpose: &str) -> [u8; 32] {
    mac(master, purpose.as_bytes())
}

fn mac(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    // A 32-byte key is always valid for HMAC; the fallback can never be reached.
    match <Hmac<Sha256> as Mac>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(bytes);
            mac.finalize().into_bytes().into()
        }
        Err(_) => [0; 32],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let first = Keys::open(folder.path()).unwrap();
        let second = Keys::open(folder.path()).unwrap();
        assert_eq!(first.lookup_hash("phone", "x"), second.lookup_hash("phone", "x"));
        assert_ne!(first.lookup_hash("phone", "x"), first.lookup_hash("pin", "x"));
        assert!(second.signed(b"entry", &first.sign(b"entry")));
        assert!(!second.signed(b"other", &first.sign(b"entry")));
    }

    #[test]
    fn the_keys_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        Keys::open(folder.path()).unwrap();
        let mode = std::fs::metadata(folder.path().join("keys.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn both_slots_of_a_gateway_key_open() {
        let key = GatewayKey { current: "a".into(), next: Some("b".into()) };
        assert!(key.opens("a") && key.opens("b") && !key.opens("c") && !key.opens(""));
    }
}
