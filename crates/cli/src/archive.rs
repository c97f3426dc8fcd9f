//! A pack's directory to its files, and those to the archive that the server takes.
//!
//! Symbolic links are refused, because what they point to depends on where the
//! pack is unpacked.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use attune_pack::{PackFile, PackFiles};

use crate::failure::Fault;

/// The manifest that makes a directory a pack.
const MANIFEST: &str = "pack.yaml";

/// Directories that tools leave behind, wherever they are.
const JUNK_DIRECTORIES: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".jj",
    ".idea",
    ".vscode",
    ".venv",
    ".tox",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
];

/// Marks a directory as a cache that can be made again (bford.info/cachedir); Cargo's `target` has it.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// The files of a pack, read from its directory.
#[derive(Debug)]
pub(crate) struct PackDirectory {
    /// By path relative to the directory, separated by `/`.
    pub(crate) files: PackFiles,
    /// Paths of what tools left behind, which is no part of the pack.
    pub(crate) left_out: Vec<String>,
}

/// Reads the directory of a pack.
pub(crate) fn read(directory: &Path) -> anyhow::Result<PackDirectory> {
    let shown = directory.display();
    let metadata =
        std::fs::metadata(directory).with_context(|| format!("cannot read the pack in {shown}"))?;
    if !metadata.is_dir() {
        return Err(Fault::new(format!("{shown} is no directory"))
            .hint(format!("give the pack's directory, the one with {MANIFEST}"))
            .into());
    }
    if !directory.join(MANIFEST).is_file() {
        let fault = Fault::new(format!("{shown} is no pack: it has no {MANIFEST}"));
        return Err(if directory.join("pack.yml").exists() {
            fault.hint(format!("rename pack.yml to {MANIFEST}"))
        } else {
            fault.hint(format!("give the directory that holds {MANIFEST}"))
        }
        .into());
    }
    let mut walk = Walk::default();
    walk.directory(directory, "")?;
    if !walk.refused.is_empty() {
        walk.refused.sort();
        return Err(Fault::new(format!("a pack holds regular files only, but {}", walk.refused.join("; ")))
            .hint("put a copy of the file in place of a link")
            .into());
    }
    walk.found.left_out.sort();
    Ok(walk.found)
}

/// The files as the archive that the server takes.
pub(crate) fn pack(files: &PackFiles) -> anyhow::Result<Vec<u8>> {
    attune_pack::archive::pack(files).context("cannot make the archive")
}

struct Walk {
    found: PackDirectory,
    /// What cannot be part of a pack, as clauses of a sentence.
    refused: Vec<String>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { found: PackDirectory { files: PackFiles::new(), left_out: Vec::new() }, refused: Vec::new() }
    }
}

impl Walk {
    fn directory(&mut self, directory: &Path, prefix: &str) -> anyhow::Result<()> {
        let context = || format!("cannot read the directory {}", directory.display());
        for entry in std::fs::read_dir(directory).with_context(context)? {
            let entry = entry.with_context(context)?;
            let path = entry.path();
            let kind = entry.file_type().with_context(|| format!("cannot read {}", path.display()))?;
            let Ok(name) = entry.file_name().into_string() else {
                self.refused.push(format!("the name of {} is not UTF-8", path.display()));
                continue;
            };
            let relative = format!("{prefix}{name}");
            if is_junk(&name, &path, kind.is_dir(), prefix.is_empty()) {
                self.found.left_out.push(relative);
            } else if kind.is_symlink() {
                let target = std::fs::read_link(&path).unwrap_or_default();
                self.refused.push(format!("{relative} is a symbolic link to {}", target.display()));
            } else if kind.is_dir() {
                self.directory(&path, &format!("{relative}/"))?;
            } else if kind.is_file() {
                let file = read_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
                self.found.files.insert(relative, file);
            } else {
                self.refused.push(format!("{relative} is a device, a pipe or a socket"));
            }
        }
        Ok(())
    }
}

fn read_file(path: &Path) -> io::Result<PackFile> {
    let executable = std::fs::metadata(path)?.permissions().mode() & 0o100 != 0;
    Ok(PackFile { content: std::fs::read(path)?, executable })
}

fn is_junk(name: &str, path: &Path, is_directory: bool, at_top: bool) -> bool {
    if is_directory {
        JUNK_DIRECTORIES.contains(&name) || (at_top && name == "target") || path.join(CACHE_TAG).is_file()
    } else {
        // `.git` is a file in submodules and worktrees; the others are traces of editors, file managers and Python.
        name == ".git"
            || name == ".DS_Store"
            || name.ends_with('~')
            || name.ends_with(".swp")
            || name.ends_with(".pyc")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A pack with these files besides its manifest.
    fn pack_of(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files.iter().chain(&[(MANIFEST, "ref: ops\n")]) {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        directory
    }

    fn unpack(archive: &[u8]) -> Vec<(String, u32, u64, String)> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let mut entry = entry.unwrap();
                let path = entry.path().unwrap().to_str().unwrap().to_owned();
                let (mode, mtime) = (entry.header().mode().unwrap(), entry.header().mtime().unwrap());
                let mut content = String::new();
                entry.read_to_string(&mut content).unwrap();
                (path, mode, mtime, content)
            })
            .collect()
    }

    #[test]
    fn test_an_archive_holds_the_files_in_order_with_their_executable_bits() {
        let long = format!("actions/{}/run.sh", "d".repeat(120));
        let directory = pack_of(&[("z.txt", "z"), ("actions/a.sh", "#!/bin/sh\n"), (&long, "long")]);
        let script = directory.path().join("actions/a.sh");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        let archive = pack(&read(directory.path()).unwrap().files).unwrap();
        assert_eq!(
            unpack(&archive),
            [
                ("actions/a.sh".to_owned(), 0o755, 0, "#!/bin/sh\n".to_owned()),
                (long, 0o644, 0, "long".to_owned()),
                ("pack.yaml".to_owned(), 0o644, 0, "ref: ops\n".to_owned()),
                ("z.txt".to_owned(), 0o644, 0, "z".to_owned()),
            ]
        );
    }

    #[test]
    fn test_the_same_files_give_the_same_archive() {
        let files = [("b", "2"), ("a", "1")];
        let (one, other) = (pack_of(&files), pack_of(&files));
        let old = std::fs::File::options().write(true).open(other.path().join("a")).unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        std::fs::set_permissions(other.path().join("b"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let archive = |directory: &tempfile::TempDir| pack(&read(directory.path()).unwrap().files).unwrap();
        assert_eq!(archive(&one), archive(&other));
    }

    #[test]
    fn test_junk_is_left_out() {
        let directory = pack_of(&[
            (".git/config", "x"),
            ("target/debug/x", "x"),
            ("actions/__pycache__/a.pyc", "x"),
            ("actions/build/CACHEDIR.TAG", "x"),
            ("actions/target/kept.sh", "x"),
            ("notes.txt~", "x"),
        ]);
        symlink("/", directory.path().join(".git/link")).unwrap();
        let found = read(directory.path()).unwrap();
        assert_eq!(found.files.keys().collect::<Vec<_>>(), ["actions/target/kept.sh", "pack.yaml"]);
        assert_eq!(
            found.left_out,
            [".git", "actions/__pycache__", "actions/build", "notes.txt~", "target"],
            "what is left out is told"
        );
    }

    #[test]
    fn test_links_are_refused_all_at_once() {
        let directory = pack_of(&[("lib/x", "x")]);
        symlink("/etc/passwd", directory.path().join("secrets")).unwrap();
        symlink("lib", directory.path().join("library")).unwrap();
        let error = read(directory.path()).unwrap_err().to_string();
        assert_eq!(
            error,
            "a pack holds regular files only, but library is a symbolic link to lib; \
             secrets is a symbolic link to /etc/passwd"
        );
    }

    #[test]
    fn test_what_is_no_pack_is_refused_before_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let error = read(directory.path()).unwrap_err().to_string();
        assert!(error.ends_with(" is no pack: it has no pack.yaml"), "{error}");
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(read(&file).unwrap_err().to_string().ends_with("file is no directory"));
        let error = format!("{:#}", read(&directory.path().join("none")).unwrap_err());
        assert!(error.contains("cannot read the pack in") && error.contains("No such file"), "{error}");
    }
}
