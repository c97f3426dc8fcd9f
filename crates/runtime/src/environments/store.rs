//! Environments on disk: `<pack>/<key>`, each with a file that tells what it is and is locked while it is in use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::EnvironmentError;
use super::requirements::files_of;

/// Written last; locked (shared) while somebody uses the environment.
const MARKER: &str = ".attune-environment.json";
/// Begins the name of a directory in which one is built.
const BUILDING: &str = ".building-";
/// Begins the name of the file that whoever builds one holds locked.
const LOCK: &str = ".lock-";
/// Where an environment of Node keeps the files of its pack, by their checksum.
const FILES: &str = "files";
/// How many environments of a pack are kept for its other versions.
const KEPT: usize = 3;
/// An environment that nobody used for so long is removed, whatever its pack.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// A use is noted this often.
const NOTED: Duration = Duration::from_secs(3600);

/// Where environments live.
#[derive(Debug, Clone)]
pub(super) struct Store {
    root: PathBuf,
}

/// What an environment says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) language: String,
    pub(super) interpreter: PathBuf,
    pub(super) version: String,
    pub(super) built_from: String,
    pub(super) seconds: f64,
}

/// An environment in use: while this exists nobody removes it.
#[derive(Debug)]
pub struct OpenEnvironment {
    path: PathBuf,
    interpreter: PathBuf,
    _lock: File,
}

impl OpenEnvironment {
    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still there, and its interpreter too. What somebody removed from within it is not seen.
    pub(super) fn is_whole(&self) -> bool {
        self.path.join(MARKER).exists() && self.interpreter.exists() && has_content(&self.path)
    }
}

/// The right to build an environment, until it is dropped.
#[derive(Debug)]
pub(super) struct BuildLock {
    _file: File,
}

impl Store {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn path(&self, pack_ref: &str, key: &str) -> PathBuf {
        self.root.join(pack_ref).join(key)
    }

    /// Takes an environment into use. None if it is not there, or not whole.
    pub(super) fn open(&self, pack_ref: &str, key: &str) -> Option<OpenEnvironment> {
        use std::os::unix::fs::MetadataExt;

        let path = self.path(pack_ref, key);
        let file = File::open(path.join(MARKER)).ok()?;
        // Whoever removes it holds the lock until it is gone: that is no time to wait for it.
        file.try_lock_shared().ok()?;
        let metadata = file.metadata().ok()?;
        if metadata.nlink() == 0 {
            return None;
        }
        let marker: Marker = serde_json::from_reader(io::BufReader::new(&file)).ok()?;
        let environment = OpenEnvironment { path, interpreter: marker.interpreter, _lock: file };
        if !environment.is_whole() {
            tracing::warn!(environment = %environment.path.display(), "an environment is damaged; it is built anew");
            return None;
        }
        let used = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        if used.is_some_and(|ago| ago > NOTED) {
            let touched = OpenOptions::new().append(true).open(environment.path.join(MARKER));
            if let Ok(marker) = touched {
                // Only the order of removal depends on it.
                let _noted = marker.set_modified(SystemTime::now());
            }
        }
        Some(environment)
    }

    /// The right to build an environment; None while another process has it.
    pub(super) fn lock(&self, pack_ref: &str, key: &str) -> Result<Option<BuildLock>, EnvironmentError> {
        let directory = self.root.join(pack_ref);
        fs::create_dir_all(&directory).map_err(|error| failed("create", &directory, &error))?;
        let path = directory.join(format!("{LOCK}{key}"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| failed("open", &path, &error))?;
        match file.try_lock() {
            // Held by a file that was removed meanwhile, it would be no lock for who comes next.
            Ok(()) if is_at(&file, &path) => Ok(Some(BuildLock { _file: file })),
            Ok(()) | Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(failed("lock", &path, &error)),
        }
    }

    /// An empty directory to build in, under the lock; what a build that was killed left of this key is removed first.
    pub(super) fn begin(&self, pack_ref: &str, key: &str) -> Result<PathBuf, EnvironmentError> {
        let path = self.root.join(pack_ref).join(format!("{BUILDING}{key}"));
        remove(&path)?;
        fs::create_dir(&path).map_err(|error| failed("create", &path, &error))?;
        Ok(path)
    }

    /// Gives a complete environment its name, under the lock.
    pub(super) fn publish(
        &self,
        pack_ref: &str,
        key: &str,
        built: &Path,
        marker: &Marker,
    ) -> Result<(), EnvironmentError> {
        let path = built.join(MARKER);
        serde_json::to_vec_pretty(marker)
            .map_err(io::Error::other)
            .and_then(|content| {
                let mut file = File::create(&path)?;
                file.write_all(&content)?;
                // The name must not reach the disk before what it stands for.
                sync_all_below(&file)
            })
            .map_err(|error| failed("write", &path, &error))?;
        let target = self.path(pack_ref, key);
        // One that is there is damaged, or there would be no build.
        remove(&target)?;
        fs::rename(built, &target).map_err(|error| failed("rename the new environment to", &target, &error))
    }

    /// Removes a directory in which something was built that is not to be.
    pub(super) fn discard(&self, built: &Path) {
        if let Err(error) = remove(built) {
            tracing::warn!(%error, "a build of an environment left files behind");
        }
    }

    /// Removes environments that nobody uses: of this pack all but the latest few, of any pack those unused for long.
    pub(super) fn remove_unused(&self, pack_ref: Option<&str>) {
        let Ok(packs) = fs::read_dir(&self.root) else { return };
        for pack in packs.flatten() {
            let name = pack.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                self.remove_unused_of(&name, pack_ref.is_none_or(|pack_ref| pack_ref == name));
            }
        }
    }

    fn remove_unused_of(&self, pack_ref: &str, by_number: bool) {
        let Ok(entries) = fs::read_dir(self.root.join(pack_ref)) else { return };
        let mut found: Vec<(SystemTime, PathBuf, String)> = Vec::new();
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let used = fs::metadata(path.join(MARKER)).and_then(|metadata| metadata.modified());
            match (name.strip_prefix(BUILDING), used) {
                (Some(key), _) => self.remove_locked(pack_ref, key, &path),
                (None, Ok(used)) if !name.starts_with('.') => found.push((used, path, name)),
                (None, _) => {}
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        for (place, (used, path, key)) in found.into_iter().enumerate() {
            let is_old = used.elapsed().is_ok_and(|ago| ago > UNUSED);
            if (is_old || (by_number && place >= KEPT)) && is_free(&path) {
                self.remove_locked(pack_ref, &key, &path);
            }
        }
    }

    /// Removes a directory that belongs to a key, unless that is being built.
    fn remove_locked(&self, pack_ref: &str, key: &str, path: &Path) {
        let Ok(Some(_lock)) = self.lock(pack_ref, key) else { return };
        // Held until it is gone. Without a marker nobody can use it.
        let marker = File::open(path.join(MARKER)).ok();
        if marker.as_ref().is_some_and(|marker| marker.try_lock().is_err()) {
            return;
        }
        match remove(path) {
            Ok(()) => {
                tracing::info!(environment = %path.display(), "removed an environment that nobody uses");
                let lock = self.root.join(pack_ref).join(format!("{LOCK}{key}"));
                // Whoever waits for it sees that it is gone, and takes another.
                let _removed = fs::remove_file(lock);
            }
            Err(error) => tracing::warn!(%error, "an old environment cannot be removed"),
        }
    }
}

fn is_free(environment: &Path) -> bool {
    File::open(environment.join(MARKER)).is_ok_and(|marker| marker.try_lock().is_ok())
}

/// Whether there is more than the marker: what was emptied is as good as gone.
fn has_content(environment: &Path) -> bool {
    environment.join("bin/python").exists() || environment.join("node_modules").is_dir()
}

fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Brings the whole file system of this file to the disk.
#[cfg(target_os = "linux")]
fn sync_all_below(file: &File) -> io::Result<()> {
    nix::unistd::syncfs(file).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn sync_all_below(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// The files of a pack beside the modules of an environment, where they are to be run: Node looks for modules in the directories
/// above a file, and nowhere else that both of its module systems know. So each environment has the files for itself, and the
/// runtimes of a pack get each their own modules.
pub(super) fn place_files(
    pack: &Path,
    checksum: &str,
    environment: &Path,
) -> Result<PathBuf, EnvironmentError> {
    let all = environment.join(FILES);
    let target = all.join(checksum);
    // Without this the pack would have no environment.
    if target.join("package.json").is_file() {
        return Ok(target);
    }
    fs::create_dir_all(&all).map_err(|error| failed("create", &all, &error))?;
    remove_outdated(&all, pack);
    let temporary = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempdir_in(&all)
        .map_err(|error| failed("create a directory in", &all, &error))?;
    for file in files_of(pack).map_err(|error| failed("read", pack, &error))? {
        let (from, to) = (pack.join(&file), temporary.path().join(&file));
        let parent = to.parent().unwrap_or(temporary.path());
        fs::create_dir_all(parent).map_err(|error| failed("create", parent, &error))?;
        // A second name costs no space; where there can be none, a copy does.
        fs::hard_link(&from, &to)
            .or_else(|_| fs::copy(&from, &to).map(drop))
            .map_err(|error| failed("write", &to, &error))?;
    }
    match fs::rename(temporary.path(), &target) {
        Ok(()) => {
            // It has moved: there is nothing left to remove.
            let _moved = temporary.keep();
        }
        // Another process was quicker, or something of it was removed.
        Err(_) if target.join("package.json").is_file() => {}
        Err(_) => {
            remove(&target)?;
            fs::rename(temporary.path(), &target)
                .map_err(|error| failed("rename a new directory to", &target, &error))?;
            let _moved = temporary.keep();
        }
    }
    Ok(target)
}

/// Removes the files of versions of the pack that are no longer on this machine, and so are run by nobody.
fn remove_outdated(all: &Path, pack: &Path) {
    let versions = pack.parent().unwrap_or(pack);
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_version = !name.to_string_lossy().starts_with('.');
        if is_version
            && !versions.join(&name).exists()
            && let Err(error) = remove(&entry.path())
        {
            tracing::warn!(%error, "files of an old version of a pack cannot be removed");
        }
    }
}

fn remove(path: &Path) -> Result<(), EnvironmentError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}

pub(super) fn failed(doing: &'static str, path: &Path, error: &io::Error) -> EnvironmentError {
    EnvironmentError::Io { doing, path: path.to_owned(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_files_stay_beside_their_modules_as_long_as_their_version() {
        let root = tempfile::tempdir().unwrap();
        let (packs, environment) = (root.path().join("packs/web"), root.path().join("environments/web/key"));
        for version in ["a", "b"] {
            let pack = packs.join(version);
            fs::create_dir_all(pack.join("actions")).unwrap();
            fs::write(pack.join("package.json"), "{}").unwrap();
            fs::write(pack.join("actions/run.js"), version).unwrap();
        }
        fs::create_dir_all(&environment).unwrap();
        let place = |version: &str| place_files(&packs.join(version), version, &environment).unwrap();
        let first = place("a");
        assert_eq!(first, environment.join("files/a"));
        assert_eq!(fs::read_to_string(first.join("actions/run.js")).unwrap(), "a");
        assert_eq!(place("a"), first);
        // What somebody took away is there again.
        fs::remove_file(first.join("package.json")).unwrap();
        assert_eq!(place("a"), first);
        assert!(first.join("package.json").is_file());
        let second = place("b");
        assert!(
            first.is_dir() && second.join("actions/run.js").is_file(),
            "both versions are on this machine"
        );
        fs::remove_dir_all(packs.join("a")).unwrap();
        fs::remove_dir_all(&second).unwrap();
        place("b");
        assert!(!first.exists() && second.is_dir());
        let left: Vec<_> = fs::read_dir(environment.join("files")).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
