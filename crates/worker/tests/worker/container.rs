//! Containers, with a program in place of the engine that shows what it is told and runs the command itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use attune_pack::isolation::{FilesystemAccess, Limits, NetworkAccess, Sandbox};
use attune_worker::container::{Container, ContainerError, Engine, Images};
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
    'ps --all') printf 'c1\nc2\n' ;;
esac
"#;

struct Fake {
    directory: TempDir,
}

impl Fake {
    fn new(name: &str) -> Self {
        let directory = directory();
        program(directory.path(), name, ENGINE, 0o755);
        Self { directory }
    }

    fn engine(&self) -> Engine {
        let mut all = OsString::from(self.directory.path());
        all.push(":");
        all.push(path());
        Engine::find(&BTreeMap::from([("PATH".into(), all)])).unwrap()
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
    let limits =
        Limits { memory: Some(1 << 28), processes: Some(50), open_files: Some(64), ..Limits::default() };
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
        limits: &limits,
        sandbox: Some(&sandbox),
        with_stdin: true,
        command: &command,
        variables: &variables,
    };
    let (args, env) = fake.engine().command(&container).unwrap();
    let args: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
    assert_eq!(
        args.join(" "),
        "run --rm --name attune-i-7-1 --label attune.instance=i --security-opt no-new-privileges --workdir /attune/run \
         --interactive --memory 268435456 --pids-limit 50 --ulimit nofile=64:64 --network none --read-only --tmpfs /tmp \
         --volume /cache/ops/ab:/attune/pack:ro --volume /runs/7:/attune/run:rw --volume /runs/7-artifacts:/attune/artifacts:rw --volume /srv/data:/srv/data:ro \
         --env ATTUNE_ACTION_TOKEN --env ATTUNE_EXECUTION_ID --entrypoint python3 python:3.12 -u /attune/pack/actions/a.py"
    );
    assert_eq!(env.get(&OsString::from("ATTUNE_ACTION_TOKEN")), Some(&"s3cret".into()));

    let error = fake.engine().command(&Container { pack: Path::new("/a:b"), ..container }).unwrap_err();
    assert!(error.to_string().contains("/a:b has a colon"), "{error}");
}

#[tokio::test]
async fn containers_of_a_dead_worker_are_removed() {
    let fake = Fake::new("podman");
    fake.engine().remove_all_of("dead").await;
    assert_eq!(
        fake.told(),
        ["ps --all --quiet --filter label=attune.instance=dead", "rm --force c1", "rm --force c2"]
    );
}
