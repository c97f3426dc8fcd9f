//! Tokens of sensors: what the process of a sensor signs in with.
//!
//! As those of runs ([`crate::run_token`]) they are signed and not stored. A token names its sensor and the life that its
//! process is, and ends with it: whoever runs the sensor counts its lives, and holds its lock while it does
//! ([`SensorRepository::find_acting`](crate::repositories::SensorRepository::find_acting)).

use std::fmt;

use crate::crypto::SecretKey;
use crate::signed::Signer;

/// Begins every token of a sensor, for scanners of secrets and to tell it from others.
pub const PREFIX: &str = "attune_sensor_";

/// What the key is for: another purpose would get another key from the same master key.
const PURPOSE: &[u8] = b"attune sensor tokens 1";

/// Makes and checks tokens.
#[derive(Clone)]
pub struct SensorTokenKey(Signer);

impl fmt::Debug for SensorTokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SensorTokenKey(..)")
    }
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SensorToken {
    pub sensor: i64,
    pub life: i64,
}

impl SensorTokenKey {
    /// The key that belongs to a master key.
    pub fn of(master: &SecretKey) -> Self {
        Self(Signer::of(master, PURPOSE))
    }

    /// The token as the process gets it.
    pub fn token(&self, token: &SensorToken) -> String {
        self.0.signed(&format!("{PREFIX}{}.{}", token.sensor, token.life))
    }

    /// What a token says, if it was made with this key.
    pub fn check(&self, text: &str) -> Option<SensorToken> {
        let (sensor, life) = self.0.opened(text)?.strip_prefix(PREFIX)?.split_once('.')?;
        Some(SensorToken { sensor: sensor.parse().ok()?, life: life.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_token::{RunToken, RunTokenKey};

    const TOKEN: SensorToken = SensorToken { sensor: 42, life: 3 };

    #[test]
    fn test_a_token_is_valid_under_its_key_alone() {
        let master = SecretKey::generate();
        let key = SensorTokenKey::of(&master);
        let text = key.token(&TOKEN);
        assert!(text.starts_with("attune_sensor_42.3."), "{text}");
        assert_eq!(key.check(&text), Some(TOKEN));
        assert_eq!(SensorTokenKey::of(&SecretKey::generate()).check(&text), None);
        let of_run =
            RunTokenKey::of(&master).token(&RunToken { execution: 42, attempt: 3, expires: i64::MAX });
        assert_eq!(key.check(&of_run), None);
        assert_eq!(key.check(&of_run.replacen("run", "sensor", 1)), None);
    }

    #[test]
    fn test_whatever_is_changed_makes_it_a_forgery() {
        let key = SensorTokenKey::of(&SecretKey::generate());
        let text = key.token(&TOKEN);
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
            assert_eq!(key.check(&String::from_utf8(bytes).unwrap()), None, "{place}");
        }
        for other in ["", ".", PREFIX, &text[..text.len() - 1], "attune_sensor_42.3."] {
            assert_eq!(key.check(other), None, "{other}");
        }
    }

    #[test]
    fn test_debug_hides_the_key() {
        assert_eq!(format!("{:?}", SensorTokenKey::of(&SecretKey::generate())), "SensorTokenKey(..)");
    }
}
