//! Runtimes with environments, and what keeps the processes of actions apart.

use attune_pack::RuntimeLanguage;
use attune_pack::isolation::{FilesystemAccess, Isolation, Limits, NetworkAccess, Sandbox};
use serde_json::json;

use crate::{accepted, check};

const SCRIPT: (&str, &str) = ("actions/a.sh", "#!/bin/sh\n");

fn action(lines: &str) -> String {
    format!("ref: ops.a\nruntime: core.shell\nentrypoint: a.sh\n{lines}")
}

fn check_action(lines: &str, expected: &[&str]) {
    check(&[("actions/a.yaml", &action(lines)), SCRIPT], expected);
}

#[test]
fn test_an_action_says_how_its_process_is_kept_apart() {
    let text = action(
        "image: docker.io/library/alpine:3\nlimits: {memory: 512MiB, cpu_time: 1m, processes: 50, open_files: 100, file_size: 1GB}\n\
         sandbox:\n  filesystem: private\n  read: [/srv/data]\n  write: [/var/spool/x]\n  network: none\n\
         out_schema: {type: object, required: [count]}\n",
    );
    let action = &accepted(&[("actions/a.yaml", &text), SCRIPT]).actions[0];
    let expected = Isolation {
        image: Some("docker.io/library/alpine:3".to_owned()),
        limits: Limits {
            memory: Some(512 << 20),
            cpu_time: Some(60),
            processes: Some(50),
            open_files: Some(100),
            file_size: Some(1_000_000_000),
        },
        sandbox: Some(Sandbox {
            filesystem: FilesystemAccess::Private,
            read: vec!["/srv/data".to_owned()],
            write: vec!["/var/spool/x".to_owned()],
            network: NetworkAccess::None,
        }),
        warm: None,
        timeout_parameter: None,
    };
    assert_eq!(action.isolation, expected);
    assert_eq!(action.out_schema, json!({"type": "object", "required": ["count"]}));
    let action = &accepted(&[("actions/a.yaml", &self::action("")), SCRIPT]).actions[0];
    assert_eq!((&action.isolation, &action.out_schema), (&Isolation::default(), &json!({})));
}

#[test]
fn test_an_action_says_whether_an_interpreter_may_be_waiting_for_it() {
    for (lines, expected) in [("warm: false\n", Some(false)), ("warm: true\n", None), ("", None)] {
        let action = &accepted(&[("actions/a.yaml", &action(lines)), SCRIPT]).actions[0];
        assert_eq!(action.isolation.warm, expected, "{lines}");
    }
    check_action(
        "limits: {memory: 64MiB}\nwarm: false\n",
        &[
            "actions/a.yaml:5:1: `warm` has no effect with `image`, `sandbox` or `limits: {memory: ..}`, where an interpreter is started for each run anyway; expected the key left out",
        ],
    );
}

#[test]
fn test_what_is_wrong_with_it_is_told() {
    check_action(
        "image: --privileged\n",
        &[
            "actions/a.yaml:4:8: `image` `--privileged` is not the name of an image; expected a name such as `docker.io/library/python:3.12-slim`",
        ],
    );
    check_action(
        "limits: {memory: lots, processes: 0, memroy: 1}\n",
        &[
            "actions/a.yaml:4:18: `limits.memory` `lots` is no limit; expected bytes as a whole number, or `64KiB`, `512MiB`, `4GiB`",
            "actions/a.yaml:4:35: `limits.processes` `0` is no limit; expected a whole number of at least 1",
            "actions/a.yaml:4:38: unknown key `memroy`; expected one of `memory`, `cpu_time`, `processes`, `open_files`, `file_size`",
        ],
    );
    check_action(
        "sandbox: {filesystem: private, read: [data]}\n",
        &[
            "actions/a.yaml:4:39: `data` is not an absolute path; expected a path on the worker such as `/srv/data`, without `..`",
        ],
    );
    check_action(
        "sandbox: {network: none, write: [/srv]}\n",
        &[
            "actions/a.yaml:4:26: `sandbox.write` has no effect without `filesystem: read_only` or `filesystem: private`; expected the key left out",
        ],
    );
    check_action(
        "sandbox: {network: open}\n",
        &["actions/a.yaml:4:10: `sandbox` asks for nothing; expected `filesystem`, `network` or both"],
    );
    check(
        &[
            ("pack.yaml", "ref: core\nversion: 1.0.0\n"),
            ("runtimes/native.yaml", "ref: core.native\nnative: true\n"),
            (
                "actions/a.yaml",
                "ref: core.a\nruntime: core.native\nentrypoint: noop\nlimits: {memory: 1MiB}\n",
            ),
        ],
        &[
            "actions/a.yaml:4:1: `limits` has no effect with a native runtime, which starts no process; expected the key left out",
        ],
    );
}

#[test]
fn test_runtimes_and_packs_say_which_interpreters_they_need() {
    let definition = accepted(&[
        ("pack.yaml", "ref: ops\nversion: 1.0.0\npython: \">=3.9\"\nnode: \"20\"\n"),
        (
            "runtimes/p.yaml",
            "ref: ops.p\ninterpreter: [python3]\nenvironment: python\nversion: \">=3.11, <4\"\n",
        ),
    ]);
    let needed: Vec<_> = definition
        .manifest
        .interpreters
        .iter()
        .map(|(language, versions)| (*language, versions.as_str()))
        .collect();
    assert_eq!(needed, [(RuntimeLanguage::Python, ">=3.9"), (RuntimeLanguage::Node, "20")]);
    let runtime = &definition.runtimes[0];
    assert_eq!(runtime.environment, Some(RuntimeLanguage::Python));
    assert_eq!(runtime.version.as_ref().map(|version| version.as_str()), Some(">=3.11, <4"));

    let runtime = |lines: &str| format!("ref: ops.p\n{lines}");
    for (lines, expected) in [
        (
            "interpreter: [python3]\nversion: \">=3.11\"\n",
            "runtimes/p.yaml:3:1: `version` has no effect without `environment`, which says what interpreter that is; expected the key left out",
        ),
        (
            "environment: python\n",
            "runtimes/p.yaml:2:1: `environment` has no effect without an `interpreter`, which would use it; expected the key left out",
        ),
        (
            "interpreter: [python3]\nenvironment: pyton\n",
            "runtimes/p.yaml:3:14: `environment` is `pyton`; did you mean `python`?",
        ),
        (
            "interpreter: [python3]\nenvironment: python\nversion: 3.10\n",
            "runtimes/p.yaml:4:10: `version` is the number 3.1; expected the version in quotes: as numbers, `3.10` and `3.1` are the same",
        ),
        (
            "interpreter: [python3]\nenvironment: python\nversion: latest\n",
            "runtimes/p.yaml:4:10: `version` `latest` is not understood: `latest` is no comparison with a version; expected comparisons such as `>=3.11`, `<4`, `3.12.*`, `^20.1` or `~=3.9`, separated by commas",
        ),
    ] {
        check(&[("runtimes/p.yaml", &runtime(lines))], &[expected]);
    }
}

#[test]
fn test_a_parameter_may_say_how_long_a_run_may_take() {
    let lines = "parameters: {within: {type: number}, text: {type: string}}\ntimeout_parameter: within\n";
    let read = &accepted(&[("actions/a.yaml", &action(lines)), SCRIPT]).actions[0];
    assert_eq!(read.isolation.timeout_parameter.as_deref(), Some("within"));
    for named in ["text", "other"] {
        let found = format!(
            "actions/a.yaml:5:20: `timeout_parameter` `{named}` does not name a number; expected one of `parameters` with `type: number` or `type: integer`, which is taken for seconds"
        );
        check_action(&lines.replace("_parameter: within", &format!("_parameter: {named}")), &[&found]);
    }
}
