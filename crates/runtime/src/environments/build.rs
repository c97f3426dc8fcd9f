//! Builds one environment with the tools of its language.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use attune_expr::key_marks::MASK;
use tokio_util::sync::CancellationToken;

use super::requirements::{Source, files_of};
use super::store::{Marker, Store, failed};
use super::{EnvironmentError, EnvironmentSettings, Language, Plan, Preparing};
use crate::tool::{self, Done, End, Tool};

/// How often it is looked whether another process has finished its build.
const POLL: Duration = Duration::from_millis(100);
/// How much of what a failed build wrote is shown.
const SHOWN_LINES: usize = 15;
const SHOWN_BYTES: usize = 2000;

/// One build.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) language: Language,
    pub(super) pack_ref: String,
    pub(super) files: PathBuf,
    pub(super) plan: Arc<Plan>,
}

pub(super) struct Builder {
    limit: Duration,
    variables: BTreeMap<OsString, OsString>,
}

impl fmt::Debug for Builder {
    /// Leaves out the variables, in which credentials may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A step of a build.
#[derive(Debug)]
struct Step<'a> {
    /// For people.
    tool: &'a str,
    program: PathBuf,
    args: Vec<OsString>,
    cwd: &'a Path,
}

/// What surrounds the steps of a build.
#[derive(Debug, Clone, Copy)]
struct Site<'a> {
    job: &'a Job,
    /// Where it is built.
    directory: &'a Path,
    /// When it has to be done.
    deadline: Instant,
    preparing: &'a Preparing,
    stop: &'a CancellationToken,
}

impl Builder {
    pub(super) fn new(settings: &EnvironmentSettings) -> Self {
        let mut variables = settings.variables.clone();
        let mut default = |name: &str, value: OsString| {
            variables.entry(name.into()).or_insert(value);
        };
        default("PIP_DISABLE_PIP_VERSION_CHECK", "1".into());
        default("PIP_NO_INPUT", "1".into());
        default("UV_PYTHON_DOWNLOADS", "never".into());
        default("NPM_CONFIG_UPDATE_NOTIFIER", "false".into());
        default("NPM_CONFIG_FUND", "false".into());
        default("NPM_CONFIG_AUDIT", "false".into());
        if !settings.variables.contains_key(OsStr::new("HOME")) {
            let cache = settings.directory.join(".cache");
            default("XDG_CACHE_HOME", cache.clone().into_os_string());
            default("NPM_CONFIG_CACHE", cache.join("npm").into_os_string());
        }
        Self { limit: settings.limit, variables }
    }

    /// Builds it unless another process does so first.
    pub(super) async fn build(
        &self,
        store: &Store,
        job: &Job,
        preparing: &Preparing,
        stop: &CancellationToken,
    ) -> Result<(), EnvironmentError> {
        let (pack_ref, key) = (job.pack_ref.as_str(), job.plan.key.as_str());
        let mut told = false;
        let _lock = loop {
            if let Some(lock) = store.lock(pack_ref, key)? {
                break lock;
            }
            if !told {
                told = true;
                preparing.step(pack_ref, job.language.as_str(), "another worker of this machine builds it");
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => return Err(EnvironmentError::Cancelled),
            }
        };
        if store.open(pack_ref, key).is_some() {
            return Ok(());
        }
        let began = Instant::now();
        tracing::info!(pack = pack_ref, language = %job.language, "building an environment");
        let directory = store.begin(pack_ref, key)?;
        let deadline = began + self.limit;
        let site = Site { job, directory: &directory, deadline, preparing, stop };
        let result = match self.fill(site).await {
            Ok(()) => {
                let marker = Marker {
                    language: job.language.as_str().to_owned(),
                    interpreter: job.plan.interpreter.path.clone(),
                    version: job.plan.interpreter.version_text(),
                    built_from: self.source(job).to_owned(),
                    seconds: began.elapsed().as_secs_f64(),
                };
                let target = store.path(pack_ref, key);
                move_scripts(&directory, &target)
                    .map_err(|error| failed("correct the paths in", &directory, &error))
                    .and_then(|()| store.publish(pack_ref, key, &directory, &marker))
            }
            Err(error) => Err(error),
        };
        if result.is_err() {
            store.discard(&directory);
        } else {
            let seconds = began.elapsed().as_secs_f64();
            tracing::info!(pack = pack_ref, language = %job.language, seconds, "built an environment");
            store.remove_unused(Some(pack_ref));
        }
        result
    }

    fn source(&self, job: &Job) -> &'static str {
        job.plan.requirements.as_ref().map_or("nothing", |requirements| requirements.source.file())
    }

    async fn fill(&self, site: Site<'_>) -> Result<(), EnvironmentError> {
        let Some(requirements) = &site.job.plan.requirements else { return Ok(()) };
        match &requirements.source {
            Source::RequirementsTxt => {
                let file = site.job.files.join("requirements.txt");
                self.python(site, Some(&file)).await
            }
            Source::Pyproject(lines) if lines.is_empty() => self.python(site, None).await,
            Source::Pyproject(lines) => {
                let file = site.directory.join(".requirements.txt");
                std::fs::write(&file, lines.join("\n") + "\n")
                    .map_err(|error| failed("write", &file, &error))?;
                self.python(site, Some(&file)).await
            }
            Source::Package { locked } => self.node(site, *locked).await,
        }
    }

    async fn python(&self, site: Site<'_>, requirements: Option<&Path>) -> Result<(), EnvironmentError> {
        let interpreter = &site.job.plan.interpreter.path;
        // Relative paths in the requirements are meant from the pack on.
        let cwd = &site.job.files;
        let own = site.directory.join("bin/python");
        let args = |words: &[&OsStr]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let word = OsStr::new::<str>;
        let (make, mut install) = match self.find("uv") {
            Some(uv) => {
                let make = Step {
                    tool: "uv venv",
                    program: uv.clone(),
                    args: args(&[
                        word("venv"),
                        word("--allow-existing"),
                        word("--python"),
                        interpreter.as_os_str(),
                        site.directory.as_os_str(),
                    ]),
                    cwd,
                };
                let install = Step {
                    tool: "uv pip install",
                    program: uv,
                    args: args(&[
                        word("pip"),
                        word("install"),
                        word("--python"),
                        own.as_os_str(),
                        word("-r"),
                    ]),
                    cwd,
                };
                (make, install)
            }
            None => {
                let make = Step {
                    tool: "python -m venv",
                    program: interpreter.clone(),
                    args: args(&[word("-m"), word("venv"), site.directory.as_os_str()]),
                    cwd,
                };
                let install = Step {
                    tool: "pip install",
                    program: own.clone(),
                    args: args(&[word("-m"), word("pip"), word("install"), word("-r")]),
                    cwd,
                };
                (make, install)
            }
        };
        self.run(site, make).await?;
        if let Some(requirements) = requirements {
            install.args.push(requirements.as_os_str().to_owned());
            self.run(site, install).await?;
        }
        Ok(())
    }

    async fn node(&self, site: Site<'_>, locked: bool) -> Result<(), EnvironmentError> {
        // npm installs beside the package.json. What the pack itself brings may be asked for by it.
        copy_files(&site.job.files, site.directory)
            .map_err(|error| failed("copy the pack's files to", site.directory, &error))?;
        let npm = self.npm(site)?;
        let verb = if locked { "ci" } else { "install" };
        let tool = if locked { "npm ci" } else { "npm install" };
        let args = [verb, "--omit=dev", "--install-links", "--no-audit", "--no-fund", "--loglevel=warn"];
        let step = Step { tool, program: npm, args: args.map(OsString::from).to_vec(), cwd: site.directory };
        self.run(site, step).await?;
        settle_links(site.directory)
            .and_then(|()| keep_modules(site.directory))
            .map_err(|error| failed("remove what is not needed from", site.directory, &error))
    }

    /// The npm that belongs to the interpreter, else any.
    fn npm(&self, site: Site<'_>) -> Result<PathBuf, EnvironmentError> {
        let beside = site.job.plan.interpreter.path.with_file_name("npm");
        match beside.exists() {
            true => Ok(beside),
            false => self.find("npm").ok_or_else(|| {
                let problem = "there is no program npm on this worker: install it beside node".to_owned();
                self.problem(site.job, problem)
            }),
        }
    }

    /// A program in the search path.
    fn find(&self, program: &str) -> Option<PathBuf> {
        let path = self.variables.get(OsStr::new("PATH"))?;
        std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(program))
            .find(|candidate| nix::unistd::access(candidate, nix::unistd::AccessFlags::X_OK).is_ok())
    }

    fn problem(&self, job: &Job, problem: String) -> EnvironmentError {
        EnvironmentError::Build {
            language: job.language,
            pack_ref: job.pack_ref.clone(),
            source_file: self.source(job).to_owned(),
            problem,
        }
    }

    async fn run(&self, site: Site<'_>, step: Step<'_>) -> Result<(), EnvironmentError> {
        let mut env = self.variables.clone();
        // What the interpreter's own tools look for is found first.
        if let Some(directory) = site.job.plan.interpreter.path.parent() {
            let path = env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
            let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&path));
            if let Ok(path) = std::env::join_paths(all) {
                env.insert("PATH".into(), path);
            }
        }
        let what = site.job.language.as_str();
        let pack_ref = &site.job.pack_ref;
        let started = Tool {
            program: step.program,
            args: step.args,
            env,
            cwd: step.cwd,
            limit: site.deadline.saturating_duration_since(Instant::now()),
        };
        site.preparing.step(pack_ref, what, step.tool);
        let listener = |piece: &[u8]| {
            if let Some(line) = last_line(piece) {
                tracing::debug!(pack = pack_ref, line, "building an environment");
                site.preparing.step(pack_ref, what, &line);
            }
        };
        match tool::run(started, site.stop, &listener).await {
            Ok(done) => self.judge(site.job, step.tool, &done),
            Err(error) => {
                let mut problem = format!("{}: {error}", step.tool);
                if let Some(source) = std::error::Error::source(&error) {
                    problem.push_str(&format!(": {source}"));
                }
                Err(self.problem(site.job, problem))
            }
        }
    }

    fn judge(&self, job: &Job, tool: &str, done: &Done) -> Result<(), EnvironmentError> {
        let end = match done.end {
            End::Code(0) => return Ok(()),
            End::Stopped => return Err(EnvironmentError::Cancelled),
            End::TimedOut => {
                format!("took longer than the {} s that a build may take", self.limit.as_secs())
            }
            End::Code(code) => format!("ended with code {code}"),
            End::Signal(signal) => format!("was killed by signal {signal}"),
        };
        let written = format!("{}\n{}", done.stdout, done.stderr);
        let remedy = match job.language {
            Language::Python if written.contains("ensurepip") => {
                "install the operating system's package for venv (as python3-venv) on the worker".to_owned()
            }
            Language::Python | Language::Node => format!(
                "correct {} in the pack, or give the worker access to the packages (its PIP_*, UV_*, NPM_CONFIG_* and proxy \
                 variables are passed on)",
                self.source(job)
            ),
        };
        Err(self.problem(job, format!("{tool} {end}; {remedy}. It wrote:\n{}", shown(&written))))
    }
}

/// The last line of a piece of output that says something, as it may be shown.
fn last_line(content: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(without_credentials(line).chars().take(200).collect())
}

/// The end of what a build wrote, as it may be shown.
fn shown(written: &str) -> String {
    let text = without_credentials(written);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
    let mut start = tail.len().saturating_sub(SHOWN_BYTES);
    while !tail.is_char_boundary(start) {
        start += 1;
    }
    tail[start..].to_owned()
}

/// Masks the credentials in URLs: an index of packages is often named with them.
fn without_credentials(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<' | '>'))
            .unwrap_or(after.len());
        let (authority, following) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str(MASK);
                shown.push('@');
                shown.push_str(host);
            }
            None => shown.push_str(authority),
        }
        rest = following;
    }
    shown.push_str(rest);
    shown
}

/// Scripts name the directory that they were installed in: it gets another name.
fn move_scripts(built: &Path, target: &Path) -> io::Result<()> {
    let (from, to) = (built.as_os_str().as_encoded_bytes(), target.as_os_str().as_encoded_bytes());
    let mut files = vec![built.join("pyvenv.cfg")];
    match std::fs::read_dir(built.join("bin")) {
        Ok(entries) => files.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.path()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for file in files {
        let metadata = match std::fs::symlink_metadata(&file) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // Programs proper are not scripts, and links lead to those.
        if !metadata.is_file() || metadata.len() > 1024 * 1024 {
            continue;
        }
        let content = std::fs::read(&file)?;
        if content.contains(&0) || !content.windows(from.len()).any(|window| window == from) {
            continue;
        }
        std::fs::write(&file, replace(&content, from, to))?;
    }
    Ok(())
}

fn replace(content: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for file in files_of(from)? {
        let target = to.join(&file);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(from.join(&file), target)?;
    }
    Ok(())
}

/// Puts the files of packages that lie in the pack itself in the place of the links to them that npm makes, also when it is
/// told not to: they would lead to where the environment was built.
fn settle_links(directory: &Path) -> io::Result<()> {
    let mut waiting = vec![directory.join("node_modules")];
    while let Some(parent) = waiting.pop() {
        let entries = match std::fs::read_dir(&parent) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_symlink() {
                let target = std::fs::canonicalize(&path)?;
                std::fs::remove_file(&path)?;
                copy_files(&target, &path)?;
            } else if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"@")) {
                waiting.push(path);
            }
        }
    }
    Ok(())
}

/// Leaves only what was installed.
fn keep_modules(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == "node_modules" {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    // A pack whose only dependencies are optional may have got none.
    std::fs::create_dir_all(directory.join("node_modules"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_credentials_of_an_index_are_not_shown() {
        let text = "Looking in indexes: https://user:s3cret@pypi.example/simple, https://pypi.org/simple\n\
                    ERROR: https://tok@host/x (mail me@example.org)";
        let shown = without_credentials(text);
        assert!(!shown.contains("s3cret") && !shown.contains("tok@"), "{shown}");
        assert!(shown.contains("@pypi.example/simple, https://pypi.org/simple"), "{shown}");
        assert!(shown.contains("me@example.org"), "{shown}");
    }

    #[test]
    fn test_the_end_of_the_output_is_shown() {
        let text: String = (0..100).map(|number| format!("line {number}\n\n")).collect();
        let shown = shown(&text);
        assert!(shown.starts_with("line 85\n") && shown.ends_with("line 99"), "{shown}");
        assert_eq!(super::shown(&"\u{e9}".repeat(4000)).len(), SHOWN_BYTES);
    }
}
