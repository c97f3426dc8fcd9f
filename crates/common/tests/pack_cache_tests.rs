//! The files of packs on disk: whole or not there, and never outside of their directory.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use attune_common::pack_cache::{PackCache, PackCacheError};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

const FILES: [(&str, &[u8], bool); 3] = [
    ("pack.yaml", b"ref: ops\n", false),
    ("actions/check.sh", b"#!/bin/sh\ncat \"$(dirname \"$0\")/lib/text\"\n", true),
    ("actions/lib/text", b"found\n", false),
];

fn names(directory: impl AsRef<Path>) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Makes a stored version look as old as this.
fn age(directory: &Path, hours: u64) {
    let time = SystemTime::now() - Duration::from_secs(3600 * hours);
    fs::File::open(directory.join(".attune-manifest.json")).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_stored_pack_can_be_run() {
    let root = directory();
    let cache = PackCache::new(root.path().join("packs"));
    assert_eq!(cache.path_of("ops", "ab12"), None);
    assert!(cache.open("ops", "ab12").unwrap().is_none());

    let path = cache.store("ops", "ab12", FILES).unwrap();
    assert_eq!(path, root.path().join("packs/ops/ab12"));
    assert_eq!(cache.path_of("ops", "ab12"), Some(path.clone()));
    let pack = cache.open("ops", "ab12").unwrap().unwrap();
    assert_eq!(pack.path(), path);
    let output = std::process::Command::new(pack.file("actions/check.sh").unwrap()).output().unwrap();
    assert_eq!(output.stdout, b"found\n");
    let mode = fs::metadata(path.join("pack.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0);
    // Nothing temporary is left, and a pack that is there is not written again.
    assert_eq!(names(root.path().join("packs/ops")), ["ab12"]);
    let written = fs::metadata(path.join("pack.yaml")).unwrap().modified().unwrap();
    cache.store("ops", "ab12", FILES).unwrap();
    assert_eq!(fs::metadata(path.join("pack.yaml")).unwrap().modified().unwrap(), written);
}

#[test]
fn a_file_that_is_not_there_is_named_with_its_pack() {
    let root = directory();
    let cache = PackCache::new(root.path());
    let path = cache.store("ops", "ab", FILES).unwrap();
    let pack = cache.open("ops", "ab").unwrap().unwrap();
    let message = pack.file("actions/other.sh").unwrap_err().to_string();
    assert_eq!(
        message,
        "the file actions/other.sh of pack ops does not exist: the installed pack has no such file"
    );
    fs::remove_file(path.join("actions/check.sh")).unwrap();
    let message = pack.file("actions/check.sh").unwrap_err().to_string();
    let expected = "the file actions/check.sh of pack ops does not exist: it was removed from ";
    assert_eq!(message, format!("{expected}{}", path.display()));
    // Neither does a path lead out of the pack.
    for file in ["../ab/pack.yaml", "/etc/passwd", "actions/../pack.yaml", "actions", ""] {
        assert!(matches!(pack.file(file), Err(PackCacheError::MissingFile { .. })), "{file}");
    }
}

#[test]
fn a_damaged_pack_is_not_used_and_storing_mends_it() {
    let root = directory();
    let cache = PackCache::new(root.path());
    let path = cache.store("ops", "ab", FILES).unwrap();
    let damages: [fn(&Path); 5] = [
        |path| fs::remove_file(path.join("actions/lib/text")).unwrap(),
        |path| fs::write(path.join("actions/lib/text"), "fou").unwrap(),
        |path| fs::remove_dir_all(path.join("actions")).unwrap(),
        |path| fs::remove_file(path.join(".attune-manifest.json")).unwrap(),
        |path| fs::write(path.join(".attune-manifest.json"), "{\"files\": {\"pack.y").unwrap(),
    ];
    for (index, damage) in damages.iter().enumerate() {
        damage(&path);
        assert!(cache.open("ops", "ab").unwrap().is_none(), "damage {index}");
        cache.store("ops", "ab", FILES).unwrap();
        assert!(cache.open("ops", "ab").unwrap().is_some(), "damage {index}");
        assert_eq!(fs::read(path.join("actions/lib/text")).unwrap(), b"found\n");
        assert_eq!(names(root.path().join("ops")), ["ab"]);
    }
    // What an action adds, such as compiled Python, is no damage.
    fs::create_dir(path.join("actions/__pycache__")).unwrap();
    assert!(cache.open("ops", "ab").unwrap().is_some());
}

#[test]
fn no_file_leaves_the_directory() {
    let root = directory();
    let cache = PackCache::new(root.path().join("cache"));
    for file in [
        "../evil",
        "a/../../evil",
        "/evil",
        "a//evil",
        "./evil",
        "a/./b",
        "a/",
        "",
        "..",
        "a\0b",
        ".attune-manifest.json",
    ] {
        let files = [("pack.yaml", b"".as_slice(), false), (file, b"x", true)];
        let error = cache.store("ops", "ab", files).unwrap_err();
        assert!(matches!(error, PackCacheError::OutsidePath { .. }), "{file:?}: {error}");
        assert_eq!(cache.path_of("ops", "ab"), None);
    }
    for pack_ref in ["..", "../ops", "a/b", "", "Ops", "-ops", "."] {
        let error = cache.store(pack_ref, "ab", FILES).unwrap_err();
        assert!(matches!(error, PackCacheError::Name { what: "ref", .. }), "{pack_ref:?}: {error}");
    }
    for checksum in ["..", "a/b", "", "xyz", ".tmp-a"] {
        let error = cache.store("ops", checksum, FILES).unwrap_err();
        assert!(matches!(error, PackCacheError::Name { what: "checksum", .. }), "{checksum:?}: {error}");
    }
    assert_eq!(names(root.path()), ["cache"]);
    assert_eq!(names(root.path().join("cache/ops")), [""; 0]);
}

#[test]
fn one_path_cannot_be_two_things() {
    let root = directory();
    let cache = PackCache::new(root.path());
    for paths in [["a", "a"], ["a", "a/b"], ["a/b", "a"]] {
        let error = cache.store("ops", "ab", paths.map(|path| (path, b"x", false))).unwrap_err();
        assert!(matches!(error, PackCacheError::Conflict { .. }), "{paths:?}: {error}");
    }
}

#[test]
fn whoever_stores_a_pack_at_the_same_time_it_is_whole() {
    let root = directory();
    let content = vec![b'x'; 100_000];
    for round in 0..20 {
        let checksum = format!("{round:04x}");
        std::thread::scope(|scope| {
            let stores: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let cache = PackCache::new(root.path());
                        let path = cache.store("ops", &checksum, [("a/b", &content, false)]).unwrap();
                        assert_eq!(fs::read(path.join("a/b")).unwrap(), content);
                        assert!(cache.open("ops", &checksum).unwrap().is_some());
                    })
                })
                .collect();
            stores.into_iter().for_each(|store| store.join().unwrap());
        });
    }
    assert_eq!(names(root.path().join("ops")).len(), 3);
}

#[test]
fn old_versions_go_unless_they_are_in_use() {
    let root = directory();
    let cache = PackCache::new(root.path());
    let store = |checksum: &str, hours: u64| -> PathBuf {
        let path = cache.store("ops", checksum, FILES).unwrap();
        age(&path, hours);
        path
    };
    store("a1", 9);
    store("a2", 8);
    store("a3", 7);
    let used = cache.open("ops", "a1").unwrap().unwrap();
    cache.store("other", "b1", FILES).unwrap();
    store("a4", 6);
    // The oldest is in use.
    assert_eq!(names(root.path().join("ops")), ["a1", "a2", "a3", "a4"]);
    drop(used);
    // Going back to a version makes it a late one.
    cache.store("ops", "a2", FILES).unwrap();
    store("a5", 0);
    assert_eq!(names(root.path().join("ops")), ["a2", "a4", "a5"]);
    assert_eq!(names(root.path().join("other")), ["b1"]);
}

#[test]
fn what_a_crashed_process_left_behind_is_removed_later() {
    let root = directory();
    let cache = PackCache::new(root.path());
    cache.store("ops", "a1", FILES).unwrap();
    let (old, new) = (root.path().join("ops/.tmp-old"), root.path().join("ops/.tmp-new"));
    for path in [&old, &new] {
        fs::create_dir_all(path.join("actions")).unwrap();
    }
    fs::File::open(&old).unwrap().set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    cache.store("ops", "a2", FILES).unwrap();
    assert_eq!(names(root.path().join("ops")), [".tmp-new", "a1", "a2"]);
}

/// What was looked through a moment ago is not looked through again, unless it is another, or lacks what is needed.
#[test]
fn a_run_looks_at_its_own_file() {
    let root = directory();
    let cache = PackCache::new(root.path());
    let path = cache.store("ops", "ab12", FILES).unwrap();
    let open = |file: &str| cache.open_for("ops", "ab12", file).unwrap().map(|pack| pack.path().to_owned());
    assert_eq!(open("actions/check.sh"), Some(path.clone()));
    fs::remove_file(path.join("pack.yaml")).unwrap();
    assert_eq!(open("actions/check.sh"), Some(path.clone()), "another file is not looked at");
    assert_eq!(open("pack.yaml"), None, "the own one is");
    assert_eq!(open("actions/check.sh"), None, "what is known to be damaged stays so");
    cache.store("ops", "ab12", FILES).unwrap();
    assert_eq!(open("pack.yaml"), Some(path.clone()));
    assert!(cache.open("ops", "ab12").unwrap().is_some());
    // Another directory in its place has its own manifest.
    let aside = root.path().join("ops/aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir_all(&path).unwrap();
    fs::copy(aside.join(".attune-manifest.json"), path.join(".attune-manifest.json")).unwrap();
    fs::copy(aside.join("pack.yaml"), path.join("pack.yaml")).unwrap();
    assert_eq!(open("pack.yaml"), None);
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(open("pack.yaml"), None);
}
