//! `attune pack test`: the packs of this repository, and what is said of a pack whose tests fail.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::{attune, directory};

fn packs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs")
}

async fn pack_test(directory: &Path, args: &[&str]) -> Output {
    attune().args(["pack", "test"]).arg(directory).args(args).output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The tests of a pack pass.
async fn check(pack: &str) {
    let output = pack_test(&packs().join(pack), &[]).await;
    assert!(output.status.success(), "{pack}:\n{}{}", text(&output.stdout), text(&output.stderr));
}

#[tokio::test]
async fn test_the_core_pack() {
    check("core").await;
}

#[tokio::test]
async fn test_the_example_demo() {
    check("examples/demo").await;
}

#[tokio::test]
async fn test_the_example_github() {
    check("examples/github").await;
}

#[tokio::test]
async fn test_the_example_alertmanager() {
    check("examples/alertmanager").await;
}

#[tokio::test]
async fn test_the_example_disk_full() {
    check("examples/disk_full").await;
}

#[tokio::test]
async fn test_the_example_disks() {
    check("examples/disks").await;
}

#[tokio::test]
async fn test_the_example_postgres_backup() {
    check("examples/postgres_backup").await;
}

fn write(directory: &Path, path: &str, content: &str) {
    let path = directory.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A pack with a rule, one with a window, and an action.
fn ops(directory: &Path, tests: &str) {
    write(directory, "pack.yaml", "ref: ops\nversion: 1.0.0\n");
    write(
        directory,
        "triggers/alert.yaml",
        "ref: ops.alert\nout_schema:\n  type: object\n  properties: {level: {type: string}}\n",
    );
    write(
        directory,
        "rules/page.yaml",
        "ref: ops.page\ntrigger: ops.alert\nconditions:\n  - {field: event.payload.level, operator: equals, value: critical}\naction: ops.say\naction_params: {text: \"{{ event.payload.level }} {{ event.payload.host | default('nowhere') }}\"}\n",
    );
    write(
        directory,
        "rules/calm.yaml",
        "ref: ops.calm\ntrigger: ops.alert\nwindow: {throttle: 15m}\naction: ops.say\naction_params: {text: again}\n",
    );
    write(
        directory,
        "rules/quiet.yaml",
        "ref: ops.quiet\ntrigger: ops.alert\nwindow: {debounce: 5m}\naction: ops.say\naction_params: {text: quiet}\n",
    );
    write(
        directory,
        "actions/say.yaml",
        "ref: ops.say\nruntime: core.shell\nentrypoint: say.sh\nparameter_delivery: env\nparameters: {text: {type: string, required: true}}\n",
    );
    write(directory, "actions/say.sh", "#!/bin/sh\necho \"$ATTUNE_ACTION_TEXT\"\n");
    write(directory, "tests/ops.yaml", tests);
}

#[tokio::test]
async fn test_windows_go_by_the_times_of_the_test_and_need_no_database() {
    let pack = directory();
    ops(
        pack.path(),
        "cases:
  - name: once in a quarter of an hour
    rule: ops.calm
    events:
      - {payload: {level: a}}
      - {payload: {level: b}, at: 14m}
      - {payload: {level: c}, at: 15m}
      - {payload: {level: d}, at: 16m}
    expect: {fires: 2, parameters: [{text: again}, {text: again}]}
  - name: when it is quiet
    rule: ops.quiet
    events:
      - {payload: {level: a}}
      - {payload: {level: b}, at: 4m}
    until: 10m
    expect: {fires: 1}
  - name: not before it is quiet
    rule: ops.quiet
    events:
      - {payload: {level: a}}
      - {payload: {level: b}, at: 4m}
    until: 8m
    expect: {fires: false}
",
    );
    let output = pack_test(pack.path(), &[]).await;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stderr, "3 cases passed\n", "no PostgreSQL is started");
}

#[tokio::test]
async fn test_failures_are_told_with_what_was_expected() {
    let pack = directory();
    ops(
        pack.path(),
        "cases:
  - name: it pages
    rule: ops.page
    events:
      - {payload: {level: warning}}
    expect: {fires: true}
  - name: it says where
    rule: ops.page
    events:
      - {payload: {level: critical, host: db1}}
    expect: {fires: true, parameters: {text: critical db2}}
  - name: an event of this trigger
    rule: ops.page
    events:
      - {payload: {level: 1}}
    expect: {fires: false}
  - name: it says so
    action: ops.say
    parameters: {text: hello}
    expect: {result: bye, stderr: warned}
  - name: it goes well
    action: ops.say
    parameters: {text: hello}
    expect: {result: hello}
",
    );
    let report = pack.path().join("report.xml");
    let output = pack_test(pack.path(), &["--junit", report.to_str().unwrap()]).await;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stderr.contains("4 of 5 cases failed"), "{stderr}");
    for expected in [
        "FAIL ops.page - it pages",
        "it fires not at all, expected once",
        "event.payload.level equals",
        "parameters.text:\n       expected \"critical db2\"\n       actual   \"critical db1\"",
        "payload of event 1 does not fit its trigger: /level",
        "result:\n       expected \"bye\"\n       actual   \"hello\"",
        "stderr:\n       expected something with \"warned\"\n       actual   \"\"",
        "ok   ops.say - it goes well",
        "tests/ops.yaml:2",
    ] {
        assert!(stdout.contains(expected), "{expected:?} in\n{stdout}");
    }
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("tests=\"5\" failures=\"4\""), "{report}");

    let one = pack_test(pack.path(), &["--only", "goes well", "-o", "json"]).await;
    assert!(one.status.success(), "{}", text(&one.stderr));
    let outcomes: serde_json::Value = serde_json::from_slice(&one.stdout).unwrap();
    let outcome = outcomes.as_array().or_else(|| outcomes["items"].as_array()).unwrap()[0].clone();
    assert_eq!((&outcome["case"], &outcome["passed"]), (&"it goes well".into(), &true.into()));
}

#[tokio::test]
async fn test_what_cannot_be_tested_is_told() {
    let pack = directory();
    ops(
        pack.path(),
        "cases:\n  - {name: a, rule: ops.pgae, events: [{payload: {}}], expect: {fires: true}}\n",
    );
    let output = pack_test(pack.path(), &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("the pack has no rule `ops.pgae`") && stdout.contains("`ops.page`"), "{stdout}");

    std::fs::remove_file(pack.path().join("tests/ops.yaml")).unwrap();
    let output = pack_test(pack.path(), &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("has no tests"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn test_settings_and_keys_of_a_case_reach_rules_and_actions() {
    let pack = directory();
    let manifest = "ref: ops\nversion: 1.0.0\nconfig_schema:\n  limit: {type: integer, default: 5}\n  token: {type: string, secret: true}\n";
    write(pack.path(), "pack.yaml", manifest);
    write(pack.path(), "keys/pager.yaml", "ref: ops.pager\n");
    write(pack.path(), "triggers/alert.yaml", "ref: ops.alert\n");
    write(
        pack.path(),
        "actions/show.yaml",
        "ref: ops.show\nruntime: core.shell\nentrypoint: show.sh\nparameter_delivery: env\nparameters:\n  limit: {type: integer}\n  key: {type: string, secret: true}\n",
    );
    // Secrets are masked in what an action says, so that it says how long they are.
    let script = "#!/bin/sh\nprintf '%s %s %s' \"$ATTUNE_ACTION_LIMIT\" \"${#ATTUNE_ACTION_KEY}\" \"${#ATTUNE_PACK_CONFIG}\"\n";
    write(pack.path(), "actions/show.sh", script);
    write(
        pack.path(),
        "rules/show.yaml",
        "ref: ops.on_alert\ntrigger: ops.alert\nconditions: [\"{{ event.payload.n > config.limit }}\"]\naction: ops.show\naction_params: {limit: '{{ config.limit }}', key: \"{{ key('ops.pager') }}\"}\n",
    );
    let tests = r#"
keys: {ops.pager: "0123456789"}
config: {token: hunter2-hunter2}
cases:
  - name: by default
    rule: ops.on_alert
    events: [{payload: {n: 5}}]
    expect: {fires: false}
  - name: with another limit
    rule: ops.on_alert
    config: {limit: 4}
    events: [{payload: {n: 5}}]
    expect: {fires: true, parameters: {limit: 4, key: "********"}, execution: {result: "4 10 37"}}
"#;
    write(pack.path(), "tests/show.yaml", tests);
    let output = pack_test(pack.path(), &["-o", "junit"]).await;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.starts_with("<?xml") && stdout.contains("tests=\"2\" failures=\"0\""), "{stdout}");
    let refused = attune().args(["pack", "list", "-o", "junit"]).output().await.unwrap();
    assert!(text(&refused.stderr).contains("is for `attune pack test` only"), "{}", text(&refused.stderr));
}

#[tokio::test]
async fn test_keys_of_a_case_reach_an_action_that_names_them() {
    let pack = directory();
    write(pack.path(), "pack.yaml", "ref: ops\nversion: 1.0.0\n");
    write(
        pack.path(),
        "actions/show.yaml",
        "ref: ops.show\nruntime: core.python\nentrypoint: show.py\nkeys: [ops.pager, {ref: ops.proxy, required: false}]\n",
    );
    // Secrets are masked in what an action says, so that it says how long they are.
    let script = "from attune import keys\n\nprint(len(keys.get('ops.pager')), keys.get('ops.proxy', default='direct'))\n";
    write(pack.path(), "actions/show.py", script);
    let tests = r#"
keys: {ops.pager: "0123456789"}
cases:
  - {name: without a proxy, action: ops.show, expect: {result: "10 direct"}}
  - {name: with a proxy, action: ops.show, keys: {ops.proxy: "proxy:1"}, expect: {result: "10 ********"}}
"#;
    write(pack.path(), "tests/show.yaml", tests);
    let output = pack_test(pack.path(), &[]).await;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");

    let tests = "cases: [{name: without its key, action: ops.show, expect: {result: 10 direct}}]\n";
    write(pack.path(), "tests/show.yaml", tests);
    let output = pack_test(pack.path(), &[]).await;
    let stdout = text(&output.stdout);
    assert!(
        stdout.contains("the action ops.show names the key `ops.pager`, which does not exist"),
        "{stdout}"
    );
}

#[tokio::test]
async fn test_all_tests_of_a_new_pack_pass() {
    let home = directory();
    let created = attune().args(["pack", "create", "fresh"]).current_dir(home.path()).output().await.unwrap();
    assert!(created.status.success(), "{}", text(&created.stderr));
    let output = pack_test(&home.path().join("fresh"), &[]).await;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("ok   fresh.hello - "), "an action is run: {stdout}");
}

#[tokio::test]
async fn test_mail_and_commands_that_are_not_as_expected_are_told() {
    let pack = directory();
    write(pack.path(), "pack.yaml", "ref: ops\nversion: 1.0.0\n");
    write(pack.path(), "triggers/alert.yaml", "ref: ops.alert\n");
    write(
        pack.path(),
        "rules/mail.yaml",
        "ref: ops.mail\ntrigger: ops.alert\naction: core.mail\naction_params: {host: mail.example.com, from: a@example.com, to: [ada@example.com], subject: \"{{ event.payload.what }}\", text: x}\n",
    );
    write(
        pack.path(),
        "rules/restart.yaml",
        "ref: ops.restart\ntrigger: ops.alert\naction: core.ssh\naction_params: {hosts: [db1], command: systemctl restart postgresql}\n",
    );
    let tests = "
ssh: [{host: db1, command: systemctl restart postgresql, stdout: done}]
cases:
  - name: it says what
    rule: ops.mail
    events: [{payload: {what: full}}]
    expect: {fires: true, execution: {mail: [{to: [ada@example.com], subject: full}]}}
  - name: it says something else
    rule: ops.mail
    events: [{payload: {what: full}}]
    expect: {fires: true, execution: {mail: [{subject: empty}, {subject: full}]}}
  - name: nothing is sent
    rule: ops.mail
    events: [{payload: {what: full}}]
    expect: {fires: true, execution: {result_has: {response: recorded}}}
  - name: it restarts
    rule: ops.restart
    events: [{payload: {}}]
    expect: {fires: true, execution: {result_has: {failed: 0}, commands: [{host: db1, command: systemctl restart postgresql}]}}
  - name: it stops
    rule: ops.restart
    events: [{payload: {}}]
    expect: {fires: true, execution: {commands: [{host: db1, command: systemctl stop postgresql}]}}
";
    write(pack.path(), "tests/remote.yaml", tests);
    let output = pack_test(pack.path(), &[]).await;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    for expected in [
        "ok   ops.mail - it says what",
        "FAIL ops.mail - it says something else",
        "mail: expected 2, but there were 1\n       to [\"ada@example.com\"]: \"full\"",
        "mail[0].subject:\n       expected \"empty\"\n       actual   \"full\"",
        "FAIL ops.mail - nothing is sent",
        "a test sends no mail, and the case does not say that there is some",
        "ok   ops.restart - it restarts",
        "commands[0].command:\n       expected \"systemctl stop postgresql\"",
    ] {
        assert!(stdout.contains(expected), "{expected:?} in\n{stdout}");
    }
}

#[tokio::test]
async fn test_keys_that_are_no_secrets_have_their_defaults_and_are_not_masked() {
    let pack = directory();
    write(pack.path(), "pack.yaml", "ref: ops\nversion: 1.0.0\n");
    write(pack.path(), "keys/level.yaml", "ref: ops.level\nsecret: false\ndefault: \"80\"\n");
    write(pack.path(), "keys/host.yaml", "ref: ops.host\nsecret: false\n");
    write(
        pack.path(),
        "actions/show.yaml",
        "ref: ops.show\nruntime: core.shell\nentrypoint: show.sh\noutput_format: json\nkeys: [ops.level, ops.host]\n",
    );
    write(pack.path(), "actions/show.sh", "#!/bin/sh\necho \"$ATTUNE_KEYS\"\n");
    let cases = "keys: {ops.host: web-01}
cases:
  - {name: by default, action: ops.show, expect: {result: {ops.level: \"80\", ops.host: web-01}}}
  - {name: of the case, action: ops.show, keys: {ops.level: \"90\"}, expect: {result: {ops.level: \"90\", ops.host: web-01}}}
";
    write(pack.path(), "tests/show.yaml", cases);
    let output = pack_test(pack.path(), &[]).await;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stderr.ends_with("2 cases passed\n"), "{stderr}");
}
