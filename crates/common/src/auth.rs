//! Passwords and tokens: how they are made and how they are kept. Neither can be read back from what is stored.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Hashes a password with Argon2id and a random salt, into a PHC string. Takes tens of milliseconds on purpose: call it
/// where blocking is allowed.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| PasswordError(error.to_string()))
}

/// Whether the password is the one that was hashed. Without a hash (an unknown login) the same work is done, so that
/// the time tells nothing.
pub fn verify_password(password: &str, hash: Option<&str>) -> bool {
    let stored = hash.and_then(|hash| PasswordHash::new(hash).ok());
    match stored {
        Some(stored) => Argon2::default().verify_password(password.as_bytes(), &stored).is_ok(),
        None => {
            // The result does not matter; the time does.
            drop(hash_password(password));
            false
        }
    }
}

/// Why a password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct PasswordError(String);

/// A random secret of 32 bytes with a prefix that tells what it is (and that secret scanners can look for).
pub fn random_secret(prefix: &str) -> String {
    let bytes: [u8; 32] = rand::random();
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// A new API token, as it is handed out once.
pub fn new_token() -> String {
    random_secret("attune_")
}

/// A new webhook key: 20 random bytes, which nobody guesses.
pub fn new_webhook_key() -> String {
    let bytes: [u8; 20] = rand::random();
    hex::encode(bytes)
}

/// What is stored of a token. A token is random, so a fast hash is enough.
pub fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// A password for a person to copy once: four groups of five characters that are not mistaken for one another.
pub fn generate_password() -> String {
    const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
    let mut password = String::new();
    for position in 0..20 {
        if position > 0 && position % 5 == 0 {
            password.push('-');
        }
        let index = rand::random_range(0..ALPHABET.len());
        password.push(char::from(ALPHABET[index]));
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_password_verifies_only_itself() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(verify_password("correct horse", Some(&hash)));
        assert!(!verify_password("correct horsf", Some(&hash)));
        assert!(!verify_password("correct horse", None));
        assert!(!verify_password("correct horse", Some("no hash at all")));
    }

    #[test]
    fn test_generated_secrets_differ_and_have_their_form() {
        assert_ne!(new_token(), new_token());
        assert_eq!(new_token().len(), "attune_".len() + 43);
        assert_eq!(new_webhook_key().len(), 40);
        let password = generate_password();
        assert_eq!(password.split('-').map(str::len).collect::<Vec<_>>(), [5, 5, 5, 5]);
    }
}
