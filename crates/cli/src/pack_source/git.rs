//! Packs from git repositories, by the user's own `git`: with it come the user's keys, helpers and proxies.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use url::Url;

use super::{Fetched, refuse_secret};
use crate::archive;
use crate::failure::Fault;

/// What `git` may speak; `ext`, which runs any command, is not among it.
const PROTOCOLS: &str = "file:git:http:https:ssh";
/// Variables that would lead `git` to the repository that this command was started in, as in a hook.
const FOREIGN: &[&str] =
    &["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"];

/// A pack in a repository.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) repository: &'a str,
    pub(super) git_ref: Option<&'a str>,
    pub(super) subdirectory: Option<&'a str>,
    /// The commit that it has to be.
    pub(super) commit: Option<&'a str>,
}

/// The repository, when the text names one. With a ref wanted, every address does.
pub(super) fn repository(given: &str, with_ref: bool) -> Result<Option<String>, Fault> {
    let (given, is_said) = match given.strip_prefix("git+") {
        Some(rest) => (rest, true),
        None => (given, false),
    };
    if let Ok(url) = Url::parse(given)
        && matches!(url.scheme(), "file" | "git" | "http" | "https" | "ssh")
    {
        let is_git = is_said
            || with_ref
            || matches!(url.scheme(), "git" | "ssh" | "file")
            || url.path().trim_end_matches('/').ends_with(".git");
        if is_git {
            refuse_secret(&url)?;
        }
        return Ok(is_git.then(|| given.to_owned()));
    }
    Ok((is_said || is_short_ssh(given)).then(|| given.to_owned()))
}

/// `git@host:path`, as code hosts show it.
fn is_short_ssh(given: &str) -> bool {
    let Some((host, path)) = given.split_once(':') else { return false };
    let Some((user, host)) = host.split_once('@') else { return false };
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    is_name(user) && is_name(host) && !path.is_empty() && !path.starts_with(':')
}

/// Clones the repository into a directory that goes when this is done, and reads the pack from it.
pub(super) fn fetch(wanted: &Wanted<'_>) -> anyhow::Result<Fetched> {
    if let Some(git_ref) = wanted.git_ref.filter(|git_ref| git_ref.starts_with('-') || git_ref.is_empty()) {
        return Err(Fault::new(format!("{git_ref:?} is no branch, tag or commit")).into());
    }
    let directory = tempfile::Builder::new()
        .prefix("attune-pack-")
        .tempdir()
        .context("cannot make a directory to clone into")?;
    let clone = directory.path().join("clone");
    let mut command = git();
    command.args(["clone", "--quiet", "--no-checkout"]);
    if wanted.git_ref.is_none() {
        command.args(["--depth", "1"]);
    }
    command.arg("--").arg(wanted.repository).arg(&clone);
    run(&mut command, &format!("clone {}", wanted.repository))?;
    let commit = match wanted.git_ref {
        None => commit_of(&clone, "HEAD"),
        Some(git_ref) => {
            [format!("refs/remotes/origin/{git_ref}"), format!("refs/tags/{git_ref}"), git_ref.to_owned()]
                .iter()
                .find_map(|name| commit_of(&clone, name))
        }
    };
    let Some(commit) = commit else {
        let git_ref = wanted.git_ref.unwrap_or("HEAD");
        return Err(
            Fault::new(format!("{} has no branch, tag or commit {git_ref}", wanted.repository)).into()
        );
    };
    if let Some(expected) = wanted.commit.filter(|expected| *expected != commit) {
        return Err(Fault::new(format!(
            "{} is not what was expected: {commit}, not {expected}",
            wanted.repository
        ))
        .into());
    }
    let mut command = git();
    command.arg("-C").arg(&clone).args([
        "-c",
        "advice.detachedHead=false",
        "checkout",
        "--quiet",
        "--detach",
        &commit,
    ]);
    run(&mut command, &format!("check out {commit}"))?;
    let root = match wanted.subdirectory {
        None => clone,
        Some(path) => within(&clone, path)?,
    };
    let found = archive::read(&root).map_err(|error| {
        // The directory is of no use to the reader.
        let place = root.display().to_string();
        Fault::new(error.to_string().replace(&place, wanted.repository))
            .hint("where the pack is not at the top of the repository, say where with --subdirectory")
    })?;
    Ok(Fetched { files: found.files, source: described(wanted, &commit), directory: None })
}

/// Where it came from, in the form that package URLs have: `git+https://host/path@commit#subdirectory`.
fn described(wanted: &Wanted<'_>, commit: &str) -> String {
    let subdirectory = wanted.subdirectory.map(|path| format!("#{path}")).unwrap_or_default();
    format!("git+{}@{commit}{subdirectory}", wanted.repository)
}

/// A directory of the repository; a link out of it is no directory of it.
fn within(clone: &Path, path: &str) -> anyhow::Result<std::path::PathBuf> {
    let context = || format!("cannot read {path} in the repository");
    let root = std::fs::canonicalize(clone).with_context(context)?;
    let directory = std::fs::canonicalize(clone.join(path)).with_context(context)?;
    if !directory.starts_with(&root) {
        return Err(Fault::new(format!("{path} is not in the repository")).into());
    }
    Ok(directory)
}

fn commit_of(clone: &Path, name: &str) -> Option<String> {
    let mut command = git();
    command.arg("-C").arg(clone).args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
    let output = command.arg(format!("{name}^{{commit}}")).stdout(Stdio::piped()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // Older versions of git print the option that they were given as well.
    let commit = text.lines().last()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}

fn git() -> Command {
    let mut command = Command::new("git");
    for variable in FOREIGN {
        command.env_remove(variable);
    }
    command.env("GIT_ALLOW_PROTOCOL", PROTOCOLS).env("GIT_LFS_SKIP_SMUDGE", "1").stdin(Stdio::null());
    // Nobody answers a question that is asked by a script.
    command.env("GIT_TERMINAL_PROMPT", "0");
    command
}

fn run(command: &mut Command, doing: &str) -> anyhow::Result<()> {
    let output = match command.stdout(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Fault::new("there is no `git` to be run")
                .hint("install git, or give a directory")
                .into());
        }
        Err(error) => return Err(anyhow::Error::from(error).context("cannot run git")),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    Err(Fault::new(format!("git cannot {doing}: {}", said.join("; "))).into())
}
