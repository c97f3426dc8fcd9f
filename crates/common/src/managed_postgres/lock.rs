//! The lock on a data directory: one Attune at a time manages it. The kernel drops the lock when its process ends, however
//! it ends; the process id inside is only for the message to the one who comes second.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{ManagedPostgresError, io_error};

/// Held as long as this value lives. The file stays: removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub(super) struct DataDirLock {
    file: File,
}

impl DataDirLock {
    pub(super) fn take(data_dir: &Path) -> Result<Self, ManagedPostgresError> {
        let path = data_dir.join("lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Without the holder's id the message is still true.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => String::new(),
                    pid => format!(" (process {pid})"),
                };
                return Err(ManagedPostgresError::Locked { directory: data_dir.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
        }
        let write_pid = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write_pid(&mut file).map_err(io_error("write", &path))?;
        Ok(Self { file })
    }
}

impl Drop for DataDirLock {
    // Closing the file is not enough: a child that was forked and has not yet become another program holds it open too.
    fn drop(&mut self) {
        // What fails here is done by the end of the process.
        let _ = self.file.unlock();
    }
}
