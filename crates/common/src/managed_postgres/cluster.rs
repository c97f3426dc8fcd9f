//! The files of the private cluster: where they are, how they come to be.
//!
//! Invariant: `<data directory>/postgres` is either absent or a complete cluster. It is made under another name and
//! renamed when it is complete, so a crash in the middle leaves only a leftover that the next start removes.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::account::{self, Account};
use super::installation::{self, Installation};
use super::{ManagedPostgresError, Settings, io_error};

/// The only superuser of the cluster, and the role that Attune connects as.
pub(super) const ROLE: &str = "attune";
/// The number in the name of the socket; no TCP port is opened.
pub(super) const PORT: u16 = 5432;

const INCOMPLETE_PREFIX: &str = "postgres.incomplete-";
/// What a socket's address has room for, without the final zero byte.
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Appended to the cluster's `postgresql.conf`; belongs to the operator from then on.
const CONFIGURATION: &str = "
# Written by Attune when it made this cluster; change what you like. The listen address, the socket and the log are
# given on the command line and cannot be changed here.
max_connections = 200
shared_buffers = 128MB
# Attune's statements are short: compiling them takes longer than running them.
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%a '
";

/// A complete cluster and everything needed to run it.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) directory: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) log: PathBuf,
    pub(super) account: Account,
    pub(super) installation: Installation,
    pub(super) durable: bool,
}

impl Cluster {
    /// Opens the cluster in the data directory, making it if there is none. The caller holds the lock.
    pub(super) async fn open(settings: &Settings, data_dir: &Path) -> Result<Self, ManagedPostgresError> {
        let directory = data_dir.join("postgres");
        let account = Account::for_cluster(&directory)?;
        account.check_reaches(data_dir)?;
        remove_incomplete(data_dir);

        let path = std::env::var_os("PATH");
        let major = read_major(&directory)?;
        let installation =
            installation::find(path.as_deref(), major.map(|major| (directory.as_path(), major)))?;
        let socket_dir = socket_dir(data_dir);
        let log = data_dir.join("postgres.log");
        let cluster = Self { directory, socket_dir, log, account, installation, durable: settings.durable };
        if major.is_none() {
            cluster.initialise(data_dir).await?;
        }
        cluster.account.private_directory(&cluster.socket_dir)?;
        Ok(cluster)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{PORT}"))
    }

    /// The URL of a database of the cluster; libpq and sqlx understand it.
    pub(super) fn url(&self, database: &str) -> String {
        url_of(&self.socket_dir, database)
    }

    /// A program of the installation that runs under the account and sees nothing of our environment but what it
    /// needs: neither settings of another PostgreSQL (`PG*`) nor secrets.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.installation.program(program));
        command.env_clear().env("LC_ALL", "C");
        for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        self.account.apply(&mut command);
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    async fn initialise(&self, data_dir: &Path) -> Result<(), ManagedPostgresError> {
        tracing::info!(
            directory = %self.directory.display(),
            version = self.installation.major,
            account = self.account.name,
            "creating a private PostgreSQL cluster"
        );
        let incomplete = tempfile::Builder::new()
            .prefix(INCOMPLETE_PREFIX)
            .tempdir_in(data_dir)
            .map_err(io_error("create a directory in", data_dir))?;
        self.account.give(incomplete.path())?;

        let mut initdb = self.command("initdb");
        initdb.arg("--pgdata").arg(incomplete.path());
        // Without a locale, text has the same order on every platform and in every version.
        initdb.args(["--encoding=UTF8", "--no-locale", "--no-instructions"]);
        // The socket directory is closed to other accounts.
        initdb.args(["--auth=trust", "--username", ROLE]);
        initdb.arg(if self.durable { "--data-checksums" } else { "--no-sync" });
        let program = self.installation.program("initdb");
        let output = initdb.kill_on_drop(true).output().await.map_err(io_error("run", &program))?;
        if !output.status.success() {
            return Err(ManagedPostgresError::Initdb {
                status: output.status.to_string(),
                output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }

        let configuration = incomplete.path().join("postgresql.conf");
        let free = free_bytes(incomplete.path());
        let text = format!("{CONFIGURATION}max_wal_size = {}MB\n", wal_megabytes(free));
        self.append(&configuration, &text).map_err(io_error("write", &configuration))?;
        std::fs::rename(incomplete.path(), &self.directory)
            .map_err(io_error("put the new cluster into", &self.directory))?;
        // The directory has its final name: there is nothing left to delete.
        let _ = incomplete.keep();
        File::open(data_dir).and_then(|dir| self.sync(&dir)).map_err(io_error("sync", data_dir))
    }

    fn append(&self, path: &Path, text: &str) -> std::io::Result<()> {
        let mut file = File::options().append(true).open(path)?;
        file.write_all(text.as_bytes())?;
        self.sync(&file)
    }

    fn sync(&self, file: &File) -> std::io::Result<()> {
        if self.durable { file.sync_all() } else { Ok(()) }
    }
}

/// How much of the write-ahead log may gather before a checkpoint: after each one, every page is written whole once more. An
/// eighth of the free space; not so much that it would take minutes to recover from a crash under full load.
fn wal_megabytes(free: Option<u64>) -> u64 {
    free.map_or(0, |bytes| bytes / 8 / 1_048_576).clamp(1024, 8192)
}

fn free_bytes(directory: &Path) -> Option<u64> {
    let found = nix::sys::statvfs::statvfs(directory).ok()?;
    Some(found.blocks_available() * found.fragment_size())
}

/// Makes the data directory unless it is there, and gives its one true name.
pub(super) fn prepare_data_dir(data_dir: &Path) -> Result<PathBuf, ManagedPostgresError> {
    let absolute = std::path::absolute(data_dir).map_err(io_error("find", data_dir))?;
    let data_dir = account::create_data_dir(&absolute)?;
    if data_dir.to_str().is_none() {
        return Err(ManagedPostgresError::NotUtf8 { directory: data_dir });
    }
    Ok(data_dir)
}

/// The major version of the cluster; None if there is no cluster.
fn read_major(directory: &Path) -> Result<Option<u32>, ManagedPostgresError> {
    let not_a_cluster = || ManagedPostgresError::NotACluster { directory: directory.to_owned() };
    let version = directory.join("PG_VERSION");
    match std::fs::read_to_string(&version) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| not_a_cluster()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match std::fs::read_dir(directory) {
            Ok(mut entries) => entries.next().map_or(Ok(None), |_| Err(not_a_cluster())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", directory)(error)),
        },
        Err(error) => Err(io_error("read", &version)(error)),
    }
}

/// Removes what an interrupted initialisation left. Failing is harmless: the next one takes another name.
fn remove_incomplete(data_dir: &Path) {
    let Ok(entries) = std::fs::read_dir(data_dir) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| name.starts_with(INCOMPLETE_PREFIX)) {
            continue;
        }
        match std::fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed an incomplete PostgreSQL cluster"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove an incomplete cluster");
            }
        }
    }
}

fn url_of(socket_dir: &Path, database: &str) -> String {
    let host = percent_encode(socket_dir.as_os_str().as_encoded_bytes());
    format!("postgres:///{database}?host={host}&port={PORT}&user={ROLE}&sslmode=disable")
}

/// The URL of a database of the cluster in this data directory, while its server takes connections.
pub(super) fn running_url(data_dir: &Path, database: &str) -> Option<String> {
    let data_dir = data_dir.canonicalize().ok()?;
    let socket_dir = socket_dir(&data_dir);
    // Outside of the data directory somebody else's server could wait there.
    let owner = |path: &Path| std::fs::symlink_metadata(path).ok().map(|metadata| metadata.uid());
    if owner(&socket_dir)? != owner(&data_dir.join("postgres"))? {
        return None;
    }
    UnixStream::connect(socket_dir.join(format!(".s.PGSQL.{PORT}"))).ok()?;
    Some(url_of(&socket_dir, database))
}

/// The directory of the socket: in the data directory, unless its path is too long for a socket's address. The same data
/// directory always gives the same one, so that a server that still runs is found again.
fn socket_dir(data_dir: &Path) -> PathBuf {
    let inside = data_dir.join("socket");
    let longest = inside.join(format!(".s.PGSQL.{PORT}"));
    if longest.as_os_str().len() <= SOCKET_PATH_LIMIT {
        return inside;
    }
    let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    // Not the system's temporary directory: on macOS that one is long as well, and it may differ from start to start.
    Path::new("/tmp").join(format!("attune-{}", hex::encode(&digest[..8])))
}

/// Percent-encoding that libpq and form decoding read alike: no `+` for a space.
fn percent_encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut encoded, &byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_socket_dir_is_inside_the_data_directory_while_its_path_fits() {
        let check = |length: usize, inside: bool| {
            let data_dir = PathBuf::from(format!("/{}", "d".repeat(length - 1)));
            let dir = socket_dir(&data_dir);
            assert_eq!(dir.starts_with(&data_dir), inside, "{length}");
            assert!(dir.join(".s.PGSQL.5432").as_os_str().len() <= SOCKET_PATH_LIMIT);
            assert_eq!(dir, socket_dir(&data_dir));
        };
        // "/socket/.s.PGSQL.5432" takes 21 bytes.
        check(SOCKET_PATH_LIMIT - 21, true);
        check(SOCKET_PATH_LIMIT - 20, false);
        assert_ne!(socket_dir(Path::new(&"/a".repeat(99))), socket_dir(Path::new(&"/b".repeat(99))));
    }

    #[test]
    fn test_the_log_may_grow_with_the_free_space() {
        let gigabytes = |count: u64| Some(count << 30);
        for (free, expected) in [
            (None, 1024),
            (gigabytes(4), 1024),
            (gigabytes(16), 2048),
            (gigabytes(40), 5120),
            (gigabytes(900), 8192),
        ] {
            assert_eq!(wal_megabytes(free), expected, "{free:?}");
        }
    }

    #[test]
    fn test_percent_encode_keeps_paths_readable() {
        let check = |text: &str, expected: &str| assert_eq!(percent_encode(text.as_bytes()), expected);
        check("/var/lib/attune/socket", "/var/lib/attune/socket");
        check("/home/a b/ü&x=1", "/home/a%20b/%C3%BC%26x%3D1");
    }

    #[test]
    fn test_read_major_tells_a_cluster_from_other_directories() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_major(&dir.path().join("absent")).unwrap(), None);
        assert_eq!(read_major(dir.path()).unwrap(), None);
        std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        let message = read_major(dir.path()).unwrap_err().to_string();
        assert!(message.contains("PG_VERSION"), "{message}");
        std::fs::write(dir.path().join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(read_major(dir.path()).unwrap(), Some(15));
    }
}
