//! Packs that need one another, that come in other versions, and that were changed on the server meanwhile.

use attune_client::InstallWishes;
use attune_client::types::{PackInstalled, PackPlan, Problem, RuleChange};
use attune_common::repositories::RuleSetRepository;
use attune_pack::bundle::{Bundled, join};
use attune_pack::{PackFile, PackFiles};
use serde_json::{Value, json};

use crate::app::{TestApp, grant, problem};
use crate::demo::{self, Files, RULE, archive, files_with, only};

async fn put(app: &TestApp, files: &Files) -> PackInstalled {
    app.admin.install_pack(archive(files), "test").await.unwrap()
}

async fn refused(app: &TestApp, files: &Files) -> Problem {
    problem(app.admin.install_pack(archive(files), "test").await)
}

/// The packs that are installed, but for those that say what the tests' users may do.
async fn refs(app: &TestApp) -> Vec<String> {
    let packs = app.admin.packs().await.unwrap().items.into_iter().map(|pack| pack.pack_ref);
    packs.filter(|pack_ref| !pack_ref.starts_with("grants-")).collect()
}

/// A manifest of its own, and nothing else.
fn manifest(name: &str, version: &str, needs: &str) -> Files {
    only(&[("pack.yaml", &format!("ref: {name}\nversion: {version}\n{needs}"))])
}

async fn change(app: &TestApp, change: Value) {
    let change: RuleChange = serde_json::from_value(change).unwrap();
    app.admin.change_rule("demo.page_on_alert", &change).await.unwrap();
}

/// The demo pack in another version, with the rule as given.
fn version(version: &str, rule: &str) -> Files {
    files_with(&[
        ("pack.yaml", &format!("ref: demo\nversion: {version}\n")),
        ("rules/page_on_alert.yaml", rule),
    ])
}

async fn plan(app: &TestApp, files: &Files) -> PackPlan {
    let mut plans = app.admin.plan_packs(archive(files), None).await.unwrap().packs;
    assert_eq!(plans.len(), 1);
    plans.remove(0)
}

#[tokio::test]
async fn test_what_a_pack_needs_must_be_there_in_a_version_that_will_do() {
    let app = TestApp::start().await;
    let ops = manifest("ops", "1.0.0", "dependencies: {linux: '>=1.2', core: '*'}\n");
    let problem = refused(&app, &ops).await;
    let told: Vec<&str> = problem.errors.iter().map(|item| item.detail.as_str()).collect();
    let expected = [
        "the pack needs `linux` >=1.2, which is not installed",
        "the pack needs `core` *, which is not installed",
    ];
    assert_eq!(told, expected);
    assert_eq!(problem.errors[0].pointer.as_deref(), Some("/dependencies/linux"));
    let ops = manifest("ops", "1.0.0", "dependencies: {linux: '>=1.2'}\n");
    put(&app, &manifest("linux", "1.1.0", "")).await;
    let problem = refused(&app, &ops).await;
    assert_eq!(problem.errors[0].detail, "the pack needs `linux` >=1.2, and 1.1.0 is installed");
    put(&app, &manifest("linux", "1.2.0", "")).await;
    let installed = put(&app, &ops).await;
    assert_eq!(installed.pack.pack.dependencies["linux"], ">=1.2");

    // What is needed cannot become a version that will not do.
    let problem = refused(&app, &manifest("linux", "1.1.0", "")).await;
    let expected = "the installed pack `ops` 1.0.0 needs `linux` >=1.2, which 1.1.0 is not";
    assert_eq!(problem.errors[0].detail, expected);
    assert_eq!(app.admin.pack("linux").await.unwrap().pack.version, "1.2.0");
    let outcome = put(&app, &manifest("linux", "1.3.0", "")).await.outcome;
    assert_eq!(outcome, "upgraded");
    assert_eq!(put(&app, &manifest("linux", "1.2.1", "")).await.outcome, "downgraded");
    app.stop().await;
}

#[tokio::test]
async fn test_what_is_needed_is_removed_only_when_that_is_said() {
    let app = TestApp::start().await;
    let install = async || {
        demo::install(&app).await;
        put(&app, &manifest("linux", "1.2.0", "dependencies: {demo: '*'}\n")).await;
        put(&app, &manifest("ops", "1.0.0", "dependencies: {linux: '*'}\n")).await;
    };
    install().await;
    let in_use = problem(app.admin.remove_pack("demo").await);
    assert_eq!((in_use.status, in_use.errors[0].detail.as_str()), (409, "pack linux needs demo *"));
    let removed = app.admin.remove_packs("demo", Some("cascade")).await.unwrap().removed;
    assert_eq!(removed, ["demo", "linux", "ops"]);
    assert_eq!(refs(&app).await, [""; 0]);

    install().await;
    let rule = RULE.replace("demo.page_on_alert", "user.rule");
    put(&app, &only(&[("pack.yaml", "ref: user\nversion: 1.0.0\n"), ("rules/rule.yaml", &rule)])).await;
    assert_eq!(app.admin.remove_packs("demo", Some("leave")).await.unwrap().removed, ["demo"]);
    let open = "select count(*) from attune.rule where trigger is null and action is null";
    assert_eq!(sqlx::query_scalar::<_, i64>(open).fetch_one(app.pool()).await.unwrap(), 1);
    demo::install(&app).await;
    assert_eq!(sqlx::query_scalar::<_, i64>(open).fetch_one(app.pool()).await.unwrap(), 0);
    assert_eq!(problem(app.admin.remove_packs("demo", Some("all")).await).status, 400);
    app.stop().await;
}

/// Packs as they stand in a bundle.
fn bundle(packs: &[(&str, &Files)]) -> Vec<u8> {
    let files = |files: &Files| -> PackFiles {
        let file = |content: &String| PackFile { content: content.clone().into_bytes(), executable: false };
        files.iter().map(|(path, content)| (path.clone(), file(content))).collect()
    };
    let bundled = packs.iter().map(|(name, of_pack)| Bundled {
        config: serde_json::Map::new(),
        directory: (*name).to_owned(),
        source: Some(format!("https://example.org/{name}")),
        files: files(of_pack),
    });
    let joined = join(bundled.collect());
    let texts = joined.into_iter().map(|(path, file)| (path, String::from_utf8(file.content).unwrap()));
    archive(&texts.collect())
}

#[tokio::test]
async fn test_a_bundle_is_installed_as_a_whole_or_not_at_all() {
    let app = TestApp::start().await;
    let linux = manifest("linux", "1.2.0", "");
    let ops = manifest("ops", "1.0.0", "dependencies: {linux: '>=1.2'}\n");
    let wishes = InstallWishes::default();
    let faulty = manifest("ops", "1.0.0", "dependencies: {linux: '>=2'}\n");
    let refused =
        problem(app.admin.install_packs(bundle(&[("linux", &linux), ("ops", &faulty)]), wishes).await);
    assert_eq!(refused.errors[0].file.as_deref(), Some("ops/pack.yaml"));
    let broken = manifest("ops", "1.0", "");
    let refused =
        problem(app.admin.install_packs(bundle(&[("linux", &linux), ("ops", &broken)]), wishes).await);
    assert_eq!(refused.errors[0].file.as_deref(), Some("ops/pack.yaml"));
    let twice = bundle(&[("linux", &linux), ("other", &linux)]);
    assert_eq!(problem(app.admin.install_packs(twice, wishes).await).status, 422);
    assert_eq!(refs(&app).await, [""; 0]);

    let archive = bundle(&[("linux", &linux), ("ops", &ops)]);
    let plans = app.admin.plan_packs(archive.clone(), None).await.unwrap().packs;
    assert_eq!(plans.iter().map(|plan| plan.pack_ref.as_str()).collect::<Vec<_>>(), ["linux", "ops"]);
    let installed = app.admin.install_packs(archive.clone(), wishes).await.unwrap();
    assert_eq!(installed.pack.pack.pack_ref, "ops");
    assert_eq!(installed.pack.pack.source.as_deref(), Some("https://example.org/ops"));
    assert_eq!(
        (installed.with[0].pack_ref.as_str(), installed.with[0].outcome.as_str()),
        ("linux", "installed")
    );
    let named = InstallWishes { source: Some("x"), edits: None };
    assert_eq!(problem(app.admin.install_packs(archive, named).await).status, 400);
    app.stop().await;
}

#[tokio::test]
async fn test_what_only_one_side_changed_is_taken_from_that_side() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    change(&app, json!({"enabled": false, "action_params": {"text": "seen: {{ event.payload.summary }}"}}))
        .await;
    let rule = RULE.replace("value: critical", "value: fatal");
    let installed = put(&app, &version("1.1.0", &rule)).await;
    let kept: Vec<&str> = installed.kept.iter().map(|kept| kept.member.as_str()).collect();
    assert_eq!(kept, ["action_params", "enabled"]);
    let rule = app.admin.rule("demo.page_on_alert").await.unwrap();
    assert!(!rule.enabled);
    assert_eq!(rule.action_params["text"], "seen: {{ event.payload.summary }}");
    assert_eq!(rule.conditions[0]["value"], "fatal");
    // The next version meets the same changes.
    let later = RULE.replace("value: critical", "value: lethal");
    assert_eq!(put(&app, &version("1.2.0", &later)).await.kept.len(), 2);
    assert!(!app.admin.rule("demo.page_on_alert").await.unwrap().enabled);
    app.stop().await;
}

#[tokio::test]
async fn test_what_both_sides_changed_is_a_conflict_until_somebody_says_what_counts() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let edited = json!([{"field": "event.payload.severity", "operator": "equals", "value": "major"}]);
    change(&app, json!({"conditions": edited})).await;
    let before = RuleSetRepository::version(app.pool()).await.unwrap();
    let next = version("1.1.0", &RULE.replace("value: critical", "value: fatal"));
    let conflict = refused(&app, &next).await;
    assert_eq!(conflict.status, 409);
    let item = &conflict.errors[0];
    assert_eq!(
        (item.file.as_deref(), item.pointer.as_deref()),
        (Some("rules/page_on_alert.yaml"), Some("/conditions"))
    );
    for part in ["critical", "major", "fatal"] {
        assert!(item.detail.contains(part), "{}", item.detail);
    }
    assert_eq!(app.admin.pack("demo").await.unwrap().pack.version, "1.0.0");
    assert_eq!(RuleSetRepository::version(app.pool()).await.unwrap(), before);

    let wish = |edits| InstallWishes { source: Some("test"), edits: Some(edits) };
    let value = async || app.admin.rule("demo.page_on_alert").await.unwrap().conditions[0]["value"].clone();
    let kept = app.admin.install_packs(archive(&next), wish("keep")).await.unwrap();
    assert_eq!((kept.kept[0].member.as_str(), value().await), ("conditions", json!("major")));
    // The same files again can only put things back.
    let again = app.admin.install_packs(archive(&next), wish("keep")).await.unwrap();
    assert_eq!((again.outcome.as_str(), value().await), ("unchanged", json!("major")));
    let restored = app.admin.install_packs(archive(&next), wish("overwrite")).await.unwrap();
    assert_eq!((restored.outcome.as_str(), value().await), ("restored", json!("fatal")));
    let again = app.admin.install_packs(archive(&next), wish("overwrite")).await.unwrap();
    assert_eq!(again.outcome, "unchanged");
    assert_eq!(problem(app.admin.install_packs(archive(&next), wish("all")).await).status, 400);
    app.stop().await;
}

#[tokio::test]
async fn test_a_changed_rule_does_not_vanish_with_its_file() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    change(&app, json!({"enabled": false})).await;
    let without = version("1.1.0", "");
    for edits in [None, Some("keep")] {
        let wishes = InstallWishes { source: Some("test"), edits };
        let conflict = problem(app.admin.install_packs(archive(&without), wishes).await);
        assert!(conflict.errors[0].detail.contains("no longer has it"), "{conflict:?}");
    }
    let wishes = InstallWishes { source: Some("test"), edits: Some("overwrite") };
    app.admin.install_packs(archive(&without), wishes).await.unwrap();
    assert_eq!(app.admin.pack("demo").await.unwrap().rules, Vec::<String>::new());
    app.stop().await;
}

/// Files that can no longer be read say nothing of what somebody changed: every difference is a conflict.
#[tokio::test]
async fn test_a_rule_does_not_vanish_when_the_installed_files_cannot_be_read() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    change(&app, json!({"enabled": false})).await;
    sqlx::query("update attune.pack_file set content = 'ref: [' where path = 'pack.yaml'")
        .execute(app.pool())
        .await
        .unwrap();
    let without = version("1.1.0", "");
    for edits in [None, Some("keep")] {
        let wishes = InstallWishes { source: Some("test"), edits };
        let conflict = problem(app.admin.install_packs(archive(&without), wishes).await);
        assert_eq!(conflict.status, 409, "{conflict:?}");
        let told = &conflict.errors[0].detail;
        assert!(told.contains("no longer has it") && told.contains("critical"), "{told}");
    }
    let told = plan(&app, &without).await;
    assert_eq!((told.conflicts[0].before.as_ref(), told.conflicts[0].member.as_ref()), (None, None));
    assert_eq!(told.conflicts[0].here["enabled"], false);
    let wishes = InstallWishes { source: Some("test"), edits: Some("overwrite") };
    app.admin.install_packs(archive(&without), wishes).await.unwrap();
    assert_eq!(app.admin.pack("demo").await.unwrap().rules, Vec::<String>::new());
    app.stop().await;
}

/// A version of the demo pack whose action needs to be told how bad it is.
fn with_severity() -> Files {
    let page =
        demo::PAGE.replace("parameters:\n", "parameters:\n  severity: {type: string, required: true}\n");
    let rule = RULE.replace("action_params:\n", "action_params:\n  severity: bad\n");
    let mut next = version("2.0.0", &rule);
    next.insert("actions/page.yaml".to_owned(), page);
    next
}

#[tokio::test]
async fn test_rules_of_others_have_to_fit_the_new_version() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let rule = RULE.replace("demo.page_on_alert", "user.rule");
    let user = |version: &str, rule: &str| {
        only(&[("pack.yaml", &format!("ref: user\nversion: {version}\n")), ("rules/rule.yaml", rule)])
    };
    put(&app, &user("1.0.0", &rule)).await;
    let mine = json!({"ref": "mine.rule", "trigger": "demo.alert", "action": "demo.page",
        "action_params": {"text": "x"}});
    app.admin.create_rule(&serde_json::from_value(mine).unwrap()).await.unwrap();
    let next = with_severity();
    let planned = problem(app.admin.plan_packs(archive(&next), None).await);
    let problem_of_install = refused(&app, &next).await;
    for told in [&planned, &problem_of_install] {
        assert_eq!(told.status, 422, "{told:?}");
        let details: Vec<&str> = told.errors.iter().map(|item| item.detail.as_str()).collect();
        let fault = "would no longer fit the action `demo.page`: required parameter `severity` is missing";
        assert_eq!(
            details,
            [format!("the rule `mine.rule` {fault}"), format!("the rule `user.rule` {fault}")]
        );
        assert_eq!(told.errors[0].file.as_deref(), Some("pack.yaml"));
        let remedy = told.errors[1].expected.as_deref().unwrap_or_default();
        assert!(remedy.contains("attune rule disable user.rule"), "{remedy}");
    }
    assert_eq!(app.admin.pack("demo").await.unwrap().pack.version, "1.0.0");

    // What is disabled waits until somebody has changed it; what comes together fits together.
    let enable = |enabled| RuleChange { enabled: Some(enabled), ..RuleChange::default() };
    app.admin.change_rule("mine.rule", &enable(false)).await.unwrap();
    let fitting = user("1.1.0", &rule.replace("action_params:\n", "action_params:\n  severity: bad\n"));
    let both = bundle(&[("demo", &next), ("user", &fitting)]);
    app.admin.install_packs(both, InstallWishes::default()).await.unwrap();
    assert_eq!(app.admin.pack("demo").await.unwrap().pack.version, "2.0.0");
    let unfit = problem(app.admin.change_rule("mine.rule", &enable(true)).await);
    assert_eq!((unfit.status, unfit.errors[0].pointer.as_deref()), (422, Some("/action_params/severity")));
    let mended = json!({"enabled": true, "action_params": {"text": "x", "severity": "bad"}});
    app.admin.change_rule("mine.rule", &serde_json::from_value(mended).unwrap()).await.unwrap();
    app.stop().await;
}

#[tokio::test]
async fn test_rules_of_others_have_to_fit_the_events_of_the_new_version() {
    let app = TestApp::start().await;
    let with_alert = |version_of_pack: &str, alert: &str| {
        let mut files = version(version_of_pack, "");
        files.insert("triggers/alert.yaml".to_owned(), format!("{}{alert}", demo::ALERT));
        files
    };
    let output = |members: &str| {
        format!("out_schema: {{type: object, additionalProperties: false, properties: {{{members}}}}}\n")
    };
    let before = output("severity: {type: string}, summary: {type: string}");
    put(&app, &with_alert("1.0.0", &before)).await;
    let rule = RULE.replace("demo.page_on_alert", "user.rule");
    put(&app, &only(&[("pack.yaml", "ref: user\nversion: 1.0.0\n"), ("rules/rule.yaml", &rule)])).await;
    // One more is nobody's trouble.
    let more = output("severity: {type: string}, summary: {type: string}, more: {type: string}");
    put(&app, &with_alert("1.1.0", &more)).await;
    let told = refused(&app, &with_alert("2.0.0", &output("summary: {type: string}"))).await;
    assert!(
        told.errors[0]
            .detail
            .starts_with("the rule `user.rule` would no longer fit the trigger `demo.alert`"),
        "{told:?}"
    );
    let mut asks = with_alert("2.0.0", &more);
    asks.insert(
        "triggers/alert.yaml".to_owned(),
        format!("ref: demo.alert\nparameters:\n  crew: {{type: string}}\n{more}"),
    );
    let told = refused(&app, &asks).await;
    assert!(told.errors[0].detail.contains("unknown parameter `team`"), "{told:?}");
    app.stop().await;
}

#[tokio::test]
async fn test_what_stays_has_to_fit_the_new_version() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    change(&app, json!({"action_params": {"text": "x", "retries": 5}})).await;
    let page = demo::PAGE.replace("  retries: {type: integer, default: 3, minimum: 0}\n", "");
    let mut next = version("1.1.0", RULE);
    next.insert("actions/page.yaml".to_owned(), page);
    let refused = refused(&app, &next).await;
    assert_eq!(refused.status, 422);
    let item = &refused.errors[0];
    assert_eq!(item.file.as_deref(), Some("rules/page_on_alert.yaml"));
    assert!(item.detail.contains("unknown parameter `retries`"), "{}", item.detail);
    assert_eq!(
        app.admin.action("demo.page").await.unwrap().parameters["properties"]["retries"]["default"],
        3
    );
    app.stop().await;
}

#[tokio::test]
async fn test_a_plan_tells_what_would_change_and_changes_nothing() {
    let app = TestApp::start().await;
    let new = plan(&app, &demo::files()).await;
    assert_eq!((new.from.as_deref(), new.to.as_str(), new.outcome.as_str()), (None, "1.0.0", "installed"));
    assert_eq!(new.changes.iter().filter(|change| change.change == "added").count(), new.changes.len());
    assert_eq!(refs(&app).await, [""; 0]);
    demo::install(&app).await;
    let same = plan(&app, &demo::files()).await;
    assert_eq!((same.outcome.as_str(), same.changes.len(), same.files.len()), ("unchanged", 0, 0));

    let token = RULE.replace("action_params:\n", "action_params:\n  token: hunter2\n");
    let mut next = version("1.1.0", &token);
    next.remove("triggers/open.yaml");
    next.insert("actions/page.sh".to_owned(), "echo another\n".to_owned());
    let version_before = RuleSetRepository::version(app.pool()).await.unwrap();
    let told = plan(&app, &next).await;
    let changes: Vec<String> = told
        .changes
        .iter()
        .map(|change| format!("{} {} {}", change.change, change.kind, change.component))
        .collect();
    assert_eq!(
        changes,
        ["changed pack demo", "changed rule demo.page_on_alert", "removed trigger demo.open"]
    );
    let rule = &told.changes[1].members[0];
    assert_eq!(rule.member, "action_params");
    assert!(!serde_json::to_string(&told).unwrap().contains("hunter2"), "{told:?}");
    assert_eq!(rule.after["token"], "********");
    let files: Vec<(&str, &str)> =
        told.files.iter().map(|file| (file.path.as_str(), file.change.as_str())).collect();
    let expected = [
        ("actions/page.sh", "changed"),
        ("pack.yaml", "changed"),
        ("rules/page_on_alert.yaml", "changed"),
        ("triggers/open.yaml", "removed"),
    ];
    assert_eq!(files, expected);
    assert_eq!(RuleSetRepository::version(app.pool()).await.unwrap(), version_before);
    assert_eq!(app.admin.pack("demo").await.unwrap().pack.version, "1.0.0");

    // A conflict does not hide the other changes.
    change(&app, json!({"action_params": {"text": "y"}})).await;
    let told = plan(&app, &next).await;
    assert_eq!(told.conflicts[0].member.as_deref(), Some("action_params"));
    assert_eq!(told.changes.len(), 2, "the rule stays: {told:?}");
    let invalid = problem(app.admin.plan_packs(archive(&version("1", RULE)), None).await);
    assert_eq!(invalid.status, 422);
    app.stop().await;
}

#[tokio::test]
async fn test_an_export_is_installed_as_the_same() {
    let app = TestApp::start().await;
    let first = demo::install(&app).await;
    let plain = app.admin.export_pack("demo", false).await.unwrap();
    let again = app.admin.install_pack(plain.clone(), "test").await.unwrap();
    assert_eq!(again.outcome, "unchanged");
    change(&app, json!({"enabled": false, "conditions": [], "action_params": {"text": "no"}})).await;
    let edited = app.admin.export_pack("demo", true).await.unwrap();
    assert_eq!(app.admin.export_pack("demo", false).await.unwrap(), plain);
    app.admin.remove_pack("demo").await.unwrap();
    let anew = app.admin.install_pack(edited.clone(), "test").await.unwrap();
    assert_ne!(anew.pack.pack.checksum, first.pack.pack.checksum);
    let rule = app.admin.rule("demo.page_on_alert").await.unwrap();
    assert_eq!(
        (rule.enabled, &rule.conditions, &rule.action_params["text"]),
        (false, &json!([]), &json!("no"))
    );
    assert_eq!(rule.trigger_params, json!({"team": "ops"}));
    assert_eq!(app.admin.export_pack("demo", true).await.unwrap(), edited);
    let missing = app.admin.export_pack("nowhere", false).await;
    assert_eq!(missing.unwrap_err().status(), Some(404));
    app.stop().await;
}

#[tokio::test]
async fn test_planning_needs_no_right_to_install() {
    let app = TestApp::start().await;
    let planner = app.client_with("planner", vec![grant("pack", &["plan"])]).await;
    planner.plan_packs(archive(&demo::files()), None).await.unwrap();
    assert_eq!(problem(planner.install_pack(archive(&demo::files()), "x").await).status, 403);
    app.stop().await;
}
