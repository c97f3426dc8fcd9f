//! Tokens of runs: what the process of an attempt signs in with.
//!
//! A token names its execution, its attempt and when it expires, and carries an HMAC over the three under a key that is made
//! from the master key. So making one costs no statement and leaves no row; whoever checks one knows without the database
//! that Attune made it, and asks the database only whether that attempt still runs
//! ([`ActingRunRepository`](crate::repositories::ActingRunRepository)). It ends with the attempt, whatever it says itself.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::crypto::SecretKey;

/// Begins every token of a run, for scanners of secrets and to tell it from the token of an identity.
pub const PREFIX: &str = "attune_run_";

/// What the key is for: another purpose would get another key from the same master key.
const PURPOSE: &[u8] = b"attune run tokens 1";

/// Makes and checks tokens.
#[derive(Clone)]
pub struct RunTokenKey(Hmac<Sha256>);

impl fmt::Debug for RunTokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunTokenKey(..)")
    }
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunToken {
    pub execution: i64,
    pub attempt: i32,
    /// In seconds since 1970; from then on it is not valid.
    pub expires: i64,
}

/// Why a token is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RunTokenError {
    #[error("the token is not one that this Attune made for a run")]
    Forged,
    #[error("the token of the run has expired")]
    Expired,
}

impl RunTokenKey {
    /// The key that belongs to a master key.
    pub fn of(master: &SecretKey) -> Self {
        let derived = keyed(master.as_bytes()).chain_update(PURPOSE).finalize().into_bytes();
        Self(keyed(&derived))
    }

    /// The token as the process gets it.
    pub fn token(&self, token: &RunToken) -> String {
        let signed = token.signed();
        let mac = self.0.clone().chain_update(signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// What a token says, if it was made with this key and has not expired.
    pub fn check(&self, text: &str, now: DateTime<Utc>) -> Result<RunToken, RunTokenError> {
        let (signed, mac) = text.rsplit_once('.').ok_or(RunTokenError::Forged)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| RunTokenError::Forged)?;
        // In constant time.
        let checked = self.0.clone().chain_update(signed.as_bytes()).verify_slice(&mac);
        checked.map_err(|_| RunTokenError::Forged)?;
        let token = RunToken::parse(signed).ok_or(RunTokenError::Forged)?;
        if now.timestamp() < token.expires { Ok(token) } else { Err(RunTokenError::Expired) }
    }
}

impl RunToken {
    fn signed(&self) -> String {
        format!("{PREFIX}{}.{}.{}", self.execution, self.attempt, self.expires)
    }

    fn parse(signed: &str) -> Option<Self> {
        let mut parts = signed.strip_prefix(PREFIX)?.split('.');
        let token = Self {
            execution: parts.next()?.parse().ok()?,
            attempt: parts.next()?.parse().ok()?,
            expires: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(token)
    }
}

/// HMAC takes keys of any length; the error type says otherwise only for other algorithms.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: RunToken = RunToken { execution: 42, attempt: 3, expires: 1_800_000_000 };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn test_a_token_is_valid_until_it_expires_and_under_its_key_alone() {
        let master = SecretKey::generate();
        let text = RunTokenKey::of(&master).token(&TOKEN);
        assert!(text.starts_with("attune_run_42.3.1800000000."), "{text}");
        let key = RunTokenKey::of(&master);
        assert_eq!(key.check(&text, at(TOKEN.expires - 1)), Ok(TOKEN));
        assert_eq!(key.check(&text, at(TOKEN.expires)), Err(RunTokenError::Expired));
        let other = RunTokenKey::of(&SecretKey::generate());
        assert_eq!(other.check(&text, at(0)), Err(RunTokenError::Forged));
    }

    #[test]
    fn test_whatever_is_changed_makes_it_a_forgery() {
        let key = RunTokenKey::of(&SecretKey::generate());
        let text = key.token(&TOKEN);
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last digit of base64 has two bits that say nothing; they must be zero.
            assert_eq!(key.check(&changed, at(0)), Err(RunTokenError::Forged), "{place}");
        }
        for other in ["", ".", PREFIX, &text[..text.len() - 1], "attune_run_42.3.1800000000."] {
            assert_eq!(key.check(other, at(0)), Err(RunTokenError::Forged), "{other}");
        }
    }

    #[test]
    fn test_debug_hides_the_key() {
        assert_eq!(format!("{:?}", RunTokenKey::of(&SecretKey::generate())), "RunTokenKey(..)");
    }
}
