//! Zip archives, under the same limits as others. What a file is called, how large it is and whether it is a link stands
//! twice in such an archive; what counts is its directory, and no size is believed.

use std::io::{self, Cursor, Read, Write};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::{ArchiveError, Limits, plain_path};
use crate::{PackFile, PackFiles};

/// The type of a file in the mode that Unix keeps, and a regular one.
const FILE_TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// Whether this may be a zip archive: with files in it, or without any.
pub(super) fn is_zip(archive: &[u8]) -> bool {
    archive.starts_with(b"PK\x03\x04") || archive.starts_with(b"PK\x05\x06")
}

pub(super) fn unpack(archive: &[u8], limits: Limits) -> Result<PackFiles, ArchiveError> {
    let mut archive = ZipArchive::new(Cursor::new(archive)).map_err(unreadable)?;
    let mut files = PackFiles::new();
    let mut left = limits.bytes;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(unreadable)?;
        if entry.is_dir() {
            continue;
        }
        let path = plain_path(entry.name_raw(), limits)?;
        // Archives made on other systems have no mode, or one without a type.
        let mode = entry.unix_mode().unwrap_or_default();
        if entry.is_symlink() || !matches!(mode & FILE_TYPE, 0 | REGULAR) {
            let message = "the archive may only have files and directories, not links or devices".to_owned();
            return Err(ArchiveError::Entry { path, message });
        }
        if files.len() == limits.files {
            return Err(ArchiveError::TooManyFiles(limits.files));
        }
        let mut content = Vec::new();
        let read = (&mut entry).take(left + 1).read_to_end(&mut content).map_err(ArchiveError::Unreadable)?;
        left = left.checked_sub(read as u64).ok_or(ArchiveError::TooLarge(limits.bytes))?;
        let executable = mode & 0o100 != 0;
        if files.insert(path.clone(), PackFile { content, executable }).is_some() {
            return Err(ArchiveError::Entry { path, message: "the archive has this file twice".to_owned() });
        }
    }
    Ok(files)
}

/// Makes the zip archive of a pack: the same pack gives the same bytes.
pub(super) fn pack(files: &PackFiles) -> io::Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, file) in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(if file.executable { 0o755 } else { 0o644 });
        archive.start_file(path.as_str(), options).map_err(io::Error::other)?;
        archive.write_all(&file.content)?;
    }
    Ok(archive.finish().map_err(io::Error::other)?.into_inner())
}

fn unreadable(error: ZipError) -> ArchiveError {
    ArchiveError::Unreadable(match error {
        ZipError::Io(error) => error,
        other => io::Error::other(other),
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::unpack as unpack_any;
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1 << 20, files: 3, path: 100 };

    /// An archive with entries as given: path, mode with its type, content.
    fn archive(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, mode, content) in entries {
            let options = SimpleFileOptions::default().unix_permissions(*mode);
            if mode & FILE_TYPE == 0o120_000 {
                writer.add_symlink(*path, std::str::from_utf8(content).unwrap(), options).unwrap();
            } else {
                writer.start_file(*path, options).unwrap();
                writer.write_all(content).unwrap();
            }
        }
        writer.finish().unwrap().into_inner()
    }

    fn refused(entries: &[(&str, u32, &[u8])]) -> String {
        unpack_any(&archive(entries), LIMITS).unwrap_err().to_string()
    }

    #[test]
    fn test_what_is_packed_is_unpacked_again() {
        let file = |text: &str, executable| PackFile { content: text.as_bytes().to_vec(), executable };
        let files = PackFiles::from([
            ("pack.yaml".to_owned(), file("ref: ops", false)),
            ("actions/run.sh".to_owned(), file("#!/bin/sh", true)),
        ]);
        let packed = pack(&files).unwrap();
        assert_eq!(unpack_any(&packed, LIMITS).unwrap(), files);
        assert_eq!(pack(&files).unwrap(), packed);
        let within = archive(&[
            ("ops-1.0/pack.yaml", 0o644, b"ref: ops"),
            ("ops-1.0/actions/run.sh", 0o755, b"#!/bin/sh"),
        ]);
        assert_eq!(unpack_any(&within, LIMITS).unwrap(), files);
    }

    #[test]
    fn test_paths_that_lead_elsewhere_are_refused() {
        assert!(refused(&[("../pack.yaml", 0o644, b"")]).contains("leads out"));
        assert!(refused(&[("a/../../x", 0o644, b"")]).contains("leads out"));
        assert!(refused(&[("/etc/passwd", 0o644, b"")]).contains("absolute"));
        assert!(refused(&[("a\\b", 0o644, b"")]).contains("backslash"));
        assert!(refused(&[("a", 0o644, b""), ("./a", 0o644, b"")]).contains("twice"));
    }

    #[test]
    fn test_links_are_refused() {
        assert!(refused(&[("a", 0o120_777, b"/etc/passwd")]).contains("links or devices"));
    }

    #[test]
    fn test_bombs_are_refused() {
        let zeros = vec![0; 2 << 20];
        assert!(refused(&[("a", 0o644, &zeros)]).contains("unpacks to more than 1048576 bytes"));
        let half = vec![0; 700 << 10];
        assert!(
            refused(&[("a", 0o644, &half), ("b", 0o644, &half)])
                .contains("unpacks to more than 1048576 bytes")
        );
        let entries: [(&str, u32, &[u8]); 4] =
            [("a", 0o644, b""), ("b", 0o644, b""), ("c", 0o644, b""), ("d", 0o644, b"")];
        assert!(refused(&entries).contains("more than 3 files"));
    }

    proptest! {
        #[test]
        fn test_whatever_is_changed_stays_within_the_limits(
            content in vec(any::<u8>(), 0..2000), changes in vec((any::<Index>(), any::<u8>()), 1..6)
        ) {
            let mut bytes = archive(&[("pack.yaml", 0o644, &content), ("actions/a.sh", 0o755, &[0; 3000])]);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(files) = unpack_any(&bytes, LIMITS) {
                prop_assert!(files.len() <= LIMITS.files);
                prop_assert!(files.values().map(|file| file.content.len() as u64).sum::<u64>() <= LIMITS.bytes);
                for path in files.keys() {
                    prop_assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
                }
            }
        }
    }

    #[test]
    fn test_what_is_broken_is_refused() {
        let whole = archive(&[("pack.yaml", 0o644, &[7; 5000])]);
        assert!(matches!(unpack_any(&whole[..whole.len() / 2], LIMITS), Err(ArchiveError::Unreadable(_))));
        let mut wrong = whole;
        wrong[60] ^= 0xff;
        assert!(unpack_any(&wrong, LIMITS).is_err(), "the checksum of a file is looked at");
        assert!(matches!(unpack_any(&archive(&[]), LIMITS), Err(ArchiveError::Empty)));
    }
}
