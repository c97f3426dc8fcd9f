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
        let filesystem = filesystem_rules(
            &Sandbox { filesystem: FilesystemAccess::Private, ..Sandbox::default() },
            Places { own: Path::new("/"), read: &[] },
        );
        let filesystem = match filesystem {
            Ok(files) => try_out(Confinement { files, ..Confinement::default() }).await,
            Err(error) => Err(problem(&error)),
        };
        let network = try_out(Confinement { without_network: true, ..Confinement::default() }).await;
        Self { filesystem, network }
    }

    /// A machine that can do nothing of it, for these reasons.
    pub fn none(filesystem: impl Into<String>, network: impl Into<String>) -> Self {
        Self { filesystem: Err(filesystem.into()), network: Err(network.into()) }
    }

    /// For selectors.
    pub fn capabilities(&self) -> BTreeMap<&'static str, String> {
        let word = |ability: &Result<(), String>| if ability.is_ok() { "yes" } else { "no" }.to_owned();
        BTreeMap::from([
            ("sandbox_filesystem", word(&self.filesystem)),
            ("sandbox_network", word(&self.network)),
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
            confinement.files = filesystem_rules(sandbox, places)?;
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

/// What programs write to that is no file.
#[cfg(target_os = "linux")]
const DEVICES: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/shm"];

#[cfg(target_os = "linux")]
fn filesystem_rules(
    sandbox: &Sandbox,
    places: Places<'_>,
) -> Result<Option<Arc<std::os::fd::OwnedFd>>, SandboxError> {
    use landlock::{
        ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreated, RulesetCreatedAttr,
    };

    // The third version is the first that can tell truncating a file from reading it.
    const VERSION: ABI = ABI::V3;

    let unable = |error: &dyn std::error::Error| SandboxError::Filesystem {
        access: sandbox.filesystem.as_str(),
        problem: problem(error),
    };
    let (reading, all) = (AccessFs::from_read(VERSION), AccessFs::from_all(VERSION));
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)
        .and_then(Ruleset::create)
        .map_err(|error| unable(&error))?;
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
    let system: &[&str] = match sandbox.filesystem {
        FilesystemAccess::Open | FilesystemAccess::ReadOnly => &["/"],
        FilesystemAccess::Private => SYSTEM,
    };
    for path in system.iter().map(Path::new).filter(|path| path.exists()) {
        rules = allow(rules, path, reading)?;
    }
    for path in DEVICES.iter().map(Path::new).filter(|path| path.exists()) {
        rules = allow(rules, path, all)?;
    }
    for path in places.read {
        rules = allow(rules, path, reading)?;
    }
    for path in &sandbox.read {
        rules = allow(rules, Path::new(path), reading)?;
    }
    rules = allow(rules, places.own, all)?;
    for path in &sandbox.write {
        rules = allow(rules, Path::new(path), all)?;
    }
    Ok(Option::<std::os::fd::OwnedFd>::from(rules).map(Arc::new))
}

#[cfg(not(target_os = "linux"))]
fn filesystem_rules(
    sandbox: &Sandbox,
    _places: Places<'_>,
) -> Result<Option<Arc<std::os::fd::OwnedFd>>, SandboxError> {
    Err(SandboxError::Filesystem {
        access: sandbox.filesystem.as_str(),
        problem: "only Linux has Landlock".to_owned(),
    })
}
