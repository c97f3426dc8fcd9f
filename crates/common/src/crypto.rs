//! Encryption of secrets: AES-256-GCM with a random nonce for each value. The associated data binds a ciphertext to
//! the place it belongs to, so that values cannot be exchanged for one another in the database.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use sha2::{Digest, Sha256};

const NONCE_BYTES: usize = 12;

/// How many bytes a sealed value has more than the plain one: its nonce, and its tag of 16 bytes.
pub const SEAL_BYTES: usize = NONCE_BYTES + 16;

/// A key of 256 bits. Never shown, not even for debugging.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    #[error("the secret cannot be decrypted: it was changed, or belongs to another place or key")]
    Tampered,
    #[error("the secret cannot be encrypted")]
    Encrypt,
    #[error("{origin}: a master key is 64 hexadecimal digits (32 bytes)")]
    MasterKeyFormat { origin: String },
    #[error(
        "{path}: the master key file can be read by others (mode {mode:o}); run `chmod 600 {path}`",
        path = path.display()
    )]
    MasterKeyMode { path: PathBuf, mode: u32 },
    #[error("{path}: cannot read or write the master key file", path = path.display())]
    MasterKeyFile { path: PathBuf, source: std::io::Error },
}

impl SecretKey {
    /// A new random key.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// A key from its 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// The bytes, for wrapping this key under another.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A key written as 64 hexadecimal digits; `origin` names where it stands, for the error.
    pub fn from_hex(digits: &str, origin: &str) -> Result<Self, CryptoError> {
        hex::decode(digits.trim())
            .ok()
            .and_then(|bytes| Self::from_bytes(&bytes))
            .ok_or_else(|| CryptoError::MasterKeyFormat { origin: origin.to_owned() })
    }

    /// Reads the key from a file that only its owner may read.
    pub fn load(path: &Path) -> Result<Self, CryptoError> {
        let fault = |source| CryptoError::MasterKeyFile { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(fault)?;
        let mode = file.metadata().map_err(fault)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CryptoError::MasterKeyMode { path: path.to_owned(), mode });
        }
        let mut digits = String::new();
        file.read_to_string(&mut digits).map_err(fault)?;
        Self::from_hex(&digits, &path.display().to_string())
    }

    /// Reads the key from a file that only its owner may read, or makes it with a new random key. Two processes that
    /// start at once end up with the same key, and a key that was given back is on disk.
    pub fn load_or_create(path: &Path) -> Result<Self, CryptoError> {
        match Self::load(path) {
            Err(CryptoError::MasterKeyFile { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Self::create(path)
                    .map_err(|source| CryptoError::MasterKeyFile { path: path.to_owned(), source })?;
                Self::load(path)
            }
            loaded => loaded,
        }
    }

    /// Puts a new random key there, unless there is one.
    fn create(path: &Path) -> std::io::Result<()> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(directory)?;
        // Written beside and linked into place: a reader never sees half a key, and the first writer wins.
        let draft = directory.join(format!(".master.key.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "{}", hex::encode(Self::generate().0))?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            // What is encrypted under it must not outlive it.
            _ => File::open(directory)?.sync_all(),
        }
    }

    /// Tells keys apart without giving anything away: the first bytes of a hash.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"attune master key fingerprint");
        hasher.update(self.0);
        hex::encode(&hasher.finalize()[..8])
    }

    /// Encrypts; the result is the nonce followed by the ciphertext.
    pub fn seal(&self, plain: &[u8], place: &str) -> Result<Vec<u8>, CryptoError> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let cipher = Aes256Gcm::new(&self.0.into());
        let payload = Payload { msg: plain, aad: place.as_bytes() };
        let mut sealed = nonce.to_vec();
        sealed.extend(cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| CryptoError::Encrypt)?);
        Ok(sealed)
    }

    /// Decrypts what [`SecretKey::seal`] made for the same place.
    pub fn open(&self, sealed: &[u8], place: &str) -> Result<Vec<u8>, CryptoError> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(CryptoError::Tampered)?;
        let cipher = Aes256Gcm::new(&self.0.into());
        let payload = Payload { msg: ciphertext, aad: place.as_bytes() };
        cipher.decrypt(&Nonce::from(*nonce), payload).map_err(|_| CryptoError::Tampered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_open_gives_back_what_was_sealed_for_the_same_place_only() {
        let key = SecretKey::generate();
        let sealed = key.seal(b"hunter2", "key:ops.token").unwrap();
        assert_eq!(key.open(&sealed, "key:ops.token").unwrap(), b"hunter2");
        assert!(matches!(key.open(&sealed, "key:ops.other"), Err(CryptoError::Tampered)));
        assert!(matches!(SecretKey::generate().open(&sealed, "key:ops.token"), Err(CryptoError::Tampered)));
    }

    #[test]
    fn test_any_flipped_bit_is_noticed() {
        let key = SecretKey::generate();
        let sealed = key.seal(b"hunter2", "p").unwrap();
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(key.open(&changed, "p").is_err(), "byte {position}");
        }
        assert!(key.open(&sealed[..8], "p").is_err(), "shorter than a nonce");
    }

    #[test]
    fn test_sealing_twice_gives_different_ciphertexts() {
        let key = SecretKey::generate();
        assert_ne!(key.seal(b"x", "p").unwrap(), key.seal(b"x", "p").unwrap());
    }

    #[test]
    fn test_master_key_file_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/master.key");
        let first = SecretKey::load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SecretKey::load_or_create(&path).unwrap().fingerprint(), first.fingerprint());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = SecretKey::load_or_create(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn test_load_makes_no_master_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        assert!(matches!(SecretKey::load(&path), Err(CryptoError::MasterKeyFile { .. })));
        assert!(!path.exists());
        let made = SecretKey::load_or_create(&path).unwrap();
        assert_eq!(SecretKey::load(&path).unwrap().fingerprint(), made.fingerprint());
    }

    #[test]
    fn test_debug_hides_the_key() {
        let key = SecretKey::from_hex(&"ab".repeat(32), "test").unwrap();
        assert_eq!(format!("{key:?}"), "SecretKey(..)");
        let error = SecretKey::from_hex("secret-but-wrong", "ATTUNE_MASTER_KEY").unwrap_err().to_string();
        assert!(error.contains("ATTUNE_MASTER_KEY") && !error.contains("secret-but-wrong"), "{error}");
    }
}
