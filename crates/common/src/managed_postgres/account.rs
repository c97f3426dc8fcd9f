//! The account that PostgreSQL runs under. PostgreSQL refuses to run as root, so root runs it under an unprivileged
//! account: the owner of an existing cluster, else `postgres`, else `nobody`. Anybody else runs it as themselves.

use std::fs::{DirBuilder, Metadata, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, geteuid};
use tokio::process::Command;

use super::{ManagedPostgresError, io_error};

const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    uid: Uid,
    gid: Gid,
    /// Whether it is another account than that of this process.
    is_other: bool,
}

impl Account {
    /// The account for a cluster directory, which need not exist yet.
    pub(super) fn for_cluster(cluster: &Path) -> Result<Self, ManagedPostgresError> {
        let owner = match std::fs::metadata(cluster) {
            Ok(metadata) => Some(Uid::from_raw(metadata.uid())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("read", cluster)(error)),
        };
        let me = geteuid();
        let foreign = |owner: Uid, expected: String| ManagedPostgresError::ForeignOwner {
            directory: cluster.to_owned(),
            owner: account_name(owner),
            expected,
        };
        match owner {
            Some(owner) if !me.is_root() && owner != me => Err(foreign(owner, account_name(me))),
            _ if !me.is_root() => {
                Ok(Self { name: account_name(me), uid: me, gid: nix::unistd::getegid(), is_other: false })
            }
            Some(owner) if owner.is_root() => Err(foreign(owner, Self::unprivileged()?.name)),
            Some(owner) => match User::from_uid(owner).ok().flatten() {
                Some(user) => Ok(Self::other(user)),
                None => Err(foreign(owner, Self::unprivileged()?.name)),
            },
            None => Self::unprivileged(),
        }
    }

    fn unprivileged() -> Result<Self, ManagedPostgresError> {
        let user = ACCOUNTS.iter().find_map(|name| User::from_name(name).ok().flatten());
        user.map(Self::other).ok_or(ManagedPostgresError::NoAccount)
    }

    fn other(user: User) -> Self {
        Self { name: user.name, uid: user.uid, gid: user.gid, is_other: true }
    }

    /// Lets a program run under the account.
    pub(super) fn apply(&self, command: &mut Command) {
        if self.is_other {
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
    }

    /// Gives a directory or file to the account.
    pub(super) fn give(&self, path: &Path) -> Result<(), ManagedPostgresError> {
        if !self.is_other {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .map_err(io_error("give to the account of PostgreSQL", path))
    }

    /// Makes the directory, open to nobody but the account, unless it is there; one that belongs to somebody else is
    /// refused, because whoever owns the directory of the socket is a superuser of the database.
    pub(super) fn private_directory(&self, path: &Path) -> Result<(), ManagedPostgresError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => return self.give(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error("create", path)(error)),
        }
        let metadata = std::fs::symlink_metadata(path).map_err(io_error("read", path))?;
        if !metadata.is_dir() || metadata.uid() != self.uid.as_raw() {
            return Err(ManagedPostgresError::ForeignOwner {
                directory: path.to_owned(),
                owner: account_name(Uid::from_raw(metadata.uid())),
                expected: self.name.clone(),
            });
        }
        std::fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(io_error("set the mode of", path))
    }

    /// Fails if the account cannot get to the directory because one above it is closed.
    pub(super) fn check_reaches(&self, directory: &Path) -> Result<(), ManagedPostgresError> {
        if !self.is_other {
            return Ok(());
        }
        let closed = directory
            .ancestors()
            .filter(|dir| std::fs::metadata(dir).is_ok_and(|metadata| !self.may_enter(&metadata)))
            .last();
        match closed {
            None => Ok(()),
            Some(closed) => Err(ManagedPostgresError::NotTraversable {
                directory: directory.to_owned(),
                closed: closed.to_owned(),
                account: self.name.clone(),
            }),
        }
    }

    fn may_enter(&self, metadata: &Metadata) -> bool {
        let bit = if metadata.uid() == self.uid.as_raw() {
            0o100
        } else if metadata.gid() == self.gid.as_raw() {
            0o010
        } else {
            0o001
        };
        metadata.mode() & bit != 0
    }
}

/// Makes the data directory. Under root, others may pass through it (the account of PostgreSQL has to) but not list
/// it; else it is closed to others.
pub(super) fn create_data_dir(data_dir: &Path) -> Result<PathBuf, ManagedPostgresError> {
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    let missing: Vec<&Path> = data_dir.ancestors().take_while(|dir| !dir.exists()).collect();
    for directory in missing.into_iter().rev() {
        match std::fs::create_dir(directory) {
            Ok(()) => std::fs::set_permissions(directory, Permissions::from_mode(mode)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(io_error("create", directory))?;
    }
    data_dir.canonicalize().map_err(io_error("find", data_dir))
}

fn account_name(uid: Uid) -> String {
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("the user with id {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger() -> Account {
        // An id that owns nothing on any machine.
        let id = 4_000_000_001;
        Account {
            name: "stranger".to_owned(),
            uid: Uid::from_raw(id),
            gid: Gid::from_raw(id),
            is_other: true,
        }
    }

    #[test]
    fn test_a_closed_directory_above_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        let inner = closed.join("inner");
        std::fs::create_dir_all(&inner).unwrap();
        for open in [dir.path(), inner.as_path()] {
            std::fs::set_permissions(open, Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();

        let message = stranger().check_reaches(&inner).unwrap_err().to_string();

        assert!(message.contains(&format!("chmod o+x {}", closed.display())), "{message}");
        std::fs::set_permissions(&closed, Permissions::from_mode(0o711)).unwrap();
        stranger().check_reaches(&inner).unwrap();
    }

    #[test]
    fn test_a_directory_of_somebody_else_is_not_used_for_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let message = stranger().private_directory(dir.path()).unwrap_err().to_string();
        assert!(message.contains("stranger"), "{message}");
    }

    #[test]
    fn test_data_dir_is_made_with_its_parents() {
        let dir = tempfile::tempdir().unwrap();
        let made = create_data_dir(&dir.path().join("a/b")).unwrap();
        let expected = if geteuid().is_root() { 0o711 } else { 0o700 };
        assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, expected);
        assert_eq!(std::fs::metadata(made.parent().unwrap()).unwrap().mode() & 0o777, expected);
    }
}
