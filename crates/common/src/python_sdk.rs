//! The Python SDK (`sdk/python`), which is part of this binary, on this machine's disk: for the roles that start processes.
//!
//! Invariant: the directory is named by what it holds, so a process that runs while another version of Attune starts keeps
//! the SDK that it began with.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// The variable by which Python finds the SDK.
pub const PYTHONPATH: &str = "PYTHONPATH";

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../sdk/python/attune/", $name)))),+]
    };
}

/// The files of the package `attune`.
const FILES: &[(&str, &[u8])] = files![
    "__init__.py",
    "_action.py",
    "_api.py",
    "_arguments.py",
    "_events.py",
    "_inquiries.py",
    "_logging.py",
    "_parameters.py",
    "_progress.py",
    "_sensor.py",
    "_settings.py",
    "_streams.py",
    "artifacts.py",
    "keys.py",
    "py.typed",
];

/// Writes the SDK below the directory, unless it is there, and gives back what `PYTHONPATH` has to name.
pub fn install(directory: &Path) -> io::Result<PathBuf> {
    let mut hash = Sha256::new();
    for (name, content) in FILES {
        hash.update(name.as_bytes());
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    let root = directory.join(format!("sdk-{}", short(&hash.finalize())));
    let package = root.join("attune");
    fs::create_dir_all(&package)?;
    for (name, content) in FILES {
        write(&package.join(name), content)?;
    }
    Ok(root)
}

/// Writes a file under a name that changes with its content, unless it is there, and gives back its path.
pub fn write_once(directory: &Path, name: &str, extension: &str, content: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let path = directory.join(format!("{name}-{}.{extension}", short(&Sha256::digest(content))));
    write(&path, content)?;
    Ok(path)
}

fn short(digest: &[u8]) -> String {
    hex::encode(&digest[..8])
}

/// Whoever reads the file sees all of it, whoever else writes it at the same time.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_every_file_of_the_package_is_part_of_the_binary() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/python/attune");
        let mut present: Vec<_> = fs::read_dir(source)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "__pycache__")
            .collect();
        present.sort();
        assert_eq!(FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), present);
    }

    #[test]
    fn test_what_is_damaged_is_made_whole() {
        let directory = tempfile::tempdir().unwrap();
        let root = install(directory.path()).unwrap();
        let file = root.join("attune/__init__.py");
        let whole = fs::read(&file).unwrap();
        fs::write(&file, "broken(").unwrap();
        assert_eq!(install(directory.path()).unwrap(), root);
        assert_eq!(fs::read(&file).unwrap(), whole);
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(names.len(), 1);
    }
}
