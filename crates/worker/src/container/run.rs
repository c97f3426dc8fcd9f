//! The command line of a container.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use attune_pack::isolation::{FilesystemAccess, Limits, NetworkAccess, Sandbox};

use super::{ContainerError, Engine, LABEL};
use crate::sandbox::{FILE_SIZE, OPEN_FILES};

/// Where the pack's files are in the container,
pub const PACK: &str = "/attune/pack";
/// and the directory of the run.
pub const DIRECTORY: &str = "/attune/run";
/// Where it leaves artifacts.
pub(crate) const ARTIFACTS: &str = "/attune/artifacts";
/// Where Python finds the SDK.
pub const PYTHON: &str = "/attune/python";
/// The network of the machine itself.
pub(crate) const HOST_NETWORK: &str = "host";

/// One container.
#[derive(Clone, Copy)]
pub struct Container<'a> {
    pub image: &'a str,
    pub name: &'a str,
    pub instance: &'a str,
    /// The directories of the machine.
    pub pack: &'a Path,
    pub directory: &'a Path,
    pub artifacts: &'a Path,
    /// The SDK, where the action is for Python.
    pub python: Option<&'a Path>,
    pub limits: &'a Limits,
    pub sandbox: Option<&'a Sandbox>,
    /// Where it is put unless its sandbox has none; None: where the engine puts it.
    pub network: Option<&'a str>,
    /// Whom its processes are; None: whom the image says.
    pub account: Option<&'a str>,
    pub with_stdin: bool,
    /// What it runs.
    pub command: &'a [OsString],
    /// What it finds in its environment, besides what its image has there.
    pub variables: &'a BTreeMap<OsString, OsString>,
}

impl fmt::Debug for Container<'_> {
    /// Leaves out the values of variables, where secrets travel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container")
            .field("image", &self.image)
            .field("name", &self.name)
            .field("command", &self.command)
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// The command line of a container, without the program, and the variables of the client.
    pub fn command(
        &self,
        container: &Container<'_>,
    ) -> Result<(Vec<OsString>, BTreeMap<OsString, OsString>), ContainerError> {
        let mut args: Vec<OsString> = ["run", "--rm", "--name", container.name].map(OsString::from).to_vec();
        let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
        add(&["--label", &format!("{LABEL}={}", container.instance)]);
        add(&["--security-opt", "no-new-privileges", "--workdir", DIRECTORY]);
        // The output is kept by the worker, with secrets hidden; the engine's own log would hold all of it on the machine's
        // disk, without a bound. Who removes a container has waited long enough already.
        add(&["--log-driver", "none", "--stop-timeout", "0"]);
        if self.name == "podman" {
            // Proxies of the worker, which may be named with a login, are for fetching images.
            add(&["--http-proxy=false"]);
        }
        if let Some(account) = container.account {
            add(&["--user", account]);
        }
        if container.with_stdin {
            add(&["--interactive"]);
        }
        if let Some(bytes) = container.limits.memory {
            add(&["--memory", &bytes.to_string()]);
        }
        if let Some(count) = container.limits.processes {
            add(&["--pids-limit", &count.to_string()]);
        }
        for limit in self.ulimits(container.limits) {
            add(&["--ulimit", &limit]);
        }
        let network = match container.sandbox {
            Some(Sandbox { network: NetworkAccess::None, .. }) => Some("none"),
            _ => container.network,
        };
        if let Some(network) = network {
            add(&["--network", network]);
        }
        for (source, target, mode) in volumes(container) {
            if source.as_os_str().as_encoded_bytes().contains(&b':') {
                return Err(ContainerError::Colon { path: source });
            }
            let mut volume = source.into_os_string();
            volume.push(format!(":{target}:{mode}"));
            args.extend(["--volume".into(), volume]);
        }
        if container.sandbox.is_some_and(|sandbox| sandbox.filesystem != FilesystemAccess::Open) {
            args.extend(["--read-only", "--tmpfs", "/tmp"].map(OsString::from));
        }
        let mut env = self.variables.clone();
        for (name, value) in container.variables {
            args.extend(["--env".into(), name.clone()]);
            env.insert(name.clone(), value.clone());
        }
        if let Some((program, rest)) = container.command.split_first() {
            args.extend(["--entrypoint".into(), program.clone(), container.image.into()]);
            args.extend(rest.iter().cloned());
        }
        Ok((args, env))
    }

    /// Limits of each process by itself, as without a container: with the same defaults, and never more than the worker has.
    fn ulimits(&self, limits: &Limits) -> Vec<String> {
        let own = own_limits();
        let at_most = |limit: u64, own: Option<u64>| own.map_or(limit, |own| own.min(limit));
        let mut wanted = vec![
            ("nofile", at_most(limits.open_files.unwrap_or(OPEN_FILES), own.open_files)),
            ("fsize", at_most(limits.file_size.unwrap_or(FILE_SIZE), own.file_size)),
        ];
        if let Some(processes) = own.processes.filter(|_| self.name == "podman") {
            // Without a word podman asks for a million, which a worker that is root without all rights cannot have.
            wanted.push(("nproc", processes));
        }
        let mut ulimits: Vec<_> =
            wanted.into_iter().map(|(name, limit)| format!("{name}={limit}:{limit}")).collect();
        // A second more, so that it gets a signal that tells of the limit before it is killed.
        ulimits.extend(limits.cpu_time.map(|limit| format!("cpu={limit}:{}", limit + 1)));
        ulimits
    }
}

/// What is mounted where and how. Where SELinux guards files the engine labels those of Attune for its containers (`z`); others
/// are their owner's to label.
fn volumes(container: &Container<'_>) -> Vec<(PathBuf, String, &'static str)> {
    let own = [
        (Some(container.pack), PACK, "ro,z"),
        (Some(container.directory), DIRECTORY, "rw,z"),
        (Some(container.artifacts), ARTIFACTS, "rw,z"),
        (container.python, PYTHON, "ro,z"),
    ];
    let own = own.into_iter().filter_map(|(path, at, mode)| Some((path?.to_owned(), at.to_owned(), mode)));
    let (read, write) =
        container.sandbox.map_or((&[][..], &[][..]), |sandbox| (&sandbox.read[..], &sandbox.write[..]));
    let of = |path: &String, mode| (PathBuf::from(path), path.clone(), mode);
    own.chain(read.iter().map(|path| of(path, "ro"))).chain(write.iter().map(|path| of(path, "rw"))).collect()
}

/// What this process may have at most; None where there is no bound, or none that is known.
#[derive(Debug, Default, PartialEq, Eq)]
struct OwnLimits {
    open_files: Option<u64>,
    file_size: Option<u64>,
    processes: Option<u64>,
}

fn own_limits() -> OwnLimits {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let mut limits = parse_limits(&text);
    let numbers = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    // There cannot be more processes than numbers for them, and engines make that their bound.
    let numbers = numbers.and_then(|text| text.trim().parse::<u64>().ok());
    if let (Some(processes), Some(numbers)) = (&mut limits.processes, numbers) {
        *processes = numbers.min(*processes);
    }
    limits
}

/// Reads `/proc/self/limits`: the name in a column, the soft limit, the hard limit.
fn parse_limits(text: &str) -> OwnLimits {
    let hard = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().nth(1)?.parse().ok()
    };
    OwnLimits {
        open_files: hard("Max open files"),
        file_size: hard("Max file size"),
        processes: hard("Max processes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_limits_of_a_process_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max file size             unlimited            unlimited            bytes     \n\
                    Max processes             1000                 96365                processes \n\
                    Max open files            1024                 20000                files     \n";
        let expected = OwnLimits { open_files: Some(20000), file_size: None, processes: Some(96365) };
        assert_eq!(parse_limits(text), expected);
        assert_eq!(parse_limits(""), OwnLimits::default());
    }
}
