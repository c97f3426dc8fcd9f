//! `pack.yaml` and the files of a pack as a whole.

use attune_pack::{PackFile, PackFiles, read};

use crate::{MANIFEST, accepted, check, files, findings};

#[track_caller]
fn check_manifest(text: &str, expected: &[&str]) {
    check(&[("pack.yaml", text)], expected);
}

#[test]
fn test_a_full_manifest() {
    let text = "ref: my_ops-2\nversion: 1.2.0-rc.1+linux\nlabel: Ops\ndescription: All of it.\nauthor: Ada\n\
                email: ada@example.org\ntags: [a, b]\nmeta: {team: {name: sre}}\n";
    let manifest = accepted(&[("pack.yaml", text)]).manifest;
    assert_eq!(manifest.r#ref, "my_ops-2");
    assert_eq!(manifest.version.to_string(), "1.2.0-rc.1+linux");
    assert_eq!(manifest.label.as_deref(), Some("Ops"));
    assert_eq!(manifest.description.as_deref(), Some("All of it."));
    assert_eq!(manifest.author.as_deref(), Some("Ada"));
    assert_eq!(manifest.email.as_deref(), Some("ada@example.org"));
    assert_eq!(manifest.tags, ["a", "b"]);
    assert_eq!(manifest.meta["team"]["name"], "sre");
}

#[test]
fn test_missing_manifest() {
    let without = |path: &str| findings(&files(&[(path, "ref: ops\nversion: 1.0.0\n")]));
    assert_eq!(
        without("actions/a.sh"),
        [
            "pack.yaml:1:1: the pack has no `pack.yaml`; expected a file of that name with at least `ref` and `version`"
        ]
    );
    for path in ["pack.yml", "Pack.yaml", "pak.yaml"] {
        let expected =
            format!("pack.yaml:1:1: the pack has no `pack.yaml`; expected `{path}` to have that name");
        assert_eq!(without(path), [expected]);
    }
}

#[test]
fn test_required_keys() {
    check_manifest(
        "label: Ops\n",
        &["pack.yaml:1:1: the key `ref` is missing", "pack.yaml:1:1: the key `version` is missing"],
    );
    check_manifest(
        "reff: ops\nversoin: 1.0.0\n",
        &[
            "pack.yaml:1:1: unknown key `reff`; did you mean `ref`?",
            "pack.yaml:2:1: unknown key `versoin`; did you mean `version`?",
        ],
    );
    check_manifest("ref:\nversion: 1.0.0\n", &["pack.yaml:1:1: `ref` has no value; expected a value"]);
    check_manifest("ref: \"\"\nversion: 1.0.0\n", &["pack.yaml:1:6: `ref` is empty; expected text"]);
}

#[test]
fn test_pack_ref() {
    check_manifest(
        "ref: My Ops\nversion: 1.0.0\n",
        &["pack.yaml:1:6: `ref` `My Ops` is not a valid pack ref; did you mean `my_ops`?"],
    );
    check_manifest(
        "ref: o\nversion: 1.0.0\n",
        &[
            "pack.yaml:1:6: `ref` `o` is not a valid pack ref; expected two or more of lower-case letters, digits, `_` and `-`, the first a letter, such as `my_pack`",
        ],
    );
    check_manifest(
        "ref: 9lives\nversion: 1.0.0\n",
        &[
            "pack.yaml:1:6: `ref` `9lives` is not a valid pack ref; expected two or more of lower-case letters, digits, `_` and `-`, the first a letter, such as `my_pack`",
        ],
    );
    check_manifest(
        "ref: ops.net\nversion: 1.0.0\n",
        &["pack.yaml:1:6: `ref` `ops.net` is not a valid pack ref; did you mean `ops_net`?"],
    );
}

#[test]
fn test_version() {
    check_manifest(
        "ref: ops\nversion: 1.0\n",
        &["pack.yaml:2:10: `version` `1.0` is not a semantic version; did you mean `1.0.0`?"],
    );
    check_manifest(
        "ref: ops\nversion: 2\n",
        &["pack.yaml:2:10: `version` `2` is not a semantic version; did you mean `2.0.0`?"],
    );
    check_manifest(
        "ref: ops\nversion: v1.2.3\n",
        &["pack.yaml:2:10: `version` `v1.2.3` is not a semantic version; did you mean `1.2.3`?"],
    );
    check_manifest(
        "ref: ops\nversion: latest\n",
        &[
            "pack.yaml:2:10: `version` `latest` is not a semantic version; expected three numbers such as `1.2.0`",
        ],
    );
    check_manifest(
        "ref: ops\nversion: 1.2.3.4\n",
        &[
            "pack.yaml:2:10: `version` `1.2.3.4` is not a semantic version; expected three numbers such as `1.2.0`",
        ],
    );
    check_manifest("ref: ops\nversion: [1, 2]\n", &["pack.yaml:2:10: `version` is a list; expected text"]);
}

#[test]
fn test_types() {
    check_manifest(
        "ref: ops\nversion: 1.0.0\nlabel: 42\nauthor: true\ntags: sre\nmeta: none\n",
        &[
            "pack.yaml:3:8: `label` is the number 42; did you mean `\"42\"`?",
            "pack.yaml:4:9: `author` is true; did you mean `\"true\"`?",
            "pack.yaml:5:7: `tags` is the text \"sre\"; did you mean `[\"sre\"]`?",
            "pack.yaml:6:7: `meta` is text; expected a mapping of `key: value`",
        ],
    );
    check_manifest(
        "ref: ops\nversion: 1.0.0\ntags: [a, 1, {b: c}]\nemail: [a]\n",
        &[
            "pack.yaml:3:11: `tags[1]` is the number 1; did you mean `\"1\"`?",
            "pack.yaml:3:14: `tags[2]` is a mapping; expected text",
            "pack.yaml:4:8: `email` is a list; expected text",
        ],
    );
}

#[test]
fn test_unknown_keys() {
    check_manifest(
        "ref: ops\nversion: 1.0.0\nkeywords: [a]\ndescripton: x\n",
        &[
            "pack.yaml:3:1: unknown key `keywords`; expected one of `ref`, `version`, `label`, `description`, `author`, `email`, `tags`, `meta`",
            "pack.yaml:4:1: unknown key `descripton`; did you mean `description`?",
        ],
    );
    // What is there already is not what was meant.
    check_manifest(
        "ref: ops\nversion: 1.0.0\nlabel: Ops\nlabels: x\n",
        &[
            "pack.yaml:4:1: unknown key `labels`; expected one of `ref`, `version`, `label`, `description`, `author`, `email`, `tags`, `meta`",
        ],
    );
}

#[test]
fn test_misspelt_directories() {
    let action = "ref: ops.a\nruntime: core.shell\nentrypoint: a.sh\nenabeld: false\n";
    check(
        &[
            ("action/a.yaml", action),
            ("action/a.sh", "#!/bin/sh\n"),
            ("action/b.yaml", "ref: ops.b\nruntime: core.native\nentrypoint: noop\n"),
            ("Rules/r.yaml", "ref: ops.r\ntrigger: core.t\naction: ops.a\n"),
            ("permission/p.yml", "ref: ops.p\ngrants: []\n"),
        ],
        &[
            "Rules/r.yaml:1:1: nothing is read from `Rules/`; did you mean `rules/`?",
            "action/a.yaml:1:1: nothing is read from `action/`; did you mean `actions/`?",
            "action/a.yaml:4:1: unknown key `enabeld`; did you mean `enabled`?",
            "permission/p.yml:1:1: nothing is read from `permission/`; did you mean `permissions/`?",
        ],
    );
}

#[test]
fn test_other_files_are_content() {
    let definition = accepted(&[
        ("README.md", "# Ops"),
        ("fixtures/rules.yaml", "not: [ours"),
        ("docs/index.yaml", "a: 1"),
        ("actions/lib/hosts.yaml", "- a\n- b\n"),
        ("actions/lib/broken.yaml", "a: [\n"),
        ("config.schema.yaml", "a: 1"),
        ("actions/lib.py", "import os"),
    ]);
    assert!(definition.actions.is_empty() && definition.rules.is_empty());
}

#[test]
fn test_definitions_too_far_down_are_not_lost() {
    check(
        &[("actions/web/deploy.yaml", "ref: ops.deploy\nruntime: core.shell\n")],
        &[
            "actions/web/deploy.yaml:1:1: definitions in directories further down are not read; expected the file directly in `actions/`, or without the key `ref`",
        ],
    );
}

#[test]
fn test_checksum_covers_path_mode_and_content() {
    let base = files(&[MANIFEST, ("a", "1"), ("b", "2")]);
    let checksum = |files: &PackFiles| read(files).unwrap().checksum;
    let first = checksum(&base);
    assert_eq!(first.len(), 64);
    assert_eq!(first, checksum(&base));
    let mut renamed = base.clone();
    let moved = renamed.remove("a").unwrap();
    renamed.insert("c".into(), moved);
    let mut executable = base;
    executable.insert("a".into(), PackFile { content: b"1".to_vec(), executable: true });
    let changed = files(&[MANIFEST, ("a", "1"), ("b", "3")]);
    let joined = files(&[MANIFEST, ("a", "1\u{0}b2")]);
    let mut all = vec![first];
    for other in [&renamed, &executable, &changed, &joined] {
        let checksum = checksum(other);
        assert!(!all.contains(&checksum));
        all.push(checksum);
    }
    // Fixed, because installations compare it with what they stored.
    assert_eq!(
        checksum(&files(&[MANIFEST])),
        "7c91a85bcfde00260baf820d24da2e48485d34db0c25bdad31d7173227f6c2af"
    );
}
