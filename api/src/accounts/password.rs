//! Passwords: Argon2id, a few at a time, off the async threads.
//!
//! In:    a password and what was stored for it, or nothing for an unknown user.
//! Out:   whether it fits, in the same time for known and unknown users.
//! Never: lets a burst of log-ins take both cores: more than the queue holds are told 429.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use inzira_schemas::Problem;
use rand::RngCore as _;
use tokio::sync::Semaphore;

use crate::config::PasswordCost;
use crate::error::ApiError;

/// Shortest password that we take.
const PASSWORD_CHARS_MIN: usize = 8;
/// Longest: Argon2 would take more, a queue should not.
const PASSWORD_BYTES_MAX: usize = 256;

/// Hashes and checks passwords.
#[derive(Debug)]
pub struct Passwords {
    cost: PasswordCost,
    turns: Semaphore,
    waiting: AtomicUsize,
    dummy: String,
}

impl Passwords {
    /// Makes the dummy hash that unknown users are checked against.
    pub fn new(cost: PasswordCost) -> Result<Arc<Self>, ApiError> {
        let dummy = hash(cost, "nobody has this password")?;
        let turns = Semaphore::new(cost.at_once.max(1));
        Ok(Arc::new(Self { cost, turns, waiting: AtomicUsize::new(0), dummy }))
    }

    /// 422 for a password that is too short or too long.
    pub fn check_wish(password: &str) -> Result<(), ApiError> {
        if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
            return Err(ApiError::invalid("password", "a password has 8 to 256 characters"));
        }
        Ok(())
    }

    /// The hash to store.
    pub async fn hash(self: &Arc<Self>, password: String) -> Result<String, ApiError> {
        let cost = self.cost;
        self.in_turn(move || hash(cost, &password)).await?
    }

    /// Whether `password` fits `stored`; `None` takes as long and never fits.
    pub async fn fits(
        self: &Arc<Self>,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, ApiError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.dummy.clone());
        let fits = self.in_turn(move || verify(&password, &stored)).await?;
        Ok(fits && known)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let full = self.cost.waiting_max + self.cost.at_once;
        let _place =
            Place::take(&self.waiting, full).ok_or_else(|| ApiError::from(Problem::too_many(2)))?;
        let _turn = self.turns.acquire().await.map_err(|_| ApiError::Bug("no turns".to_owned()))?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| ApiError::Bug(format!("password task: {error}")))
    }
}

/// A place in the queue, given back on drop.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, full: usize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::SeqCst);
        let place = Place(waiting);
        (before < full).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn hash(cost: PasswordCost, password: &str) -> Result<String, ApiError> {
    let params = Params::new(cost.memory_kib, cost.passes, 1, None)
        .map_err(|error| ApiError::Bug(format!("password cost: {error}")))?;
    let mut salt = [0_u8; 16];
    rand::rng().fill_bytes(&mut salt);
    let salt =
        SaltString::encode_b64(&salt).map_err(|error| ApiError::Bug(format!("salt: {error}")))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| ApiError::Bug(format!("password hash: {error}")))
}

/// The cost stands in the stored hash.
fn verify(password: &str, stored: &str) -> bool {
    PasswordHash::new(stored)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> PasswordCost {
        PasswordCost { memory_kib: 64, passes: 1, at_once: 1, waiting_max: 1 }
    }

    #[tokio::test]
    async fn the_right_password_fits_and_an_unknown_user_never_does() {
        let passwords = Passwords::new(cheap()).unwrap();
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        assert!(passwords.fits("correct horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.fits("wrong horse".into(), Some(stored)).await.unwrap());
        assert!(!passwords.fits("nobody has this password".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn more_log_ins_than_the_queue_holds_are_told_to_wait() {
        let slow = PasswordCost { memory_kib: 4096, ..cheap() };
        let passwords = Passwords::new(slow).unwrap();
        let all = (0..12).map(|_| passwords.fits("x".into(), None));
        let refused =
            futures::future::join_all(all).await.into_iter().filter(Result::is_err).count();
        assert!(refused >= 8, "{refused}");
        assert!(passwords.fits("x".into(), None).await.is_ok());
    }
}
