//! Directories for throw-away servers.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

const MEMORY_DIRECTORY: &str = "/dev/shm";
/// Room for a server, some dozens of databases and one with a million rows in each table.
const NEEDED_BYTES: u128 = 4 << 30;

/// Where throw-away servers live: where `TMPDIR` says, else in memory if there is room, because making a cluster or a
/// database creates hundreds of files.
pub fn scratch_base() -> PathBuf {
    if std::env::var_os("TMPDIR").is_some() {
        return std::env::temp_dir();
    }
    let memory = Path::new(MEMORY_DIRECTORY);
    let free =
        statvfs(memory).map(|stat| u128::from(stat.blocks_available()) * u128::from(stat.fragment_size()));
    if free.is_ok_and(|free| free >= NEEDED_BYTES) { memory.to_owned() } else { std::env::temp_dir() }
}

/// A new directory there, deleted with the value. Under root, a managed server runs under another account: it can get
/// through.
pub fn scratch_directory(prefix: &str) -> io::Result<TempDir> {
    let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(scratch_base())?;
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o711))?;
    Ok(directory)
}
