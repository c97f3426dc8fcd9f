//! A container engine for tests: podman, with images, containers and settings of its own, apart from the machine's.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::{cannot_mount, directory};

/// An image with busybox and nothing else, and the same with an account of its own.
pub(super) const IMAGE: &str = "localhost/attune-test:1";
pub(super) const OWN_ACCOUNT: &str = "localhost/attune-test:own";

/// Names another engine to test with: `docker`, whose daemon `DOCKER_HOST` names. One test at a time then, as they share it.
const CHOICE: &str = "ATTUNE_TEST_CONTAINER_ENGINE";

pub(super) struct Engine {
    name: String,
    variables: Vec<(&'static str, OsString)>,
    _place: TempDir,
}

impl Engine {
    /// With both images. None, said aloud, where this account can run no containers.
    pub(super) async fn start() -> Option<Self> {
        let name = std::env::var(CHOICE).unwrap_or_else(|_| "podman".to_owned());
        let program =
            find(&name).unwrap_or_else(|| panic!("{name} is missing: run ./scripts/test, which installs it"));
        let place = directory();
        let variables = match name.as_str() {
            "podman" => podman_of_its_own(place.path()),
            _ => only(&program, place.path()),
        };
        let engine = Self { name, variables, _place: place };
        engine.import(IMAGE, None);
        engine.import(OWN_ACCOUNT, Some("USER 1234:1234"));
        let tried = engine
            .client(&["run", "--rm", "--network", "none", "--ulimit", "nofile=64:64"])
            .args(["--ulimit", "nproc=64:64", IMAGE, "true"])
            .output()
            .unwrap();
        if tried.status.success() {
            return Some(engine);
        }
        let reason = String::from_utf8_lossy(&tried.stderr).into_owned();
        let may = nix::unistd::geteuid().is_root() && cannot_mount().await.is_none();
        assert!(!may, "{} does not work: {reason}", engine.name);
        // Not by a macro, whose output nobody sees when the test passes.
        let _said = writeln!(std::io::stderr(), "skipped: this account can run no containers here: {reason}");
        None
    }

    /// What a worker needs to use it.
    pub(super) fn variables(&self) -> Vec<(&'static str, OsString)> {
        // On the machine's network, so that nothing of the tests changes that.
        let mut variables = self.variables.clone();
        variables.push(("ATTUNE_CONTAINER_NETWORK", "host".into()));
        variables
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All containers of workers, running or not.
    pub(super) fn containers(&self) -> Vec<String> {
        let format = "{{.Names}} {{.Status}}";
        let listed = self.ask(&["ps", "--all", "--filter", "label=attune.instance", "--format", format]);
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn import(&self, image: &str, change: Option<&str>) {
        let mut command = self.client(&["import"]);
        command.args(change.iter().flat_map(|change| ["--change", change]));
        let mut child = command
            .args(["-", image])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&busybox()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn ask(&self, args: &[&str]) -> Output {
        let output = self.client(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn client(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.name);
        command.args(args).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Engine {
    /// A test that fails leaves containers.
    fn drop(&mut self) {
        let left = self.client(&["ps", "--all", "--quiet", "--filter", "label=attune.instance"]).output();
        let left =
            left.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for id in left.split_whitespace() {
            // One whose processes were killed is removed at the second word.
            let remove = || self.client(&["rm", "--force", id]).output();
            let _removed = (0..3).find(|_| remove().is_ok_and(|output| output.status.success()));
        }
        if self.name == "podman" && !nix::unistd::geteuid().is_root() {
            // Ends the process that holds the namespace of an ordinary account.
            let _ended = self.client(&["system", "migrate"]).output();
        }
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// Variables for a podman whose images and containers are below this directory. What it needs of a machine is little: no
/// service, no systemd, no file system but the one that the directory is on.
fn podman_of_its_own(place: &Path) -> Vec<(&'static str, OsString)> {
    let at = |name: &str| place.join(name).display().to_string();
    // crun does not do with the control groups of some machines that runc does with.
    let runtime = if find("runc").is_some() { "runtime = \"runc\"\n" } else { "" };
    let settings = format!(
        "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nlock_type = \"file\"\ntmp_dir = \"{}\"\n{runtime}",
        at("tmp")
    );
    let storage = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        at("images"),
        at("run")
    );
    let files = [
        ("CONTAINERS_CONF", "containers.conf", settings),
        ("CONTAINERS_STORAGE_CONF", "storage.conf", storage),
        // No registry is asked for a name without one.
        ("CONTAINERS_REGISTRIES_CONF", "registries.conf", "unqualified-search-registries = []\n".to_owned()),
    ];
    files
        .into_iter()
        .map(|(variable, name, content)| {
            let path = place.join(name);
            std::fs::write(&path, content).unwrap();
            (variable, path.into_os_string())
        })
        .collect()
}

/// A search path with this engine, what the server itself needs, and no other engine.
fn only(program: &Path, place: &Path) -> Vec<(&'static str, OsString)> {
    let needed = ["sh", "env", "sleep", "unshare"].iter().filter_map(|name| find(name));
    for program in needed.chain([program.to_owned()]) {
        std::os::unix::fs::symlink(&program, place.join(program.file_name().unwrap())).unwrap();
    }
    vec![("PATH", place.into())]
}

/// The files of the image, as a tar archive.
fn busybox() -> Vec<u8> {
    let busybox = find("busybox").expect("busybox is missing: run ./scripts/test, which installs it");
    let applets = Command::new(&busybox).arg("--list").output().unwrap().stdout;
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_path_with_name(&busybox, "bin/busybox").unwrap();
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    for (directory, mode) in
        [("tmp", 0o1777), ("etc", 0o755), ("usr", 0o755), ("lib", 0o755), ("lib64", 0o755)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(mode);
        archive.append_data(&mut header, format!("{directory}/"), std::io::empty()).unwrap();
    }
    archive.into_inner().unwrap()
}
