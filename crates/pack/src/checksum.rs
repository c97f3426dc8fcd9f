//! The checksum by which a version of a pack's files is known.

use sha2::{Digest, Sha256};

use crate::PackFiles;

/// SHA-256, in hexadecimal digits, over path, mode and content of every file in the order of the paths.
///
/// Paths and contents are preceded by their length in eight bytes, big-endian, so that no two different sets of files
/// give the same input.
pub(crate) fn checksum(files: &PackFiles) -> String {
    let mut digest = Sha256::new();
    for (path, file) in files {
        digest.update((path.len() as u64).to_be_bytes());
        digest.update(path.as_bytes());
        digest.update([u8::from(file.executable)]);
        digest.update((file.content.len() as u64).to_be_bytes());
        digest.update(&file.content);
    }
    hex::encode(digest.finalize())
}
