//! Containers, with a program in place of the engine that shows what it is told and runs the command itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use attune_pack::isolation::{FilesystemAccess, Limits, NetworkAccess, Sandbox};
use attune_worker::container::{Container, ContainerError, Engine, Images};
use attune_worker::process::{Captured, Ending, Exit, Finished};
use attune_worker::reasons;
use nix::unistd::{Gid, Uid};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::helpers::{directory, path, program};

/// Notes its arguments, one a line, and behaves like podman as far as it is asked here.
const ENGINE: &str = r#"#!/bin/sh
here=$(dirname "$0")
printf '%s\n' "$*" >> "$here/told"
case "$1 $2" in
    'version --format') echo 5.0 ;;
    'image inspect') test -e "$here/image-$(echo "$5" | tr / _)" ;;
    'pull --quiet')
        case $3 in
            *missing*) echo "Error: initializing source docker://$3: manifest unknown" >&2; exit 125 ;;
        esac
        touch "$here/image-$(echo "$3" | tr / _)" ;;
    'info --format') cat "$here/options" ;;
    'ps --all') test -e "$here/removed" || printf 'c1\nc2\n' ;;
    'rm --force')
        case $3 in
            c1) touch "$here/removed" ;;
            c2) echo "Error: no such container: c2" >&2; exit 1 ;;
            stuck) echo 'Error: it is stopping' >&2; exit 125 ;;
            ending)
                test -e "$here/ended" || { touch "$here/ended"; echo 'Error: it is stopping' >&2; exit 125; } ;;
        esac ;;
esac
"#;

struct Fake {
    directory: TempDir,
}

impl Fake {
    fn new(name: &str) -> Self {
        let directory = directory();
        program(directory.path(), name, ENGINE, 0o755);
        // What it runs itself, without the engines that this machine may have.
        for needed in ["cat", "dirname", "touch", "tr"] {
            let found =
                std::env::split_paths(&path()).map(|place| place.join(needed)).find(|path| path.exists());
            std::os::unix::fs::symlink(found.unwrap(), directory.path().join(needed)).unwrap();
        }
        Self { directory }
    }

    fn engine(&self) -> Engine {
        Engine::find(&BTreeMap::from([("PATH".into(), self.directory.path().into())])).unwrap()
    }

    fn told(&self) -> Vec<String> {
        let told = fs::read_to_string(self.directory.path().join("told")).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn an_engine_is_found_and_asked_whether_it_works() {
    assert!(Engine::find(&BTreeMap::from([("PATH".into(), "/nowhere".into())])).is_none());
    for name in ["podman", "docker"] {
        let fake = Fake::new(name);
        let engine = fake.engine();
        assert_eq!(engine.name(), name);
        assert!(engine.works().await);
    }
}

#[tokio::test]
async fn an_image_is_fetched_once_and_one_that_is_not_there_is_named() {
    let fake = Fake::new("podman");
    let (engine, images, cancel) = (fake.engine(), Images::default(), CancellationToken::new());
    let fetch = |image: &'static str| engine.fetch(&images, image, &cancel);
    let (first, second) = tokio::join!(fetch("alpine:3"), fetch("alpine:3"));
    assert!(first.is_ok() && second.is_ok());
    fetch("alpine:3").await.unwrap();
    let pulls = fake.told().into_iter().filter(|line| line.starts_with("pull")).collect::<Vec<_>>();
    assert_eq!(pulls, ["pull --quiet alpine:3"]);
    let error = fetch("example.org/missing:1").await.unwrap_err();
    let expected = "the image example.org/missing:1 cannot be fetched by podman: Error: initializing source";
    assert!(matches!(error, ContainerError::Fetch { .. }) && error.to_string().contains(expected), "{error}");
}

#[tokio::test]
async fn a_container_gets_its_directories_limits_and_the_names_of_variables() {
    let fake = Fake::new("podman");
    let variables = BTreeMap::from([
        (OsString::from("ATTUNE_ACTION_TOKEN"), OsString::from("s3cret")),
        ("ATTUNE_EXECUTION_ID".into(), "7".into()),
    ]);
    let command = [OsString::from("python3"), "-u".into(), "/attune/pack/actions/a.py".into()];
    let limits = Limits {
        memory: Some(1 << 28),
        processes: Some(50),
        open_files: Some(64),
        cpu_time: Some(30),
        ..Limits::default()
    };
    let sandbox = Sandbox {
        filesystem: FilesystemAccess::Private,
        read: vec!["/srv/data".to_owned()],
        network: NetworkAccess::None,
        ..Sandbox::default()
    };
    let container = Container {
        image: "python:3.12",
        name: "attune-i-7-1",
        instance: "i",
        pack: Path::new("/cache/ops/ab"),
        directory: Path::new("/runs/7"),
        artifacts: Path::new("/runs/7-artifacts"),
        python: Some(Path::new("/data/python")),
        limits: &limits,
        sandbox: Some(&sandbox),
        network: Some("ops"),
        account: Some("1000:1000"),
        with_stdin: true,
        command: &command,
        variables: &variables,
    };
    let (args, env) = fake.engine().command(&container).unwrap();
    let text = |args: Vec<OsString>| {
        let args: Vec<_> = args.into_iter().map(|arg| arg.into_string().unwrap()).collect();
        // What the worker itself may have differs from machine to machine.
        let own = args.iter().position(|arg| arg.starts_with("nproc=")).map(|at| at - 1..=at);
        let shown =
            args.iter().enumerate().filter(|(at, _)| own.as_ref().is_none_or(|own| !own.contains(at)));
        shown.map(|(_, arg)| arg.as_str()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        text(args),
        "run --rm --name attune-i-7-1 --label attune.instance=i --security-opt no-new-privileges --workdir /attune/run \
         --log-driver none --stop-timeout 0 --http-proxy=false --user 1000:1000 \
         --interactive --memory 268435456 --pids-limit 50 --ulimit nofile=64:64 --ulimit fsize=17179869184:17179869184 \
         --ulimit cpu=30:31 --network none \
         --volume /cache/ops/ab:/attune/pack:ro,z --volume /runs/7:/attune/run:rw,z --volume /runs/7-artifacts:/attune/artifacts:rw,z \
         --volume /data/python:/attune/python:ro,z --volume /srv/data:/srv/data:ro --read-only --tmpfs /tmp \
         --env ATTUNE_ACTION_TOKEN --env ATTUNE_EXECUTION_ID --entrypoint python3 python:3.12 -u /attune/pack/actions/a.py"
    );
    assert_eq!(env.get(&OsString::from("ATTUNE_ACTION_TOKEN")), Some(&"s3cret".into()));

    // Where it needs nothing but an image it is put where the engine puts it, with the limits of any action.
    let plain = Container {
        limits: &Limits::default(),
        sandbox: None,
        network: None,
        account: None,
        python: None,
        with_stdin: false,
        ..container
    };
    let docker = Fake::new("docker").engine();
    let (args, _) = docker.command(&plain).unwrap();
    assert_eq!(
        text(args),
        "run --rm --name attune-i-7-1 --label attune.instance=i --security-opt no-new-privileges --workdir /attune/run \
         --log-driver none --stop-timeout 0 --ulimit nofile=4096:4096 --ulimit fsize=17179869184:17179869184 \
         --volume /cache/ops/ab:/attune/pack:ro,z --volume /runs/7:/attune/run:rw,z --volume /runs/7-artifacts:/attune/artifacts:rw,z \
         --env ATTUNE_ACTION_TOKEN --env ATTUNE_EXECUTION_ID --entrypoint python3 python:3.12 -u /attune/pack/actions/a.py"
    );
    let (args, _) = docker.command(&Container { network: Some("ops"), ..plain }).unwrap();
    assert!(text(args).contains("--network ops --volume"));

    let error = fake.engine().command(&Container { pack: Path::new("/a:b"), ..container }).unwrap_err();
    assert!(error.to_string().contains("/a:b has a colon"), "{error}");
}

#[tokio::test]
async fn containers_of_a_dead_worker_are_removed() {
    let fake = Fake::new("podman");
    assert!(fake.engine().remove_all_of("dead").await);
    let list = "ps --all --quiet --filter label=attune.instance=dead";
    assert_eq!(fake.told(), [list, "rm --force c1 c2"]);
    // None is left now.
    assert!(fake.engine().remove_all_of("dead").await);
    assert_eq!(fake.told().len(), 3);
    // One is gone, one is just ending, one does not end.
    for (name, times) in [("c2", 1), ("ending", 2), ("stuck", 3)] {
        let before = fake.told().len();
        fake.engine().remove(name).await;
        assert_eq!(fake.told().len() - before, times, "{name}");
    }

    let broken = Fake::new("podman");
    let program = broken.directory.path();
    fs::write(program.join("podman"), "#!/bin/sh\necho 'Error: no socket' >&2; exit 125\n").unwrap();
    assert!(!broken.engine().remove_all_of("dead").await, "they may be there still");
}

#[tokio::test]
async fn what_a_run_leaves_is_of_an_account_whose_files_the_worker_can_remove() {
    let (root, ordinary) = ((Uid::from_raw(0), Gid::from_raw(0)), (Uid::from_raw(1000), Gid::from_raw(100)));
    let check = async |name: &str, options: &str, account, expected: Option<&str>| {
        let fake = Fake::new(name);
        fs::write(fake.directory.path().join("options"), options).unwrap();
        let found = fake.engine().account(account, &Images::default()).await;
        assert_eq!(found.as_deref(), expected, "{name} {options}");
    };
    // Root can remove anybody's, so the image decides.
    check("podman", "", root, None).await;
    check("docker", "[name=seccomp]", root, None).await;
    // Root in a container is the worker's own account there,
    check("podman", "", ordinary, Some("0:0")).await;
    check("docker", "memory pids [name=seccomp,profile=default name=rootless]", ordinary, Some("0:0")).await;
    // and here it would be root of the machine.
    check("docker", "[name=seccomp]", ordinary, Some("1000:100")).await;
}

#[tokio::test]
async fn a_limit_that_the_engine_would_not_keep_is_refused() {
    let check = async |name: &str, options: &str, limits: Limits, expected: Option<&str>| {
        let fake = Fake::new(name);
        fs::write(fake.directory.path().join("options"), options).unwrap();
        let checked = fake.engine().check(&limits, &Images::default()).await;
        let error = checked.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(expected.map_or(error.is_empty(), |expected| error.contains(expected)), "{error}");
    };
    let memory = || Limits { memory: Some(1 << 28), ..Limits::default() };
    let processes = || Limits { processes: Some(9), ..Limits::default() };
    // As podman says it with and without root.
    let all = "[cpuset cpu cpuacct blkio memory devices freezer pids]";
    check("podman", all, memory(), None).await;
    check("podman", all, processes(), None).await;
    check("podman", "[]", Limits { open_files: Some(9), ..Limits::default() }, None).await;
    check("podman", "[]", memory(), Some("`limits.memory` cannot be kept: `podman info` says")).await;
    check("podman", "[memory]", processes(), Some("the controller `pids` delegated")).await;
    check("docker", "memory pids [name=seccomp]", memory(), None).await;
    check("docker", " pids [name=rootless]", memory(), Some("`limits.memory` cannot be kept: `docker info`"))
        .await;
}

/// A client that ended so.
fn client(code: i32, stderr: &str) -> Finished {
    Finished {
        exit: Exit::Code(code),
        ending: Ending::Exited,
        stdout: Captured::whole(""),
        stderr: Captured::whole(stderr),
        duration: std::time::Duration::ZERO,
        left_processes: false,
        undelivered_bytes: 0,
    }
}

#[test]
fn what_the_engine_says_is_told_from_what_the_action_says() {
    let (podman, docker) = (Fake::new("podman").engine(), Fake::new("docker").engine());
    let check = |engine: &Engine, program: &str, code, stderr: &str, expected: Option<&str>| {
        let failure = engine.failure("tools:1", Path::new(program), &client(code, stderr));
        assert_eq!(failure.as_deref(), expected, "{stderr}");
    };
    let nothing = Some(
        "the image tools:1 has nothing to run actions/a with: take an image that has the interpreter in its first line, or \
         for which the program was built",
    );
    let no_python =
        Some("the image tools:1 has no python3 to run the action with: take an image that has it");
    check(
        &podman,
        "python3",
        127,
        "Error: runc: runc create failed: unable to start container process: exec: \"python3\": executable file not found in \
         $PATH: OCI runtime attempted to invoke a command that was not found\n",
        no_python,
    );
    check(
        &docker,
        "python3",
        127,
        "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: \
         unable to start container process: exec: \"python3\": executable file not found in $PATH: unknown.\n\
         time=\"2026-11-26T20:43:43Z\" level=error msg=\"error waiting for container: context canceled\"\n",
        no_python,
    );
    check(
        &podman,
        "/attune/pack/actions/a",
        127,
        "Error: crun: open executable `/attune/pack/actions/a`: exec: no such file or directory: OCI runtime attempted to invoke a \
         command that was not found\n",
        nothing,
    );
    check(
        &podman,
        "sh",
        126,
        "Error: runc: error setting rlimit type 6: operation not permitted: OCI permission denied\n",
        Some(
            "podman did not run the container: runc: error setting rlimit type 6: operation not permitted: OCI permission denied",
        ),
    );
    check(
        &podman,
        "sh",
        125,
        "what it said\nError: no such network\n",
        Some("podman did not run the container: no such network"),
    );
    // The runtime may have begun already.
    let file = "/attune/pack/actions/a";
    check(&podman, file, 1, "exec /attune/pack/actions/a: no such file or directory\n", nothing);
    let other = "the image tools:1 cannot run actions/a: it is for another kind of machine, or a script without `#!` in its \
                 first line";
    check(&docker, file, 255, "exec /attune/pack/actions/a: exec format error\n", Some(other));
    // Actions have the same exit codes and words.
    check(&podman, file, 1, "begun\nexec /attune/pack/actions/a: no such file or directory\n", None);
    check(&podman, "sh", 127, "sh: nothing: not found\n", None);
    check(&podman, "sh", 127, "Error: executable file not found\n", None);
    check(&podman, "sh", 125, "sorry\n", None);
    check(&podman, "sh", 1, "Error: no such network\n", None);
}

#[test]
fn a_limit_of_a_container_is_named() {
    let check = |limits: Limits, code, stderr: &str, expected: Option<&str>| {
        let reason = reasons::of_container(&limits, &client(code, stderr));
        assert_eq!(reason.as_deref(), expected);
    };
    let memory = Limits { memory: Some(1 << 20), ..Limits::default() };
    check(
        memory,
        137,
        "",
        Some(
            "it was killed, as happens to a process in a container that used up its limit of 1048576 bytes of memory \
             (`limits.memory`)",
        ),
    );
    check(Limits::default(), 137, "", None);
    check(
        Limits { cpu_time: Some(2), ..Limits::default() },
        152,
        "",
        Some("it used up its limit of 2 s of processor time (`limits.cpu_time`)"),
    );
    check(
        Limits { processes: Some(5), ..Limits::default() },
        2,
        "sh: can't fork: Resource temporarily unavailable",
        Some(
            "standard error says that it reached its limit of 5 processes in its container (`limits.processes`)",
        ),
    );
    check(Limits { processes: Some(5), ..Limits::default() }, 0, "Resource temporarily unavailable", None);
}
