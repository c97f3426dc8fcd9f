//! Pack archives: gzipped tar or zip, packed and unpacked in memory. What an archive may be is bounded before anything of it is believed.

mod zipped;

use std::collections::HashSet;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use tar::{Archive, EntryType};

use crate::{PackFile, PackFiles};

/// What an archive may unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, with what the archive says about its files.
    pub bytes: u64,
    /// Files.
    pub files: usize,
    /// Bytes of one path.
    pub path: usize,
}

impl Limits {
    /// The limits for archives that unpack to this many bytes.
    #[must_use]
    pub fn of(bytes: usize) -> Self {
        Self { bytes: bytes as u64, files: 10_000, path: 1024 }
    }
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is neither a gzipped tar archive nor a zip archive.
    #[error("the body is not a gzipped tar archive or zip archive: {0}")]
    Unreadable(io::Error),
    /// It unpacks to more bytes than that.
    #[error("the archive unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// It has more files than that.
    #[error("the archive has more than {0} files")]
    TooManyFiles(usize),
    /// There is nothing in it.
    #[error("the archive has no files")]
    Empty,
    /// Something in it cannot be part of a pack.
    #[error("{message}")]
    Entry {
        /// The path in the archive.
        path: String,
        /// What is wrong.
        message: String,
    },
}

/// Unpacks an archive of a pack's directory. The files may stand under one common directory, as in the archives that
/// code hosts make.
pub fn unpack(archive: &[u8], limits: Limits) -> Result<PackFiles, ArchiveError> {
    let files =
        if zipped::is_zip(archive) { zipped::unpack(archive, limits)? } else { untar(archive, limits)? };
    if files.is_empty() {
        return Err(ArchiveError::Empty);
    }
    Ok(without_common_directory(files))
}

fn untar(archive: &[u8], limits: Limits) -> Result<PackFiles, ArchiveError> {
    let reader = Bounded { inner: MultiGzDecoder::new(archive), left: limits.bytes };
    let unreadable = |error: io::Error| {
        if error.get_ref().is_some_and(|inner| inner.is::<PastTheEnd>()) {
            ArchiveError::TooLarge(limits.bytes)
        } else {
            ArchiveError::Unreadable(error)
        }
    };
    let mut archive = Archive::new(reader);
    let mut files = PackFiles::new();
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) {
            continue;
        }
        let path = plain_path(&entry.path_bytes(), limits)?;
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            let message = "the archive may only have files and directories, not links or devices".to_owned();
            return Err(ArchiveError::Entry { path, message });
        }
        if files.len() == limits.files {
            return Err(ArchiveError::TooManyFiles(limits.files));
        }
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(unreadable)?;
        if files.insert(path.clone(), PackFile { content, executable }).is_some() {
            return Err(ArchiveError::Entry { path, message: "the archive has this file twice".to_owned() });
        }
    }
    Ok(files)
}

/// Makes the zip archive of a pack. The same pack gives the same bytes on every machine, whenever it is packed.
pub fn pack_zip(files: &PackFiles) -> io::Result<Vec<u8>> {
    zipped::pack(files)
}

/// Makes the archive of a pack. It depends on the files' paths, contents and executable bits only: the same pack gives the
/// same bytes on every machine, whenever it is packed.
pub fn pack(files: &PackFiles) -> io::Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
    let mut archive = tar::Builder::new(gzip);
    for (path, file) in files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(file.content.len() as u64);
        header.set_mode(if file.executable { 0o755 } else { 0o644 });
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, path, file.content.as_slice())?;
    }
    archive.into_inner()?.finish()
}

/// The path with `/` between its parts; anything that could lead out of the pack is refused.
fn plain_path(bytes: &[u8], limits: Limits) -> Result<String, ArchiveError> {
    let shown = String::from_utf8_lossy(bytes).into_owned();
    let refuse =
        |message: &str| Err(ArchiveError::Entry { path: shown.clone(), message: message.to_owned() });
    if bytes.len() > limits.path {
        let shown: String = shown.chars().take(64).collect();
        let message = format!("the path has more than {} bytes", limits.path);
        return Err(ArchiveError::Entry { path: format!("{shown}..."), message });
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return refuse("the path is not UTF-8") };
    if text.starts_with('/') {
        return refuse("the path is absolute");
    }
    if text.contains(|c: char| c.is_control() || c == '\\') {
        return refuse("the path contains a control character or a backslash");
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return refuse("the path leads out of the pack");
    }
    if parts.is_empty() {
        return refuse("the path is empty");
    }
    Ok(parts.join("/"))
}

/// Takes away the directory that all files stand in, when the pack begins there.
fn without_common_directory(files: PackFiles) -> PackFiles {
    let directories: HashSet<Option<&str>> =
        files.keys().map(|path| path.split_once('/').map(|(directory, _)| directory)).collect();
    let common = match directories.iter().next() {
        Some(Some(directory)) if directories.len() == 1 => format!("{directory}/"),
        _ => return files,
    };
    if !files.contains_key(&format!("{common}pack.yaml")) {
        return files;
    }
    files.into_iter().map(|(path, file)| (path[common.len()..].to_owned(), file)).collect()
}

/// A reader that fails once more than its bytes were read: an archive of a few kilobytes can unpack to gigabytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("too much")]
struct PastTheEnd;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(PastTheEnd))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use std::io::Write;

    const LIMITS: Limits = Limits { bytes: 1 << 20, files: 3, path: 100 };

    /// An archive with entries as given: path (written as it is), type, mode, content.
    fn archive(entries: &[(&str, EntryType, u32, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, kind, mode, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn file<'a>(path: &'a str, content: &'a [u8]) -> (&'a str, EntryType, u32, &'a [u8]) {
        (path, EntryType::Regular, 0o644, content)
    }

    fn refused(entries: &[(&str, EntryType, u32, &[u8])]) -> String {
        unpack(&archive(entries), LIMITS).unwrap_err().to_string()
    }

    #[test]
    fn test_files_are_read_with_their_mode() {
        let entries =
            [file("./pack.yaml", b"ref: x"), ("./actions/run.sh", EntryType::Regular, 0o755, b"#!")];
        let files = unpack(&archive(&entries), LIMITS).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["actions/run.sh", "pack.yaml"]);
        assert!(files["actions/run.sh"].executable && !files["pack.yaml"].executable);
        assert_eq!(files["pack.yaml"].content, b"ref: x");
    }

    #[test]
    fn test_one_common_directory_is_taken_away() {
        let files =
            unpack(&archive(&[file("p-1.0/pack.yaml", b""), file("p-1.0/a/b", b"")]), LIMITS).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a/b", "pack.yaml"]);
    }

    #[test]
    fn test_paths_that_lead_elsewhere_are_refused() {
        assert!(refused(&[file("../pack.yaml", b"")]).contains("leads out"));
        assert!(refused(&[file("a/../../x", b"")]).contains("leads out"));
        assert!(refused(&[file("/etc/passwd", b"")]).contains("absolute"));
        assert!(refused(&[file("a\\b", b"")]).contains("backslash"));
        assert!(refused(&[file("a", b""), file("./a", b"")]).contains("twice"));
    }

    #[test]
    fn test_links_are_refused() {
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo] {
            assert!(refused(&[("a", kind, 0o644, b"")]).contains("links or devices"), "{kind:?}");
        }
    }

    #[test]
    fn test_bombs_are_refused() {
        let zeros = vec![0; 2 << 20];
        assert!(refused(&[file("a", &zeros)]).contains("unpacks to more than 1048576 bytes"));
        let entries = [file("a", b""), file("b", b""), file("c", b""), file("d", b"")];
        assert!(refused(&entries).contains("more than 3 files"));
    }

    #[test]
    fn test_what_is_no_archive_is_refused() {
        assert!(unpack(b"plain text", LIMITS).unwrap_err().to_string().contains("not a gzipped tar"));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"no tar in here").unwrap();
        assert!(unpack(&gzip.finish().unwrap(), LIMITS).is_err());
        let whole = archive(&[file("pack.yaml", &[7; 5000])]);
        assert!(unpack(&whole[..whole.len() / 2], LIMITS).is_err());
        assert!(matches!(unpack(&archive(&[]), LIMITS), Err(ArchiveError::Empty)));
    }
}
