//! Access tokens: JWT signed with Ed25519. Who holds the public key verifies and cannot mint.
//!
//! In:    a person and their session; or a token.
//! Out:   a token of 15 minutes; or its claims.
//! Never: trusts the token's own choice of algorithm or key; takes one kind of token for another.

use inzira_schemas::Micros;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::secrets::{Keys, KeysError};

const ISSUER: &str = "inzira";
const AUDIENCE: &str = "inzira-api";
const TYPE: &str = "at+jwt";
/// Longer ones are not ours and are not looked at.
const TOKEN_BYTES_MAX: usize = 4_096;

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// The user.
    pub sub: String,
    /// The session: revoked with it.
    pub sid: String,
    /// The role.
    pub role: String,
    /// The person's id in the log.
    pub act: String,
    /// Issued at, seconds.
    pub iat: i64,
    /// Expires at, seconds.
    pub exp: i64,
}

/// Verifies tokens with the public key alone.
pub struct TokenVerifier {
    key: DecodingKey,
    rules: Validation,
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenVerifier")
    }
}

impl TokenVerifier {
    /// From the public key in PEM.
    pub fn from_public_pem(pem: &str) -> Result<Self, KeysError> {
        let key = DecodingKey::from_ed_pem(pem.as_bytes())
            .map_err(|_| KeysError::Damaged("token public key".to_owned()))?;
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The house's own clock decides about expiry, below.
        rules.validate_exp = false;
        Ok(Self { key, rules })
    }

    /// The claims of a token that is ours, of this kind and not expired.
    pub fn verify(&self, token: &str, now: Micros) -> Option<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        let plain = header.jku.is_none() && header.jwk.is_none() && header.x5u.is_none();
        if header.typ.as_deref() != Some(TYPE) || !plain {
            return None;
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.rules).ok()?.claims;
        let now_s = now.0.div_euclid(1_000_000);
        (now_s < claims.exp && claims.iat <= now_s + 60).then_some(claims)
    }
}

/// Mints tokens.
pub struct TokenMint {
    key: EncodingKey,
    life_s: i64,
}

impl std::fmt::Debug for TokenMint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenMint")
    }
}

impl TokenMint {
    /// With the house's private key.
    pub fn new(keys: &Keys, life_s: i64) -> Result<Self, KeysError> {
        Ok(Self { key: EncodingKey::from_ed_der(&keys.signing_der()?), life_s })
    }

    /// Seconds until a fresh token ends.
    pub fn life_s(&self) -> i64 {
        self.life_s
    }

    /// A token for a person's session.
    pub fn mint(
        &self,
        user_id: &str,
        session_id: &str,
        role: &str,
        actor_id: &str,
        now: Micros,
    ) -> Result<String, ApiError> {
        let issued_at = now.0.div_euclid(1_000_000);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user_id.to_owned(),
            sid: session_id.to_owned(),
            role: role.to_owned(),
            act: actor_id.to_owned(),
            iat: issued_at,
            exp: issued_at + self.life_s,
        };
        let header = Header { typ: Some(TYPE.to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.key)
            .map_err(|error| ApiError::Bug(format!("token: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::base64url;

    fn pair() -> (TokenMint, TokenVerifier) {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        let verifier = TokenVerifier::from_public_pem(&keys.public_pem().unwrap()).unwrap();
        (TokenMint::new(&keys, 900).unwrap(), verifier)
    }

    #[test]
    fn a_token_holds_for_its_life_and_no_longer() {
        let (mint, verifier) = pair();
        let now = Micros::from_secs(1_800_000_000);
        let token = mint.mint("usr_1234", "ses_1234", "driver", "drv_1234", now).unwrap();
        assert_eq!(verifier.verify(&token, now).unwrap().act, "drv_1234");
        assert!(verifier.verify(&token, now.plus_secs(899)).is_some());
        assert!(verifier.verify(&token, now.plus_secs(900)).is_none());
        assert!(verifier.verify(&token, now.plus_secs(-120)).is_none());
    }

    #[test]
    fn forged_cut_and_foreign_tokens_are_refused() {
        let (mint, verifier) = pair();
        let (other_mint, _) = pair();
        let now = Micros::from_secs(1_800_000_000);
        let token = mint.mint("usr_1234", "ses_1234", "driver", "drv_1234", now).unwrap();
        let foreign = other_mint.mint("usr_1234", "ses_1234", "admin", "x", now).unwrap();
        assert!(verifier.verify(&foreign, now).is_none());
        assert!(verifier.verify(&token[..token.len() - 2], now).is_none());
        assert!(verifier.verify("", now).is_none());
        assert!(verifier.verify(&"a".repeat(65_536), now).is_none());
        let parts: Vec<&str> = token.split('.').collect();
        for header in [
            r#"{"alg":"none","typ":"at+jwt"}"#,
            r#"{"alg":"HS256","typ":"at+jwt"}"#,
            r#"{"alg":"EdDSA","typ":"rt+jwt"}"#,
        ] {
            let forged = format!("{}.{}.{}", base64url(header.as_bytes()), parts[1], parts[2]);
            assert!(verifier.verify(&forged, now).is_none(), "{header}");
            assert!(
                verifier
                    .verify(&format!("{}.{}.", base64url(header.as_bytes()), parts[1]), now)
                    .is_none()
            );
        }
    }
}
