//! Puts the files of packs on the disk of this machine, where processes can be started from them.
//!
//! The layout is `<root>/<pack ref>/<checksum>/<files of the pack>`, plus a manifest in each such directory.
//!
//! Invariants: a directory appears under its checksum only when complete, by a rename, whoever else works on the same
//! cache at the same time; no file is written outside of it; a directory that an [`OpenPack`] stands for is not removed.
//! Everything here blocks on the disk.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    fs::{File, OpenOptions},
    io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// How many versions of a pack are kept.
const KEPT_VERSIONS: usize = 3;
/// Lists the files that belong to the directory it lies in. Written last; locked (shared) while the directory is in use.
const MANIFEST: &str = ".attune-manifest.json";
/// Begins the name of a directory that is being written or removed.
const TEMPORARY: &str = ".tmp-";
/// A directory is not looked through again for so long, for a run that needs one of its files.
const CHECKED_FOR: Duration = Duration::from_secs(10);
/// A temporary directory this old was left behind by a process that died.
const STALE: Duration = Duration::from_secs(3600);

/// The files of packs on disk. Any number of processes may share one root.
#[derive(Debug, Clone)]
pub struct PackCache {
    root: PathBuf,
    /// Directories that were found whole a moment ago.
    checked: Arc<Mutex<HashMap<PathBuf, Checked>>>,
}

/// A directory that was found whole.
#[derive(Debug, Clone)]
struct Checked {
    at: Instant,
    /// Tells the manifest that was read from one that has come in its place.
    manifest_file: (u64, u64),
    manifest: Arc<Manifest>,
}

/// Why the cache could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum PackCacheError {
    #[error("`{value}` is no {what} of a pack, expected {expected}")]
    Name { what: &'static str, value: String, expected: &'static str },
    #[error(
        "the path `{file}` in pack {pack_ref} is not one within the pack: expected a relative path without `.` and `..`"
    )]
    OutsidePath { pack_ref: String, file: String },
    #[error("pack {pack_ref} has the file `{file}` twice, or as a file and as a directory")]
    Conflict { pack_ref: String, file: String },
    #[error("the file {file} of pack {pack_ref} does not exist: {reason}")]
    MissingFile { pack_ref: String, file: String, reason: String },
    #[error("could not {doing} {}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl PackCache {
    /// A cache below `root`, which is made when the first pack is stored.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), checked: Arc::default() }
    }

    /// The directory of a stored pack. Neither checks it nor keeps it: to run something from it, [`PackCache::open`] it.
    pub fn path_of(&self, pack_ref: &str, checksum: &str) -> Option<PathBuf> {
        let path = self.directory(pack_ref, checksum).ok()?;
        path.join(MANIFEST).is_file().then_some(path)
    }

    /// Takes a stored pack into use. None if it is not stored, or not as it was stored: files are gone or have another
    /// size. Storing it makes it whole in both cases.
    pub fn open(&self, pack_ref: &str, checksum: &str) -> Result<Option<OpenPack>, PackCacheError> {
        let path = self.directory(pack_ref, checksum)?;
        let failed = |source, path: &Path| PackCacheError::Io {
            doing: "open the manifest of",
            path: path.to_owned(),
            source,
        };
        let Some(lock) = lock_manifest(&path).map_err(|error| failed(error, &path))? else { return Ok(None) };
        let Some(manifest) = Manifest::read(&lock, &path) else { return Ok(None) };
        if let Some(damage) = manifest.damage(&path) {
            tracing::warn!(pack = pack_ref, checksum, %damage, "a pack in the cache is damaged");
            self.checked().remove(&path);
            return Ok(None);
        }
        let manifest = Arc::new(manifest);
        let manifest_file = identity(&lock).map_err(|error| failed(error, &path))?;
        let mut checked = self.checked();
        checked.retain(|_, checked| checked.at.elapsed() < CHECKED_FOR);
        checked
            .insert(path.clone(), Checked { at: Instant::now(), manifest_file, manifest: manifest.clone() });
        drop(checked);
        Ok(Some(OpenPack { pack_ref: pack_ref.to_owned(), path, manifest, _lock: lock }))
    }

    /// The same for one file of the pack, which is there then. The others are not looked at again within seconds: a pack of
    /// thousands of files would cost each of its runs as many questions to the disk.
    pub fn open_for(
        &self,
        pack_ref: &str,
        checksum: &str,
        file: &str,
    ) -> Result<Option<OpenPack>, PackCacheError> {
        let path = self.directory(pack_ref, checksum)?;
        let known = self.checked().get(&path).filter(|checked| checked.at.elapsed() < CHECKED_FOR).cloned();
        if let Some(known) = known
            && let Ok(Some(lock)) = lock_manifest(&path)
            && identity(&lock).is_ok_and(|there| there == known.manifest_file)
            && path.join(file).is_file()
        {
            let manifest = known.manifest;
            return Ok(Some(OpenPack { pack_ref: pack_ref.to_owned(), path, manifest, _lock: lock }));
        }
        self.open(pack_ref, checksum)
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<PathBuf, Checked>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the files of a pack unless they are there and whole, and removes versions that are no longer needed.
    /// Each file is its path within the pack, its content and whether it may be executed.
    pub fn store<P, B>(
        &self,
        pack_ref: &str,
        checksum: &str,
        files: impl IntoIterator<Item = (P, B, bool)>,
    ) -> Result<PathBuf, PackCacheError>
    where
        P: AsRef<str>,
        B: AsRef<[u8]>,
    {
        let target = self.directory(pack_ref, checksum)?;
        if let Some(pack) = self.open(pack_ref, checksum)? {
            pack.touch();
            return Ok(target);
        }
        let versions = self.root.join(pack_ref);
        fs::create_dir_all(&versions).map_err(|source| failed("create", &versions, source))?;
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(&versions)
            .map_err(|source| failed("create a directory in", &versions, source))?;
        write_files(pack_ref, temporary.path(), files)?;
        self.publish(pack_ref, checksum, temporary, &target)?;
        remove_unneeded(&versions, checksum);
        Ok(target)
    }

    /// Gives the complete directory its name.
    fn publish(
        &self,
        pack_ref: &str,
        checksum: &str,
        temporary: tempfile::TempDir,
        target: &Path,
    ) -> Result<(), PackCacheError> {
        loop {
            match fs::rename(temporary.path(), target) {
                Ok(()) => {
                    // It has moved: there is nothing left to remove.
                    let _ = temporary.keep();
                    return Ok(());
                }
                Err(error) if is_taken(&error) => {
                    if self.open(pack_ref, checksum)?.is_some() {
                        return Ok(()); // Another process was quicker.
                    }
                    set_aside(target)?;
                }
                Err(source) => return Err(failed("rename a new directory to", target, source)),
            }
        }
    }

    fn directory(&self, pack_ref: &str, checksum: &str) -> Result<PathBuf, PackCacheError> {
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if !pack_ref.starts_with(|c: char| c.is_ascii_lowercase()) || !pack_ref.chars().all(named) {
            let expected = "lower-case letters, digits, `_` and `-`, beginning with a letter";
            return Err(PackCacheError::Name { what: "ref", value: pack_ref.to_owned(), expected });
        }
        if checksum.is_empty() || !checksum.chars().all(|c| c.is_ascii_hexdigit()) {
            let expected = "hexadecimal digits";
            return Err(PackCacheError::Name { what: "checksum", value: checksum.to_owned(), expected });
        }
        Ok(self.root.join(pack_ref).join(checksum))
    }
}

/// A pack in use: while this exists, no process that shares the cache removes its directory.
pub struct OpenPack {
    pack_ref: String,
    path: PathBuf,
    manifest: Arc<Manifest>,
    _lock: File,
}

impl OpenPack {
    /// The directory of the pack.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checksum that it is stored under.
    pub fn checksum(&self) -> &str {
        self.path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default()
    }

    /// The path of one of its files, as `actions/check.py`, if it still exists.
    pub fn file(&self, file: &str) -> Result<PathBuf, PackCacheError> {
        let missing = |reason| PackCacheError::MissingFile {
            pack_ref: self.pack_ref.clone(),
            file: file.to_owned(),
            reason,
        };
        if !self.manifest.files.contains_key(file) {
            return Err(missing("the installed pack has no such file".to_owned()));
        }
        let path = self.path.join(file);
        match path.is_file() {
            true => Ok(path),
            false => Err(missing(format!("it was removed from {}", self.path.display()))),
        }
    }

    /// Makes this version count as the latest.
    fn touch(&self) {
        let touched = OpenOptions::new()
            .append(true)
            .open(self.path.join(MANIFEST))
            .and_then(|manifest| manifest.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            tracing::debug!(path = %self.path.display(), %error, "could not mark a pack as used");
        }
    }
}

impl fmt::Debug for OpenPack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenPack").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The files of a directory and their sizes.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Manifest {
    files: BTreeMap<String, u64>,
}

/// The manifest of a directory, locked. None if it has none.
fn lock_manifest(directory: &Path) -> io::Result<Option<File>> {
    use std::os::unix::fs::MetadataExt;

    let file = match File::open(directory.join(MANIFEST)) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    // Whoever removes the directory holds the lock until it is gone.
    file.lock_shared()?;
    Ok((file.metadata()?.nlink() > 0).then_some(file))
}

/// Which file it is, whatever its name.
fn identity(file: &File) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Manifest {
    /// None if it cannot be read.
    fn read(file: &File, directory: &Path) -> Option<Self> {
        match serde_json::from_reader(io::BufReader::new(file)) {
            Ok(manifest) => Some(manifest),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "the manifest of a pack is damaged");
                None
            }
        }
    }

    /// What is wrong with the directory.
    fn damage(&self, directory: &Path) -> Option<String> {
        self.files.iter().find_map(|(file, expected)| match fs::metadata(directory.join(file)) {
            Ok(metadata) if !metadata.is_file() => Some(format!("{file} is not a file")),
            Ok(metadata) if metadata.len() != *expected => {
                Some(format!("{file} has {} bytes, expected {expected}", metadata.len()))
            }
            Ok(_) => None,
            Err(error) => Some(format!("{file}: {error}")),
        })
    }
}

fn write_files<P: AsRef<str>, B: AsRef<[u8]>>(
    pack_ref: &str,
    directory: &Path,
    files: impl IntoIterator<Item = (P, B, bool)>,
) -> Result<(), PackCacheError> {
    let mut manifest = Manifest::default();
    for (file, content, executable) in files {
        let (file, content) = (file.as_ref(), content.as_ref());
        if !is_within(file) || file == MANIFEST {
            return Err(PackCacheError::OutsidePath { pack_ref: pack_ref.to_owned(), file: file.to_owned() });
        }
        let path = directory.join(file);
        write_file(&path, content, executable).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
                PackCacheError::Conflict { pack_ref: pack_ref.to_owned(), file: file.to_owned() }
            }
            _ => failed("write", &path, source),
        })?;
        manifest.files.insert(file.to_owned(), content.len() as u64);
    }
    let path = directory.join(MANIFEST);
    serde_json::to_vec(&manifest)
        .map_err(io::Error::other)
        .and_then(|content| write_file(&path, &content, false))
        .map_err(|source| failed("write", &path, source))
}

fn write_file(path: &Path, content: &[u8], executable: bool) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    // The name under which the directory appears must not reach the disk before what it stands for.
    file.sync_all()
}

/// Whether the path is made of plain names only, and written plainly.
fn is_within(file: &str) -> bool {
    let path = Path::new(file);
    let plain = path.components().all(|component| matches!(component, Component::Normal(_)));
    let rebuilt: PathBuf = path.components().collect();
    plain && !file.is_empty() && !file.contains('\0') && rebuilt.as_os_str() == path.as_os_str()
}

/// Moves a damaged directory out of the way and removes it, unless somebody still uses it.
fn set_aside(directory: &Path) -> Result<(), PackCacheError> {
    let versions = directory.parent().unwrap_or(directory);
    let aside = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempdir_in(versions)
        .map_err(|source| failed("create a directory in", versions, source))?
        .keep();
    match fs::rename(directory, &aside) {
        Ok(()) => {}
        Err(error) if is_absent(&error) => {}
        Err(source) => return Err(failed("move away", directory, source)),
    }
    remove_unless_used(&aside);
    Ok(())
}

/// Removes all but the latest versions and what crashed processes left behind. Failing to is no reason not to run.
fn remove_unneeded(versions: &Path, current: &str) {
    let Ok(entries) = fs::read_dir(versions) else { return };
    let mut complete = Vec::new();
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(TEMPORARY) {
            let age = modified(&path).and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > STALE) {
                remove_unless_used(&path);
            }
        } else if name != current {
            complete.push((modified(&path.join(MANIFEST)), path));
        }
    }
    complete.sort_by(|(a, _), (b, _)| b.cmp(a));
    complete.iter().skip(KEPT_VERSIONS - 1).for_each(|(_, path)| remove_unless_used(path));
}

fn remove_unless_used(directory: &Path) {
    // Held until the directory is gone. Without a manifest nobody can use it.
    let manifest = File::open(directory.join(MANIFEST)).ok();
    if manifest.as_ref().is_some_and(|manifest| manifest.try_lock().is_err()) {
        return;
    }
    match fs::remove_dir_all(directory) {
        Err(error) if !is_absent(&error) => {
            tracing::warn!(directory = %directory.display(), %error, "could not remove an old version of a pack");
        }
        _ => {}
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> PackCacheError {
    PackCacheError::Io { doing, path: path.to_owned(), source }
}
