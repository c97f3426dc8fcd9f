//! Tokens of runs: what the process of an attempt signs in with.
//!
//! A token names its execution, its attempt and when it expires, and carries an HMAC over the three under a key that is made
//! from the master key. So making one costs no statement and leaves no row; whoever checks one knows without the database
//! that Attune made it, and asks the database only whether that attempt still runs
//! ([`ActingRunRepository`](crate::repositories::ActingRunRepository)). It ends with the attempt, whatever it says itself.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::crypto::SecretKey;
use crate::signed::Signer;

/// Begins every token of a run, for scanners of secrets and to tell it from the token of an identity.
pub const PREFIX: &str = "attune_run_";

/// What the key is for: another purpose would get another key from the same master key.
const PURPOSE: &[u8] = b"attune run tokens 1";

/// Makes and checks tokens.
#[derive(Clone)]
pub struct RunTokenKey(Signer);

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
        Self(Signer::of(master, PURPOSE))
    }

    /// The token as the process gets it.
    pub fn token(&self, token: &RunToken) -> String {
        self.0.signed(&token.signed())
    }

    /// What a token says, if it was made with this key and has not expired.
    pub fn check(&self, text: &str, now: DateTime<Utc>) -> Result<RunToken, RunTokenError> {
        let token = self.0.opened(text).and_then(RunToken::parse).ok_or(RunTokenError::Forged)?;
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
