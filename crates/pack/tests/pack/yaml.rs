//! Files that are not YAML, or not the YAML we read.

use attune_pack::read;

use crate::{MANIFEST, accepted, check, files};

/// One action file, whose faults are compared.
#[track_caller]
fn check_yaml(text: &str, expected: &[&str]) {
    check(&[("actions/a.yaml", text)], expected);
}

#[test]
fn test_syntax_says_where_and_what_was_expected() {
    check_yaml(
        "ref: ops.a\nlabel: Disk: full\n",
        &[
            "actions/a.yaml:2:12: invalid YAML: mapping values are not allowed in this context; expected keys of the same mapping in the same column, and quotes around text that contains `: `",
        ],
    );
    check_yaml(
        "ref: ops.a\n runtime: core.shell\n",
        &[
            "actions/a.yaml:2:9: invalid YAML: mapping values are not allowed in this context; expected keys of the same mapping in the same column, and quotes around text that contains `: `",
        ],
    );
    check_yaml(
        "ref: ops.a\nlabel: \"open\n",
        &["actions/a.yaml:2:8: invalid YAML: unclosed quote; expected the closing quote"],
    );
    check_yaml(
        "ref: ops.a\nlabel: @home\n",
        &[
            "actions/a.yaml:2:8: invalid YAML: unexpected character: `@'; expected quotes around text that begins with a special character",
        ],
    );
    check_yaml(
        "ref: ops.a\ninterpreter: [a, b\nruntime: core.shell\n",
        &[
            "actions/a.yaml:3:8: invalid YAML: illegal placement of ':' indicator; expected the closing bracket of a `[` or `{` that stands before",
        ],
    );
    check_yaml(
        "ref: ops.a\nparameters:\n  a: {type: string}\n b: {type: string}\n",
        &[
            "actions/a.yaml:4:2: invalid YAML: while parsing a block mapping, did not find expected key; expected keys of the same mapping in the same column",
        ],
    );
    check_yaml(
        "ref: ops.a\nparameters: *shared\n",
        &[
            "actions/a.yaml:2:13: invalid YAML: alias references unknown anchor; expected an `&anchor` of that name before the `*alias`",
        ],
    );
    check_yaml(
        "ref: ops.a\nparameters: !!python/object:os.system [id]\n",
        &[
            "actions/a.yaml:2:39: invalid YAML: unsupported tag `!!python/object:os.system`; expected a plain value without a tag",
        ],
    );
    check_yaml(
        "ref: ops.a\ntimeout: .inf\n",
        &[
            "actions/a.yaml:2:10: invalid YAML: non-finite float `.inf` rejected by the configured policy; expected a finite number, or quotes around it",
        ],
    );
}

#[test]
fn test_template_without_quotes_is_recognised() {
    check_yaml(
        "ref: ops.a\nlabel: {{ event.payload.name }}\n",
        &[
            "actions/a.yaml:2:9: a template without quotes; expected quotes around the whole text, as in \"{{ event.payload.name }}\"",
        ],
    );
    check_yaml(
        "ref: ops.a\nlabel: {% if x %}a{% endif %}\n",
        &[
            "actions/a.yaml:2:9: a template without quotes; expected quotes around the whole text, as in \"{{ event.payload.name }}\"",
        ],
    );
}

#[test]
fn test_one_document_that_is_a_mapping() {
    check_yaml("", &["actions/a.yaml:1:1: the file is empty; expected a mapping of `key: value`"]);
    check_yaml(
        "# nothing yet\n",
        &["actions/a.yaml:2:1: the file is empty; expected a mapping of `key: value`"],
    );
    check_yaml(
        "- ref: ops.a\n",
        &["actions/a.yaml:1:1: the file is a list; expected a mapping of `key: value`"],
    );
    check_yaml("ref\n", &["actions/a.yaml:1:1: the file is text; expected a mapping of `key: value`"]);
    check_yaml(
        "ref: ops.a\n---\nref: ops.b\n",
        &["actions/a.yaml:3:1: a second YAML document begins here; expected one document in a file"],
    );
    check_yaml(
        "ref: ops.a\n? [x]\n: 1\n",
        &["actions/a.yaml:2:3: the key of a mapping is not text; expected a name before the colon"],
    );
}

#[test]
fn test_duplicate_key_is_told_with_the_other_faults() {
    check_yaml(
        "ref: ops.a\nlabel: one\nlabel: two\nruntim: core.native\nentrypoint: noop\n",
        &[
            "actions/a.yaml:3:1: the key `label` stands here for the second time; expected every key once",
            "actions/a.yaml:4:1: unknown key `runtim`; did you mean `runtime`?",
        ],
    );
}

#[test]
fn test_not_utf8() {
    let mut files = files(&[MANIFEST]);
    let content = b"ref: ops.a\nlabel: caf\xe9\n".to_vec();
    files.insert("actions/a.yaml".into(), attune_pack::PackFile { content, executable: false });
    let findings = read(&files).unwrap_err();
    assert_eq!(
        findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["actions/a.yaml:2:11: the file is not UTF-8 text; expected a YAML file in UTF-8"]
    );
}

#[test]
fn test_aliases_that_unfold_without_end_are_stopped() {
    let mut bomb = String::from("ref: ops.a\nmeta:\n  a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (name, before) in ('b'..='i').zip('a'..) {
        let alias = format!("*{before}");
        bomb.push_str(&format!("  {name}: &{name} [{}]\n", [alias.as_str(); 10].join(", ")));
    }
    check_yaml(
        &bomb,
        &[
            "actions/a.yaml:7:38: the file is too large or nested too deeply; expected at most 1000000 values, aliases unfolded, in at most 32 levels",
        ],
    );
    let deep = format!("ref: ops.a\nlabel: {}{}\n", "[".repeat(200), "]".repeat(200));
    check_yaml(
        &deep,
        &[
            "actions/a.yaml:2:39: the file is too large or nested too deeply; expected at most 1000000 values, aliases unfolded, in at most 32 levels",
        ],
    );
    let deep = format!("ref: ops.a\nlabel: {}1{}\n", "{a: ".repeat(2000), "}".repeat(2000));
    check_yaml(
        &deep,
        &[
            "actions/a.yaml:2:132: the file is too large or nested too deeply; expected at most 1000000 values, aliases unfolded, in at most 32 levels",
        ],
    );
}

#[test]
fn test_sensible_depth_is_read() {
    let text = format!("ref: ops\nversion: 1.0.0\nmeta: {{deep: {}1{}}}\n", "[".repeat(30), "]".repeat(30));
    accepted(&[("pack.yaml", &text)]);
}

#[test]
fn test_a_large_file_is_read() {
    let rows: String = (0..60_000).map(|row| format!("    - {{id: {row}, name: host{row}}}\n")).collect();
    let manifest = format!("ref: ops\nversion: 1.0.0\nmeta:\n  hosts:\n{rows}");
    let definition = accepted(&[("pack.yaml", &manifest)]);
    assert_eq!(definition.manifest.meta["hosts"].as_array().map(Vec::len), Some(60_000));
}

#[test]
fn test_words_stay_words_and_anchors_work() {
    let text =
        "ref: ops\nversion: 1.0.0\nmeta: {country: no, on: off, mode: 0755, tall: 1_000, day: 2024-01-01}\n";
    let definition = accepted(&[("pack.yaml", text)]);
    let expected = serde_json::json!({"country": "no", "on": "off", "mode": "0755", "tall": "1_000", "day": "2024-01-01"});
    assert_eq!(serde_json::Value::Object(definition.manifest.meta), expected);

    let text = "ref: ops\nversion: 1.0.0\nmeta:\n  a: &a {x: 1, y: 2}\n  b:\n    <<: *a\n    y: 3\n";
    let definition = accepted(&[("pack.yaml", text)]);
    assert_eq!(definition.manifest.meta["b"], serde_json::json!({"x": 1, "y": 3}));
}

#[test]
fn test_faults_in_aliases_are_shown_where_the_text_stands() {
    check(
        &[(
            "actions/a.yaml",
            "ref: ops.a\nruntime: core.native\nentrypoint: noop\nparameters:\n  a: &p {type: strin}\n  b: *p\n",
        )],
        &[
            "actions/a.yaml:5:16: `parameters.a.type`: expected a type: array, boolean, integer, null, number, object, string; did you mean `string`?",
            "actions/a.yaml:5:16: `parameters.b.type`: expected a type: array, boolean, integer, null, number, object, string; did you mean `string`?",
        ],
    );
}

#[test]
fn test_control_characters_do_not_reach_the_terminal() {
    check_yaml(
        "ref: ops.a\nruntime: core.native\nentrypoint: noop\n\"\\e[31mred\\n\": 1\n",
        &[
            "actions/a.yaml:4:1: unknown key `\\u{1b}[31mred\\n`; expected one of `ref`, `label`, `description`, `enabled`, `runtime`, `entrypoint`, `parameters`, `parameter_delivery`, `parameter_format`, `output_format`, `out_schema`, `image`, `limits`, `sandbox`, `warm`, `timeout_parameter`, `timeout`, `on_worker_loss`, `retry`, `worker_selector`, `tolerations`, `permissions`, `artifacts`, `keys`",
        ],
    );
}
