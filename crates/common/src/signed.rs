//! Texts that Attune signs, to know them again without having stored them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::crypto::SecretKey;

/// Signs texts and knows its own: HMAC-SHA256 under a key that is made from the master key.
#[derive(Clone)]
pub(crate) struct Signer(Hmac<Sha256>);

impl Signer {
    /// The signer for a purpose; another one gets another key from the same master key.
    pub(crate) fn of(master: &SecretKey, purpose: &[u8]) -> Self {
        let derived = keyed(master.as_bytes()).chain_update(purpose).finalize().into_bytes();
        Self(keyed(&derived))
    }

    /// The text with its signature.
    pub(crate) fn signed(&self, text: &str) -> String {
        let mac = self.0.clone().chain_update(text.as_bytes()).finalize().into_bytes();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// The text without its signature; None where that is not one of this signer.
    pub(crate) fn opened<'t>(&self, signed: &'t str) -> Option<&'t str> {
        let (text, mac) = signed.rsplit_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        // In constant time.
        self.0.clone().chain_update(text.as_bytes()).verify_slice(&mac).ok()?;
        Some(text)
    }
}

/// HMAC takes keys of any length; the error type says otherwise only for other algorithms.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}
