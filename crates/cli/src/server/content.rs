//! The packs that are part of the binary.

use std::collections::BTreeMap;

use attune_pack::{PackFile, PackFiles};
use include_dir::{Dir, DirEntry, include_dir};

static CORE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../packs/core");
static DEMO: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../packs/examples/demo");

/// The core pack, which every installation has.
pub(crate) fn core() -> PackFiles {
    files(&CORE)
}

/// The demo pack.
pub(super) fn demo() -> PackFiles {
    files(&DEMO)
}

fn files(directory: &Dir<'_>) -> PackFiles {
    let mut files = BTreeMap::new();
    collect(directory, &mut files);
    files
}

fn collect(directory: &Dir<'_>, files: &mut PackFiles) {
    for entry in directory.entries() {
        match entry {
            DirEntry::Dir(inner) => collect(inner, files),
            DirEntry::File(file) => {
                let path = file.path().to_string_lossy().into_owned();
                let content = file.contents().to_vec();
                // Permissions are not embedded; what begins like a script is one.
                let executable = content.starts_with(b"#!");
                files.insert(path, PackFile { content, executable });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_embedded_packs_are_without_findings() {
        for files in [core(), demo()] {
            assert!(files.contains_key("pack.yaml"));
            if let Err(findings) = attune_pack::read(&files) {
                panic!("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
            }
        }
    }
}
