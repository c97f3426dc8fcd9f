//! The life of a pack: made, checked, planned, installed from wherever it is, changed on both sides, exported.

use std::path::Path;
use std::process::Output;

use attune_client::types::{EventRequest, RuleChange};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{System, archive, attune, directory};

/// Somebody at a command line.
struct User<'s> {
    system: &'s System,
    token: String,
    home: TempDir,
}

impl<'s> User<'s> {
    async fn of(system: &'s System) -> Self {
        Self { system, token: system.token().await, home: directory() }
    }

    async fn runs(&self, arguments: &[&str]) -> Output {
        let mut command = attune();
        command.args(arguments).current_dir(self.home.path());
        command.env("ATTUNE_URL", self.system.client.base().as_str()).env("ATTUNE_TOKEN", &self.token);
        command.env("ATTUNE_CONFIG_DIR", self.home.path().join(".config"));
        command.output().await.unwrap()
    }

    /// Runs a command that ends with this code; what it says and prints.
    async fn told(&self, arguments: &[&str], code: i32) -> (String, String) {
        let output = self.runs(arguments).await;
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
        (out, err)
    }

    async fn json(&self, arguments: &[&str], code: i32) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
        serde_json::from_str(&self.told(&arguments, code).await.0).unwrap()
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn replace(&self, path: &str, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.home.path().join(path)).unwrap();
        assert!(text.contains(old), "{path}: {text}");
        self.write(path, &text.replace(old, new));
    }

    async fn git(&self, directory: &str, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::new("git");
        command.args([
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.org",
            "-c",
            "init.defaultBranch=main",
        ]);
        let output =
            command.args(arguments).current_dir(self.home.path().join(directory)).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn visitor(system: &System, name: &str) -> i64 {
    let payload = json!({"name": name});
    let request = EventRequest { trigger: "ops.visitor".to_owned(), payload, dedup_key: None, config: None };
    system.client.create_event(&request).await.unwrap().event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_new_pack_works_and_a_plan_tells_what_another_version_would_do() {
    let system = System::start().await;
    let user = User::of(&system).await;
    user.told(&["pack", "create", "ops"], 0).await;
    user.told(&["pack", "create", "ops"], 1).await;
    user.told(&["pack", "lint", "ops"], 0).await;
    let (plan, _) = user.told(&["pack", "plan", "ops"], 2).await;
    assert!(
        plan.starts_with("pack ops 0.1.0: would be installed\n")
            && plan.contains("  + rule ops.greet_visitor\n"),
        "{plan}"
    );
    user.told(&["pack", "install", "ops"], 0).await;
    user.told(&["pack", "plan", "ops"], 0).await;
    let done = system.run("ops.hello", json!({"name": "Ada"})).await;
    assert_eq!(done.execution.result, Some(json!({"greeting": "hello, Ada"})), "{done:?}");

    let (ada, bob) = (visitor(&system, "Ada").await, visitor(&system, "Bob").await);
    visitor(&system, "").await;
    system.wait_until_idle().await;
    user.replace("ops/pack.yaml", "version: 0.1.0", "version: 0.2.0");
    user.replace("ops/rules/greet_visitor.yaml", "operator: is_not_empty", "operator: equals, value: Ada");
    let (plan, _) = user.told(&["pack", "plan", "ops", "--since", "1h"], 2).await;
    assert!(plan.contains("pack ops 0.1.0 -> 0.2.0: would be upgraded\n"), "{plan}");
    assert!(plan.contains("rule ops.greet_visitor: fires on 1 of 3 events, before on 2\n"), "{plan}");
    assert!(plan.contains(&format!("  would no longer fire: 1 (events {bob})\n")), "{plan}");
    let plan = user.json(&["pack", "plan", "ops", "--since", "1h"], 2).await;
    assert_eq!(plan["behaviour"][0]["only_before"], json!({"count": 1, "events": [bob]}));
    // The events of the last days, where nothing else is said.
    let plan = user.json(&["pack", "plan", "ops"], 2).await;
    assert_eq!(plan["behaviour"][0]["only_before"], json!({"count": 1, "events": [bob]}));
    assert_eq!(plan.get("notes"), None, "{plan}");
    let plan = user.json(&["pack", "plan", "ops", "--no-behaviour"], 2).await;
    assert_eq!((plan.get("behaviour"), &plan["packs"][0]["to"]), (None, &json!("0.2.0")), "{plan}");

    // A disabled rule fires on nothing, whatever its conditions say.
    let off = RuleChange { enabled: Some(false), ..RuleChange::default() };
    system.client.change_rule("ops.greet_visitor", &off).await.unwrap();
    let plan = user.json(&["pack", "plan", "ops", "--since", "1h"], 2).await;
    assert_eq!((&plan["behaviour"], &plan["packs"][0]["kept"][0]["member"]), (&json!([]), &json!("enabled")));
    let plan = user.json(&["pack", "plan", "ops", "--since", "1h", "--overwrite-edits"], 2).await;
    assert_eq!(plan["behaviour"][0]["only_after"], json!({"count": 1, "events": [ada]}));
    let (_, said) = user.told(&["pack", "install", "ops"], 0).await;
    assert!(
        said.contains("kept: `enabled` of rule ops.greet_visitor is false on the server and true"),
        "{said}"
    );

    user.told(&["pack", "export", "ops", "copy", "--with-edits"], 0).await;
    let rule = std::fs::read_to_string(user.home.path().join("copy/rules/greet_visitor.yaml")).unwrap();
    assert!(rule.contains("enabled: false\n"), "{rule}");
    user.told(&["pack", "lint", "copy"], 0).await;
    user.told(&["pack", "install", "copy"], 0).await;
    user.told(&["pack", "plan", "copy", "--overwrite-edits"], 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_plan_judges_rules_by_what_would_be_there() {
    let system = System::start().await;
    let user = User::of(&system).await;
    let (action, rule) = (
        "ref: ops.greet\nruntime: core.shell\nentrypoint: greet.sh\nparameters:\n  name: {type: string, required: true}\n  \
         token: {type: string, secret: true}\n",
        "ref: ops.greet_visitor\ntrigger: ops.visitor\naction: ops.greet\naction_params: {name: '{{ event.payload.name }}'}\n",
    );
    user.write("ops/pack.yaml", "ref: ops\nversion: 0.1.0\n");
    user.write("ops/triggers/visitor.yaml", "ref: ops.visitor\n");
    user.write("ops/actions/greet.sh", "true\n");
    user.write("ops/actions/greet.yaml", action);
    user.write("ops/rules/greet.yaml", rule);
    user.told(&["pack", "install", "ops"], 0).await;
    let ada = visitor(&system, "Ada").await;
    system.wait_until_idle().await;
    user.replace("ops/pack.yaml", "version: 0.1.0", "version: 0.2.0");
    let plan = async || user.json(&["pack", "plan", "ops", "--since", "1h"], 2).await["behaviour"][0].clone();

    // A parameter that the installed action does not know.
    user.write("ops/actions/greet.yaml", &format!("{action}  channel: {{type: string}}\n"));
    user.write("ops/rules/greet.yaml", &rule.replace("name }}'}", "name }}', channel: doors}"));
    let told = plan().await;
    assert_eq!((&told["before"], &told["after"]), (&json!(1), &json!(1)), "{told}");
    assert_eq!(told["other_parameters"], json!({"count": 1, "events": [ada]}));

    // A secret that somebody has set here, and that nobody is shown.
    user.write("ops/actions/greet.yaml", action);
    let change = json!({"action_params": {"name": "{{ event.payload.name }}", "token": "hunter2"}});
    let change: RuleChange = serde_json::from_value(change).unwrap();
    system.client.change_rule("ops.greet_visitor", &change).await.unwrap();
    let condition = "conditions: [{field: event.payload.name, operator: is_not_empty}]\n";
    user.write("ops/rules/greet.yaml", &format!("{rule}{condition}"));
    let told = plan().await;
    assert_eq!((&told["before"], &told["after"]), (&json!(1), &json!(1)), "{told}");
    assert_eq!(told["other_parameters"]["count"], 0, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_plan_tries_the_rules_of_others_whose_actions_change() {
    let system = System::start().await;
    let user = User::of(&system).await;
    let action = "ref: ops.greet\nruntime: core.shell\nentrypoint: greet.sh\nparameters:\n  name: {type: string, required: true}\n";
    user.write("ops/pack.yaml", "ref: ops\nversion: 0.1.0\n");
    user.write("ops/triggers/visitor.yaml", "ref: ops.visitor\n");
    user.write("ops/actions/greet.sh", "true\n");
    user.write("ops/actions/greet.yaml", action);
    user.write("web/pack.yaml", "ref: web\nversion: 0.1.0\ndependencies: {ops: '*'}\n");
    let rule = |name: &str, more: &str| {
        format!(
            "ref: web.{name}\ntrigger: ops.visitor\naction: ops.greet\n\
             action_params: {{name: '{{{{ event.payload.name }}}}'}}\n{more}"
        )
    };
    user.write("web/rules/all.yaml", &rule("all", ""));
    user.write(
        "web/rules/none.yaml",
        &rule("none", "conditions: [{field: event.payload.name, operator: equals, value: no}]\n"),
    );
    user.write("web/rules/off.yaml", &rule("off", "enabled: false\n"));
    user.told(&["pack", "install", "ops"], 0).await;
    user.told(&["pack", "install", "web"], 0).await;
    visitor(&system, "Ada").await;
    let grace = visitor(&system, "Grace").await;
    system.wait_until_idle().await;

    // It still fits the rule, which cannot be known for every event.
    user.replace("ops/pack.yaml", "0.1.0", "0.2.0");
    user.replace("ops/actions/greet.yaml", "required: true", "required: true, maxLength: 3");
    let (plan, _) = user.told(&["pack", "plan", "ops"], 2).await;
    assert!(plan.contains("rule web.all: fires on 1 of 2 events, before on 2\n"), "{plan}");
    assert!(plan.contains(&format!("  would no longer fire: 1 (events {grace})\n")), "{plan}");
    // Of what would not change nothing is told, nor of what is not in force.
    assert!(!plan.contains("web.none") && !plan.contains("web.off"), "{plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_pack_comes_from_a_repository_at_a_branch_a_tag_or_a_commit() {
    let system = System::start().await;
    let user = User::of(&system).await;
    user.write("repository/packs/ops/pack.yaml", "ref: ops\nversion: 1.0.0\n");
    user.git("repository", &["init", "--quiet"]).await;
    let commit = async |message: &str| {
        user.git("repository", &["add", "--all"]).await;
        user.git("repository", &["commit", "--quiet", "--message", message]).await;
        user.git("repository", &["rev-parse", "HEAD"]).await
    };
    let first = commit("first").await;
    user.git("repository", &["tag", "v1.0.0"]).await;
    user.write("repository/packs/ops/pack.yaml", "ref: ops\nversion: 1.1.0\n");
    let second = commit("second").await;
    let url = format!("file://{}", user.home.path().join("repository").display());
    let install = ["pack", "install", &url, "--subdirectory", "packs/ops"];
    let source = async |more: &[&str]| {
        user.told(&[&install[..], more].concat(), 0).await;
        let pack = system.client.pack("ops").await.unwrap().pack;
        (pack.version, pack.source.unwrap())
    };
    let at = |version: &str, commit: &str| (version.to_owned(), format!("git+{url}@{commit}#packs/ops"));
    assert_eq!(source(&[]).await, at("1.1.0", &second));
    assert_eq!(source(&["--ref", "v1.0.0"]).await, at("1.0.0", &first));
    assert_eq!(source(&["--ref", "main"]).await, at("1.1.0", &second));
    assert_eq!(source(&["--ref", &first]).await, at("1.0.0", &first));
    let (_, said) = user.told(&[&install[..], &["--ref", "v9"]].concat(), 1).await;
    assert!(said.contains("has no branch, tag or commit v9"), "{said}");
    let (_, said) = user.told(&["pack", "install", &url, "--subdirectory", "../.."], 1).await;
    assert!(said.contains("is not in the repository"), "{said}");
    let (_, said) = user.told(&["pack", "install", &url], 1).await;
    assert!(said.contains("--subdirectory"), "{said}");
    let secret = "https://me:hunter2@example.org/ops.git";
    let (_, said) = user.told(&["pack", "install", secret], 1).await;
    assert!(said.contains("carries a login or a password") && !said.contains("hunter2"), "{said}");
}

/// An index with archives beside it: `linux`, which `ops` needs, in two versions.
fn index(user: &User<'_>) {
    let mut index =
        json!({"packs": {"ops": {"description": "Pages people", "versions": []}, "linux": {"versions": []}}});
    let ops = "ref: ops\nversion: 1.0.0\ndependencies: {linux: '>=1.1'}\n";
    for (name, version, manifest) in [
        ("linux", "1.0.0", "ref: linux\nversion: 1.0.0\n"),
        ("linux", "1.2.0", "ref: linux\nversion: 1.2.0\n"),
        ("ops", "1.0.0", ops),
    ] {
        let content = archive(&[("pack.yaml", manifest)]);
        let source = format!("{name}-{version}.tar.gz");
        let mut entry = json!({"version": version, "source": source, "sha256": digest(&content)});
        if name == "ops" {
            entry["dependencies"] = json!({"linux": ">=1.1"});
        }
        index["packs"][name]["versions"].as_array_mut().unwrap().push(entry);
        std::fs::create_dir_all(user.home.path().join("index")).unwrap();
        std::fs::write(user.home.path().join("index").join(source), content).unwrap();
    }
    user.write("index/index.json", &index.to_string());
}

async fn version(system: &System, pack: &str) -> Option<String> {
    system.client.pack(pack).await.ok().map(|pack| pack.pack.version)
}

fn change(path: &Path) {
    let mut content = std::fs::read(path).unwrap();
    content.push(0);
    std::fs::write(path, content).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_an_index_gives_a_pack_with_what_it_needs() {
    let system = System::start().await;
    let user = User::of(&system).await;
    index(&user);
    let from = ["--index", "index/index.json"];
    let (found, _) = user.told(&["pack", "search", "people", "--index", "index/index.json"], 0).await;
    assert!(found.contains("ops   1.0.0     Pages people") && !found.contains("linux"), "{found}");
    let shown = user.json(&["pack", "show", "linux", "--index=index/index.json"], 0).await;
    assert_eq!((&shown[0]["version"], &shown[1]["version"]), (&json!("1.2.0"), &json!("1.0.0")));
    let (_, said) = user.told(&["pack", "install", "ops"], 1).await;
    assert!(said.contains("no index of packs is named"), "{said}");

    let (_, said) = user.told(&[&["pack", "install", "ops"][..], &from].concat(), 0).await;
    assert!(said.contains("pack linux 1.2.0 is installed\npack ops 1.0.0 is installed"), "{said}");
    let pack = system.client.pack("linux").await.unwrap().pack;
    assert!(pack.source.unwrap().ends_with("index/linux-1.2.0.tar.gz"));
    let (_, said) = user.told(&[&["pack", "install", "linux@=1.0.0"][..], &from].concat(), 1).await;
    assert!(said.contains("the installed ops 1.0.0 needs >=1.1"), "{said}");
    let (_, said) = user.told(&["pack", "remove", "linux"], 1).await;
    assert!(said.contains("pack ops needs linux >=1.1") && said.contains("--cascade"), "{said}");
    let (_, said) = user.told(&["pack", "remove", "linux", "--cascade"], 0).await;
    assert!(said.contains("packs linux, ops are removed"), "{said}");

    // A pack in a directory gets what it needs from the index as well, or nothing happens at all.
    user.write("mine/pack.yaml", "ref: mine\nversion: 1.0.0\ndependencies: {ops: '*'}\n");
    let (_, said) = user.told(&["pack", "install", "mine"], 1).await;
    assert!(said.contains("the pack needs `ops` *, which is not installed"), "{said}");
    change(&user.home.path().join("index/linux-1.2.0.tar.gz"));
    let (_, said) = user.told(&[&["pack", "install", "mine"][..], &from].concat(), 1).await;
    assert!(said.contains("is not what was expected: its SHA-256 is"), "{said}");
    assert_eq!((version(&system, "linux").await, version(&system, "ops").await), (None, None));
    index(&user);
    user.told(&[&["pack", "install", "mine"][..], &from].concat(), 0).await;
    assert_eq!(version(&system, "linux").await.as_deref(), Some("1.2.0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_an_action_gets_the_configuration_of_its_pack() {
    let system = System::start().await;
    let user = User::of(&system).await;
    user.write(
        "ops/pack.yaml",
        "ref: ops\nversion: 1.0.0\nconfig_schema:\n  port: {type: integer, default: 443}\n  token: {type: string, secret: true, required: true}\n",
    );
    user.write(
        "ops/actions/show.yaml",
        "ref: ops.show\nruntime: core.shell\nentrypoint: show.sh\noutput_format: json\n",
    );
    user.write("ops/actions/show.sh", "#!/bin/sh\nprintf '%s' \"$ATTUNE_PACK_CONFIG\"\n");
    user.told(&["pack", "install", "ops"], 0).await;
    let failed = system.run("ops.show", json!({})).await.execution;
    assert_eq!(failed.status, "failed");
    assert!(failed.error.unwrap().contains("required `token` is missing"));
    let (_, said) = user.told(&["pack", "config", "set", "ops", "token=hunter2"], 1).await;
    assert!(said.contains("--secret token"), "{said}");
    let mut command = attune();
    command.args(["pack", "config", "set", "ops", "port=8443", "--secret", "token"]);
    command.env("ATTUNE_URL", system.client.base().as_str()).env("ATTUNE_TOKEN", &user.token);
    command.env("ATTUNE_CONFIG_DIR", user.home.path()).stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut child.stdin.take().unwrap(), b"hunter2-hunter2\n")
        .await
        .unwrap();
    assert!(child.wait().await.unwrap().success());
    let done = system.run("ops.show", json!({})).await.execution;
    assert_eq!(done.result, Some(json!({"port": 8443, "token": "********"})), "{:?}", done.error);
    let (shown, _) = user.told(&["pack", "config", "get", "ops"], 0).await;
    assert!(shown.contains("8443") && shown.contains("(secret)") && !shown.contains("hunter2"), "{shown}");
    assert_eq!(user.told(&["pack", "config", "get", "ops", "port"], 0).await.0, "8443\n");
    user.told(&["pack", "config", "get", "ops", "token"], 1).await;
    user.told(&["pack", "config", "unset", "ops", "port"], 0).await;
    assert_eq!(user.told(&["pack", "config", "get", "ops", "port"], 0).await.0, "443\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_the_next_event_is_judged_with_changed_settings() {
    let system = System::start().await;
    let user = User::of(&system).await;
    user.write(
        "ops/pack.yaml",
        "ref: ops\nversion: 1.0.0\nconfig_schema:\n  limit: {type: integer, default: 90}\n",
    );
    user.write("ops/triggers/alert.yaml", "ref: ops.alert\n");
    let rule = "ref: ops.page\ntrigger: ops.alert\nconditions:\n  - {field: event.payload.used, operator: greater_than, value: '{{ config.limit }}'}\naction: core.echo\naction_params: {message: 'over {{ config.limit }}'}\n";
    user.write("ops/rules/page.yaml", rule);
    user.write("ops/keys/token.yaml", "ref: ops.token\ndescription: Of the pager\n");
    user.write("settings.yaml", "limit: 95\n");
    let (_, said) = user.told(&["pack", "install", "ops", "--config", "settings.yaml"], 0).await;
    assert!(
        said.contains("key ops.token has no value - Of the pager; set it: attune key set ops.token"),
        "{said}"
    );
    let (shown, _) = user.told(&["pack", "show", "ops"], 0).await;
    assert!(shown.contains("ops.token (not set)"), "{shown}");
    let fired = async |used: i64| {
        let request = EventRequest {
            trigger: "ops.alert".to_owned(),
            payload: json!({"used": used}),
            dedup_key: None,
            config: None,
        };
        let event = system.client.create_event(&request).await.unwrap().event;
        system.wait_until_idle().await;
        let judged = system.client.event(event).await.unwrap();
        let parameters = judged.enforcements.first().map(|made| made.enforcement.payload["message"].clone());
        (event, parameters)
    };
    assert_eq!(fired(93).await.1, None);
    user.told(&["pack", "config", "set", "ops", "limit=50"], 0).await;
    let (event, message) = fired(93).await;
    assert_eq!(message, Some(json!("over 50")));
    user.told(&["pack", "config", "unset", "ops", "limit"], 0).await;
    assert_eq!(fired(93).await.1, Some(json!("over 90")));
    assert_eq!(fired(80).await.1, None);
    // What was judged before is explained as it was.
    let (told, _) = user.told(&["event", "explain", &event.to_string(), "--rule", "ops.page"], 0).await;
    assert!(told.contains("50"), "{told}");

    // A plan tries another version with the settings that this would have, also those that are new.
    user.replace("ops/pack.yaml", "1.0.0", "1.1.0");
    user.replace("ops/pack.yaml", "  limit:", "  floor: {type: integer, default: 60}\n  limit:");
    user.replace("ops/rules/page.yaml", "value: '{{ config.limit }}'", "value: '{{ config.floor }}'");
    let plan = user.json(&["pack", "plan", "ops", "--since", "1h"], 2).await;
    let behaviour = &plan["behaviour"][0];
    assert_eq!((&behaviour["before"], &behaviour["after"]), (&json!(3), &json!(4)), "{plan}");
    user.write("settings.yaml", "floor: 90\n");
    let plan = user.json(&["pack", "plan", "ops", "--since", "1h", "--config", "settings.yaml"], 2).await;
    assert_eq!(plan["behaviour"][0]["after"], json!(3), "{plan}");
}
