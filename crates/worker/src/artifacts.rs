//! What an action leaves in `$ATTUNE_ARTIFACTS`: each file becomes a version of an artifact when the process has ended.
//!
//! Bounded in number and size, and nothing but plain files that the process left there itself: links are not followed. The
//! values of keys are hidden in them as they are in the output.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use attune_common::artifact_content::{
    self, Content, ContentError, Gathering, LONGEST_NAME, Left, MAX_FILE, Target,
};
use attune_common::error::StoreError;
use attune_common::models::artifact::{ArtifactType, NewArtifact};
use attune_common::models::execution::Claimed;
use attune_common::repositories::ArtifactRepository;
use attune_expr::masking::Masker;
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::lease::Lost;
use crate::patience::patiently;

/// Files of one attempt.
const MAX_FILES: usize = 100;
/// Of one attempt together, in bytes.
const MAX_TOTAL: u64 = 256 << 20;
/// How deep directories are looked into.
const MAX_DEPTH: usize = 5;

/// A file that is to be stored.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    /// Below the directory, with `/`.
    relative: String,
    /// What the artifact is called.
    name: String,
}

/// Stores what is there, once the database is; gives back what is to be said of what is not.
pub(crate) async fn collect(
    shared: &Shared,
    execution: &Claimed,
    cancel: &CancellationToken,
    (directory, masker): (&Path, &Masker),
) -> Result<Vec<String>, Lost> {
    let root = directory.to_owned();
    let found = tokio::task::spawn_blocking(move || {
        let (mut found, mut notes) = (Vec::new(), Vec::new());
        look(&root, &root, 0, &mut found, &mut notes);
        // The same whatever the order of the file system.
        found.sort_by(|one: &Found, other| one.relative.cmp(&other.relative));
        notes.extend(tell_apart(&mut found));
        (found, notes)
    });
    let Ok((mut found, mut notes)) = found.await else { return Ok(Vec::new()) };
    if found.len() > MAX_FILES {
        notes.push(format!("{} files were left, of which the first {MAX_FILES} are kept", found.len()));
        found.truncate(MAX_FILES);
    }
    let mut left = MAX_TOTAL;
    for found in found {
        let relative = found.relative.clone();
        let keep = || keep(&shared.pool, execution, &found, masker, left);
        match patiently(shared, execution, cancel, keep).await? {
            Ok(size) => left -= size,
            Err(ContentError::TooLarge { limit }) if limit < MAX_FILE => {
                notes.push(format!("{relative} is not kept: all files together may have {MAX_TOTAL} bytes"));
            }
            Err(error) => {
                tracing::warn!(execution = execution.id, file = relative, %error, "a file is not kept as an artifact");
                notes.push(format!("{relative} is not kept: {}", told(&error)));
            }
        }
    }
    Ok(notes)
}

/// What the author of the action is told; what went wrong inside is in the log.
fn told(error: &ContentError) -> String {
    match error {
        ContentError::TooLarge { .. } | ContentError::Form(_) => error.to_string(),
        ContentError::Io(source) => format!("it cannot be read: {source}"),
        ContentError::Store(StoreError::Conflict { key, .. }) => {
            format!("{key} belongs to another, or holds something else")
        }
        ContentError::Store(_) => "it cannot be stored".to_owned(),
    }
}

/// Finds plain files, in directories too.
fn look(root: &Path, directory: &Path, depth: usize, found: &mut Vec<Found>, notes: &mut Vec<String>) {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            notes.push(format!("{} cannot be read: {error}", shown(root, directory)));
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let relative = shown(root, &path);
        match entry.file_type() {
            Ok(kind) if kind.is_file() => {
                let name = name_of(&relative);
                found.push(Found { path, relative, name });
            }
            Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => look(root, &path, depth + 1, found, notes),
            Ok(kind) if kind.is_dir() => notes.push(format!("{relative} is not kept: it is too deep")),
            Ok(_) => notes.push(format!("{relative} is not kept: it is no plain file")),
            Err(error) => notes.push(format!("{relative} is not kept: {error}")),
        }
        // Enough to know that they are too many, whatever was left.
        if found.len() > MAX_FILES * 10 || notes.len() > MAX_FILES {
            return;
        }
    }
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

/// Stores one file; gives back its size.
async fn keep(
    pool: &PgPool,
    execution: &Claimed,
    Found { path, relative, name }: &Found,
    masker: &Masker,
    left: u64,
) -> Result<u64, ContentError> {
    let left_as = Left { action_ref: &execution.action_ref, execution: execution.id, name, scope: None };
    let of = artifact_content::of_action(pool, left_as).await?;
    let artifact_type = of.artifact.artifact_type;
    let (path, masker) = (path.clone(), masker.clone());
    let read = tokio::task::spawn_blocking(move || gather(&path, &masker, left)?.of_type(artifact_type));
    let content = read.await.map_err(std::io::Error::other)??;
    let size = content.size;
    let content_type = match artifact_type {
        ArtifactType::File => type_of(relative),
        ArtifactType::Table | ArtifactType::Link => "application/json",
    };
    let new = NewArtifact { label: Some(file_name(relative)), ..of.artifact };
    let artifact = ArtifactRepository::put(pool, &new).await?;
    let target = Target { artifact: artifact.id, execution: Some(execution.id), content_type };
    content.store(pool, target).await?;
    Ok(size)
}

/// The last part of the path, which is what people call the file.
fn file_name(relative: &str) -> String {
    relative.rsplit('/').next().unwrap_or(relative).to_owned()
}

/// Reads a file as it may be kept.
fn gather(path: &Path, masker: &Masker, left: u64) -> Result<Content, ContentError> {
    // A process that lives on may have put a link or a pipe in its place.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file: File = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no plain file").into());
    }
    let mut gathering = Gathering::new(MAX_FILE.min(left));
    let mut masked = masker.stream();
    let mut buffer = vec![0; 64 << 10];
    let mut is_text = true;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        let piece = &buffer[..length];
        is_text &= !piece.contains(&0);
        gathering.push(&masked.push(piece))?;
    }
    gathering.push(&masked.finish())?;
    if !is_text && masked.has_hidden() {
        // With something else in its place it would be broken without a sign.
        return Err(std::io::Error::other("it is no text, and a secret is in it").into());
    }
    Ok(gathering.finish())
}

/// The name of the artifact that a file becomes: its path in lower case, with `-` for what a name cannot have.
fn name_of(relative: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_' | '.' | '-') => c,
        _ => '-',
    };
    // The end tells more: it has the name of the file.
    let name: Vec<char> = relative.chars().map(plain).collect();
    name[name.len().saturating_sub(LONGEST_NAME)..].iter().collect()
}

/// Gives files of one name another each, but for the one that is called so itself, or comes first: they are different things,
/// and no versions of one another. Says which.
fn tell_apart(found: &mut [Found]) -> Vec<String> {
    let mut taken: HashMap<String, String> = HashMap::new();
    let (mut notes, mut others) = (Vec::new(), Vec::new());
    for (at, file) in found.iter().enumerate() {
        match file.name == file.relative {
            true => _ = taken.insert(file.name.clone(), file.relative.clone()),
            false => others.push(at),
        }
    }
    for at in others {
        let file = &mut found[at];
        if let Some(first) = taken.get(&file.name) {
            let other = with_mark(&file.name, &file.relative);
            notes.push(format!(
                "{} is kept as {other}, because {first} has the name {}",
                file.relative, file.name
            ));
            file.name = other;
        }
        taken.insert(file.name.clone(), file.relative.clone());
    }
    notes
}

/// The name with a mark of the path before its extension; the same in every run.
fn with_mark(name: &str, relative: &str) -> String {
    let digest = Sha256::digest(relative);
    let mark: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        _ => (name, String::new()),
    };
    name_of(&format!("{stem}-{mark}{extension}"))
}

/// The content type that the name of a file promises.
fn type_of(relative: &str) -> &'static str {
    let extension = relative.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("txt" | "log") => "text/plain; charset=utf-8",
        Some("md") => "text/markdown; charset=utf-8",
        Some("csv") => "text/csv; charset=utf-8",
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("xml") => "application/xml",
        Some("json") => "application/json",
        Some("yaml" | "yml") => "application/yaml",
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("svg") => "image/svg+xml",
        Some("gz" | "tgz") => "application/gzip",
        Some("zip") => "application/zip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn test_names_and_types_of_files() {
        assert_eq!(name_of("Report 1/Summary.HTML"), "report-1-summary.html");
        assert_eq!(name_of("größe.txt"), "gr--e.txt");
        assert_eq!(name_of(&format!("{}/end.txt", "x".repeat(200))).len(), LONGEST_NAME);
        assert!(artifact_content::is_name(&name_of("a b/ü")));
        assert_eq!(type_of("Summary.HTML"), "text/html; charset=utf-8");
        assert_eq!(type_of("core"), "application/octet-stream");
    }

    #[test]
    fn test_files_of_one_name_are_told_apart() {
        let named = |files: &[&str]| {
            let mut found: Vec<Found> = files
                .iter()
                .map(|file| Found {
                    path: PathBuf::from(file),
                    relative: (*file).to_owned(),
                    name: name_of(file),
                })
                .collect();
            let notes = tell_apart(&mut found);
            (found.into_iter().map(|file| file.name).collect::<Vec<_>>(), notes)
        };
        assert_eq!(named(&["A.txt", "b.txt"]), (vec!["a.txt".to_owned(), "b.txt".to_owned()], vec![]));
        let (names, notes) = named(&["R.txt", "a b.txt", "a+b.txt", "a-b.txt", "r.txt"]);
        assert_eq!((names[3].as_str(), names[4].as_str()), ("a-b.txt", "r.txt"), "what is called so itself");
        let mut distinct = names.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 5, "{names:?}");
        assert!(names[0].starts_with("r-") && names[0].ends_with(".txt"), "{names:?}");
        assert!(names.iter().all(|name| artifact_content::is_name(name)));
        assert_eq!(notes.len(), 3);
        assert_eq!(notes[0], format!("R.txt is kept as {}, because r.txt has the name r.txt", names[0]));
        assert_eq!(named(&["R.txt", "r.txt"]).0[0], names[0], "the same in every run");
        let long = format!("{}.txt", "x".repeat(LONGEST_NAME));
        let (names, _) = named(&[&format!("A{long}"), &format!("B{long}")]);
        assert!(
            names[0] != names[1] && names.iter().all(|name| artifact_content::is_name(name)),
            "{names:?}"
        );
    }

    #[test]
    fn test_only_plain_files_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/deep.txt"), "x").unwrap();
        std::fs::write(root.join("top.txt"), "x").unwrap();
        symlink("/etc/passwd", root.join("link")).unwrap();
        let (mut found, mut notes) = (Vec::new(), Vec::new());
        look(root, root, 0, &mut found, &mut notes);
        let mut names: Vec<_> = found.iter().map(|found| found.relative.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a/b/deep.txt", "top.txt"]);
        assert_eq!(notes, ["link is not kept: it is no plain file"]);
        assert!(gather(&root.join("link"), &Masker::nothing(), 100).is_err(), "links are not followed");
    }

    #[test]
    fn test_what_is_no_text_is_not_kept_with_a_secret_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump");
        std::fs::write(&path, b"PGDMP\0postgres\0").unwrap();
        let error = gather(&path, &Masker::of(["postgres"]), 100).unwrap_err();
        assert!(format!("{error:?}").contains("it is no text, and a secret is in it"), "{error:?}");
        assert_eq!(gather(&path, &Masker::of(["hunter2"]), 100).unwrap().size, 15);
    }

    #[test]
    fn test_files_are_masked_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        std::fs::write(&path, "the token is hunter2.").unwrap();
        let masker = Masker::of(["hunter2"]);
        let plain = gather(&path, &Masker::nothing(), 100).unwrap();
        let masked = gather(&path, &masker, 100).unwrap();
        assert_eq!((plain.size, masked.size), (21, 22));
        assert_ne!(plain.sha256, masked.sha256);
        assert!(matches!(gather(&path, &masker, 5), Err(ContentError::TooLarge { limit: 5 })));
    }
}
