//! From the isolation that an action asks for to what its process gives up, and what this machine can do of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attune_common::process::{Confinement, Limit, Resource};
use attune_pack::isolation::{FilesystemAccess, Limits, NetworkAccess, Sandbox};

use crate::process::{Exit, Finished};

/// What a run may take when its action says nothing: enough for anything that is not a mistake.
pub(crate) const OPEN_FILES: u64 = 4096;
pub(crate) const FILE_SIZE: u64 = 16 << 30;

/// Why an action cannot have the sandbox that it asks for.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error(
        "the action asks for `sandbox: {{filesystem: {access}}}`, which this worker cannot give ({problem}): run it on Linux \
         5.19 or later with Landlock, which `worker_selector: {{sandbox_filesystem: \"yes\"}}` does"
    )]
    Filesystem { access: &'static str, problem: String },
    #[error(
        "the action asks for `sandbox: {{network: none}}`, which this worker cannot give ({problem}): allow its account to \
         make user namespaces, or run the action where `worker_selector: {{sandbox_network: \"yes\"}}` does"
    )]
    Network { problem: String },
    #[error("the sandbox of the action names {path}, which cannot be opened on this worker", path = path.display())]
    Path { path: PathBuf, source: std::io::Error },
}

/// What this machine can do, found out once.
#[derive(Debug, Clone)]
pub struct Abilities {
    filesystem: Result<(), String>,
    network: Result<(), String>,
    /// Whether a private run can be kept from signalling what is not its own.
    signals: Result<(), String>,
    /// What no private run sees, whatever else it may read.
    hidden: Vec<PathBuf>,
}

/// The places that a run is given.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Its own directory, to write in.
    pub own: &'a Path,
    /// What it reads: the files of its pack, the environment of that, its interpreter.
    pub read: &'a [PathBuf],
}

impl Abilities {
    /// Tries what sandboxes need on a process each.
    pub async fn probe() -> Self {
        let signals = can_scope();
        let mut found = Self { filesystem: Ok(()), network: Ok(()), signals, hidden: Vec::new() };
        let rules = found.rules(
            &Sandbox { filesystem: FilesystemAccess::Private, ..Sandbox::default() },
            Places { own: Path::new("/"), read: &[] },
        );
        found.filesystem = match rules {
            Ok(files) => try_out(Confinement { files, ..Confinement::default() }).await,
            Err(error) => Err(problem(&error)),
        };
        found.network = try_out(Confinement { without_network: true, ..Confinement::default() }).await;
        found
    }

    /// The same, with directories that private runs see nothing of but the places that they are given in them.
    #[must_use]
    pub fn hiding<'a>(mut self, directories: impl IntoIterator<Item = &'a Path>) -> Self {
        // One that is not there yet holds nothing.
        self.hidden.extend(directories.into_iter().filter_map(|path| path.canonicalize().ok()));
        self
    }

    /// A machine that can do nothing of it, for these reasons.
    pub fn none(filesystem: impl Into<String>, network: impl Into<String>) -> Self {
        let filesystem: String = filesystem.into();
        Self {
            signals: Err(filesystem.clone()),
            filesystem: Err(filesystem),
            network: Err(network.into()),
            hidden: Vec::new(),
        }
    }

    /// For selectors.
    pub fn capabilities(&self) -> BTreeMap<&'static str, String> {
        let word = |ability: &Result<(), String>| if ability.is_ok() { "yes" } else { "no" }.to_owned();
        BTreeMap::from([
            ("sandbox_filesystem", word(&self.filesystem)),
            ("sandbox_network", word(&self.network)),
            ("sandbox_signals", word(&self.signals)),
        ])
    }

    /// What the process of an action gives up.
    pub fn confinement(
        &self,
        limits: &Limits,
        sandbox: Option<&Sandbox>,
        places: Places<'_>,
    ) -> Result<Confinement, SandboxError> {
        let mut confinement = Confinement { limits: with_defaults(limits), ..Confinement::default() };
        let Some(sandbox) = sandbox else { return Ok(confinement) };
        if sandbox.filesystem != FilesystemAccess::Open {
            if let Err(problem) = &self.filesystem {
                let access = sandbox.filesystem.as_str();
                return Err(SandboxError::Filesystem { access, problem: problem.clone() });
            }
            confinement.files = self.rules(sandbox, places)?;
        }
        if sandbox.network == NetworkAccess::None {
            if let Err(problem) = &self.network {
                return Err(SandboxError::Network { problem: problem.clone() });
            }
            confinement.without_network = true;
        }
        Ok(confinement)
    }
}

fn problem(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Starts a process that does nothing under the confinement.
async fn try_out(confinement: Confinement) -> Result<(), String> {
    use crate::process::{Launch, OutputSink, run};

    let launch = Launch { args: vec!["-c".into(), ":".into()], confinement, ..Launch::of("/bin/sh", "/") };
    match run(launch, tokio_util::sync::CancellationToken::new(), OutputSink::discard()).await {
        Ok(Finished { exit: Exit::Code(0), .. }) => Ok(()),
        Ok(finished) => Err(format!("a process in it ended with {:?}", finished.exit)),
        Err(error) => Err(problem(&error)),
    }
}

fn with_defaults(limits: &Limits) -> Vec<Limit> {
    [
        (Resource::Memory, limits.memory),
        (Resource::CpuTime, limits.cpu_time),
        (Resource::Processes, limits.processes),
        (Resource::OpenFiles, Some(limits.open_files.unwrap_or(OPEN_FILES))),
        (Resource::FileSize, Some(limits.file_size.unwrap_or(FILE_SIZE))),
    ]
    .into_iter()
    .filter_map(|(resource, value)| value.map(|value| Limit { resource, value }))
    .collect()
}

/// What programs need to read to run at all.
#[cfg(target_os = "linux")]
const SYSTEM: &[&str] = &[
    "/bin",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/opt",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
];

/// What programs look for within these and may find elsewhere, by links: who resolves names, whom TLS trusts, what time it is.
#[cfg(target_os = "linux")]
const LINKED: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/localtime",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// What programs write to that is no file.
#[cfg(target_os = "linux")]
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Memory under names that all processes of the machine have in common: nothing for a private run.
#[cfg(target_os = "linux")]
const SHARED_MEMORY: &str = "/dev/shm";

/// What is at this place and hidden from nobody: the place as a whole, or what it holds, one by one, where something hidden is
/// below it. Rules of Landlock allow; none takes back what another has allowed.
#[cfg(target_os = "linux")]
fn visible(place: &Path, hidden: &[PathBuf]) -> Vec<PathBuf> {
    let Ok(real) = place.canonicalize() else { return Vec::new() };
    let (mut found, mut open) = (Vec::new(), vec![real]);
    while let Some(path) = open.pop() {
        if hidden.contains(&path) {
            continue;
        }
        if !hidden.iter().any(|hidden| hidden.starts_with(&path)) {
            found.push(path);
            continue;
        }
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        // What a link leads to has its own place, or none.
        let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
        open.extend(entries.map(|entry| entry.path()));
    }
    found
}

/// The files that these names stand for, as far as they are there and not hidden.
#[cfg(target_os = "linux")]
fn targets(names: &[&str], hidden: &[PathBuf]) -> Vec<PathBuf> {
    let targets = names.iter().filter_map(|name| Path::new(name).canonicalize().ok());
    let is_shown = |path: &PathBuf| path.is_file() && !hidden.iter().any(|hidden| path.starts_with(hidden));
    targets.filter(is_shown).collect()
}

/// Whether the kernel knows of scopes for signals (Linux 6.12).
#[cfg(target_os = "linux")]
fn can_scope() -> Result<(), String> {
    use landlock::{CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};

    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).scope(Scope::Signal);
    match rules.and_then(Ruleset::create) {
        Ok(_rules) => Ok(()),
        Err(error) => Err(problem(&error)),
    }
}

#[cfg(not(target_os = "linux"))]
fn can_scope() -> Result<(), String> {
    Err("only Linux has Landlock".to_owned())
}

impl Abilities {
    #[cfg(target_os = "linux")]
    fn rules(
        &self,
        sandbox: &Sandbox,
        places: Places<'_>,
    ) -> Result<Option<Arc<std::os::fd::OwnedFd>>, SandboxError> {
        use landlock::{
            ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
            RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
        };

        // The third version is the first that can tell truncating a file from reading it.
        const VERSION: ABI = ABI::V3;

        let unable = |error: &dyn std::error::Error| SandboxError::Filesystem {
            access: sandbox.filesystem.as_str(),
            problem: problem(error),
        };
        let (reading, all) = (AccessFs::from_read(VERSION), AccessFs::from_all(VERSION));
        let is_private = sandbox.filesystem == FilesystemAccess::Private;
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(all);
        let rules = match is_private && self.signals.is_ok() {
            true => rules.and_then(|rules| rules.scope(Scope::Signal | Scope::AbstractUnixSocket)),
            false => rules,
        };
        let mut rules = rules.and_then(Ruleset::create).map_err(|error| unable(&error))?;
        let allow = |rules: RulesetCreated,
                     path: &Path,
                     access: BitFlags<AccessFs>|
         -> Result<RulesetCreated, SandboxError> {
            let open = |source: std::io::Error| SandboxError::Path { path: path.to_owned(), source };
            let is_directory = std::fs::metadata(path).map_err(open)?.is_dir();
            let access = if is_directory { access } else { access & AccessFs::from_file(VERSION) };
            let file = PathFd::new(path).map_err(|error| {
                let source = std::io::Error::other(error.to_string());
                SandboxError::Path { path: path.to_owned(), source }
            })?;
            rules.add_rule(PathBeneath::new(file, access)).map_err(|error| unable(&error))
        };
        let devices = DEVICES.iter().copied().chain((!is_private).then_some(SHARED_MEMORY));
        for path in devices.map(Path::new).filter(|path| path.exists()) {
            rules = allow(rules, path, all)?;
        }
        if is_private {
            let system = SYSTEM.iter().flat_map(|place| visible(Path::new(place), &self.hidden));
            for path in system.chain(targets(LINKED, &self.hidden)) {
                rules = allow(rules, &path, reading)?;
            }
        } else {
            rules = allow(rules, Path::new("/"), reading)?;
        }
        for path in places.read.iter().map(PathBuf::as_path).chain(sandbox.read.iter().map(Path::new)) {
            // A place within what is hidden was named for what it is.
            let holds_hidden = path
                .canonicalize()
                .is_ok_and(|real| self.hidden.iter().any(|hidden| hidden.starts_with(&real)));
            match is_private && holds_hidden {
                false => rules = allow(rules, path, reading)?,
                true => {
                    for path in visible(path, &self.hidden) {
                        rules = allow(rules, &path, reading)?;
                    }
                }
            }
        }
        rules = allow(rules, places.own, all)?;
        for path in &sandbox.write {
            rules = allow(rules, Path::new(path), all)?;
        }
        Ok(Option::<std::os::fd::OwnedFd>::from(rules).map(Arc::new))
    }

    #[cfg(not(target_os = "linux"))]
    fn rules(
        &self,
        sandbox: &Sandbox,
        _places: Places<'_>,
    ) -> Result<Option<Arc<std::os::fd::OwnedFd>>, SandboxError> {
        Err(SandboxError::Filesystem {
            access: sandbox.filesystem.as_str(),
            problem: "only Linux has Landlock".to_owned(),
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn test_what_lies_around_hidden_places_is_visible() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for directory in ["app/data/worker", "app/bin", "other"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("app/note"), "").unwrap();
        symlink(root.join("app/data"), root.join("app/current")).unwrap();
        symlink("/", root.join("app/everything")).unwrap();
        let of = |place: &str, hidden: &[&str]| {
            let hidden: Vec<PathBuf> = hidden.iter().map(|path| root.join(path)).collect();
            let mut found: Vec<String> = visible(&root.join(place), &hidden)
                .iter()
                .map(|path| path.strip_prefix(&root).unwrap().display().to_string())
                .collect();
            found.sort();
            found
        };
        assert_eq!(of("", &[]), [""]);
        assert_eq!(of("other", &["app/data"]), ["other"]);
        assert_eq!(of("", &["app/data"]), ["app/bin", "app/note", "other"]);
        assert_eq!(of("app/data", &["app/data"]), [""; 0]);
        assert_eq!(of("app", &["app/data", "app/bin"]), ["app/note"]);
        assert_eq!(of("nowhere", &["app/data"]), [""; 0]);
    }

    #[test]
    fn test_a_link_stands_for_its_file() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("run")).unwrap();
        fs::write(root.join("run/stub.conf"), "").unwrap();
        symlink(root.join("run/stub.conf"), root.join("resolv.conf")).unwrap();
        symlink(root.join("gone"), root.join("dangling")).unwrap();
        let [link, dangling, directory] =
            ["resolv.conf", "dangling", "run"].map(|name| root.join(name).display().to_string());
        let names = [link.as_str(), &dangling, &directory];
        assert_eq!(targets(&names, &[]), [root.join("run/stub.conf")]);
        assert_eq!(targets(&names, &[root.join("run")]), Vec::<PathBuf>::new());
    }
}
