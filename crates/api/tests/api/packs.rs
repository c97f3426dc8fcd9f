//! Installing, showing and removing packs.

use std::time::Duration;

use attune_api::install::{Candidate, InstallOptions, install};
use attune_client::types::Problem;
use attune_common::models::trigger::NewTrigger;
use attune_common::repositories::{RuleSetRepository, TriggerRepository};
use reqwest::Method;
use serde_json::json;

use crate::app::{MAX_PACK, TestApp, grant, problem, problem_of};
use crate::demo::{self, Files, PAGE, archive, files, files_with, only};

async fn refused(app: &TestApp, files: &Files) -> Problem {
    let problem = problem(app.admin.install_pack(archive(files), "test").await);
    assert_eq!(problem.status, 422, "{problem:?}");
    problem
}

/// The faults as a person would read them: place, pointer, suggestion.
fn faults(problem: &Problem) -> Vec<String> {
    let fault = |item: &attune_client::types::ProblemItem| {
        format!(
            "{}:{}:{} {} -> {}",
            item.file.as_deref().unwrap_or("-"),
            item.line.unwrap_or_default(),
            item.column.unwrap_or_default(),
            item.pointer.as_deref().unwrap_or("-"),
            item.suggestion.as_deref().unwrap_or("-")
        )
    };
    problem.errors.iter().map(fault).collect()
}

#[tokio::test]
async fn test_install_show_and_list() {
    let app = TestApp::start().await;
    let installed = demo::install(&app).await;
    assert_eq!(installed.outcome, "installed");
    assert_eq!(installed.pack.pack.source.as_deref(), Some("test"));
    assert!(!installed.pack.pack.is_standard);
    assert_eq!(installed.webhooks.len(), 2);
    let shown = app.admin.pack("demo").await.unwrap();
    assert_eq!(shown.runtimes, ["demo.shell"]);
    assert_eq!(shown.actions, ["demo.page"]);
    assert_eq!(shown.triggers, ["demo.alert", "demo.open", "demo.push"]);
    assert_eq!(shown.rules, ["demo.page_on_alert"]);
    assert_eq!(shown.pack.label, "demo");
    let listed = app.admin.packs().await.unwrap();
    assert!(listed.items.iter().any(|pack| pack.pack_ref == "demo"));
    let action = app.admin.action("demo.page").await.unwrap();
    assert_eq!(action.parameters["properties"]["retries"]["default"], json!(3));
    assert_eq!(app.count("pack_file").await, 8);
    app.stop().await;
}

#[tokio::test]
async fn test_the_same_files_change_nothing() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let version = RuleSetRepository::version(app.pool()).await.unwrap();
    let again = demo::install(&app).await;
    assert_eq!(again.outcome, "unchanged");
    assert_eq!(again.webhooks.len(), 2);
    assert_eq!(RuleSetRepository::version(app.pool()).await.unwrap(), version);
    app.stop().await;
}

#[tokio::test]
async fn test_an_upgrade_keeps_what_stays_and_removes_what_went() {
    let app = TestApp::start().await;
    let first = demo::install(&app).await;
    let version = RuleSetRepository::version(app.pool()).await.unwrap();
    let changed = files_with(&[
        ("pack.yaml", "ref: demo\nversion: 1.1.0\n"),
        ("triggers/open.yaml", ""),
        ("rules/page_on_alert.yaml", ""),
    ]);
    let second = app.admin.install_pack(archive(&changed), "test").await.unwrap();
    assert_eq!(second.outcome, "upgraded");
    assert_eq!(second.pack.pack.version, "1.1.0");
    assert_eq!(second.pack.triggers, ["demo.alert", "demo.push"]);
    assert_eq!(second.pack.rules, Vec::<String>::new());
    assert_eq!(demo::webhook(&first, "demo.push"), demo::webhook(&second, "demo.push"));
    assert!(RuleSetRepository::version(app.pool()).await.unwrap() > version);
    app.stop().await;
}

#[tokio::test]
async fn test_faults_in_files_are_told_with_their_places_and_nothing_is_stored() {
    let app = TestApp::start().await;
    let action = PAGE.replace("parameters:", "paramaters:").replace("demo.shell", "demo.shel");
    let problem = refused(&app, &files_with(&[("actions/page.yaml", &action)])).await;
    assert!(problem.detail.contains("nothing was installed"), "{}", problem.detail);
    let faults = faults(&problem);
    assert!(faults.contains(&"actions/page.yaml:2:10 /runtime -> demo.shell".to_owned()), "{faults:?}");
    assert!(faults.contains(&"actions/page.yaml:4:1 /paramaters -> parameters".to_owned()), "{faults:?}");
    assert_eq!((app.count("pack_file").await, app.count("action").await), (0, 0));
    app.stop().await;
}

/// A pack whose parts refer to those of another one.
fn dependent(rule: &str) -> Files {
    only(&[("pack.yaml", "ref: other\nversion: 0.1.0\n"), ("rules/relay.yaml", rule)])
}

const RELAY: &str = "\
ref: other.relay
trigger: demo.alert
trigger_params:
  team: ops
action: demo.page
action_params:
  text: '{{ event.payload.summary }}'
";

#[tokio::test]
async fn test_refs_to_other_packs_must_lead_somewhere() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let rule = RELAY.replace("demo.alert", "demo.alerts").replace("demo.page", "demo.pag");
    let problem = refused(&app, &dependent(&rule)).await;
    let expected =
        ["rules/relay.yaml:2:10 /trigger -> demo.alert", "rules/relay.yaml:5:9 /action -> demo.page"];
    assert_eq!(faults(&problem), expected);
    let rule = RELAY.replace("  text:", "  txt:").replace("team: ops", "team: 7");
    let problem = refused(&app, &dependent(&rule)).await;
    let expected = [
        "rules/relay.yaml:4:9 /trigger_params/team -> -",
        "rules/relay.yaml:7:3 /action_params/text -> -",
        "rules/relay.yaml:7:3 /action_params/txt -> text",
    ];
    assert_eq!(faults(&problem), expected);
    app.admin.install_pack(archive(&dependent(RELAY)), "test").await.unwrap();
    app.stop().await;
}

#[tokio::test]
async fn test_a_taken_ref_is_refused() {
    let app = TestApp::start().await;
    let trigger = NewTrigger {
        r#ref: "demo.alert".into(),
        label: None,
        description: None,
        enabled: true,
        param_schema: json!({}),
        out_schema: json!({}),
        webhook: None,
    };
    TriggerRepository::create(app.pool(), None, &trigger).await.unwrap();
    let problem = refused(&app, &files()).await;
    assert_eq!(faults(&problem), ["triggers/alert.yaml:1:6 /ref -> -"]);
    assert_eq!(app.count("pack_file").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn test_what_others_use_stays() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    app.admin.install_pack(archive(&dependent(RELAY)), "test").await.unwrap();
    let in_use = problem(app.admin.remove_pack("demo").await);
    assert_eq!(in_use.status, 409);
    assert_eq!(in_use.errors[0].detail, "rule other.relay uses action demo.page and trigger demo.alert");
    let without = files_with(&[("triggers/alert.yaml", ""), ("rules/page_on_alert.yaml", "")]);
    let problem = refused(&app, &without).await;
    assert_eq!(faults(&problem), ["pack.yaml:2:10 /version -> -"]);
    assert!(problem.errors[0].detail.contains("other.relay"), "{problem:?}");
    app.admin.remove_pack("other").await.unwrap();
    app.admin.remove_pack("demo").await.unwrap();
    assert_eq!((app.count("rule").await, app.count("action").await), (0, 0));
    assert_eq!(crate::app::problem(app.admin.remove_pack("demo").await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_a_removed_pack_takes_its_webhooks_with_it() {
    let app = TestApp::start().await;
    let installed = demo::install(&app).await;
    let path = demo::webhook(&installed, "demo.open");
    app.anonymous().webhook(path, &[], "{}").await.unwrap();
    app.admin.remove_pack("demo").await.unwrap();
    assert_eq!(problem(app.anonymous().webhook(path, &[], "{}").await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_a_standard_pack_is_neither_removed_nor_replaced() {
    let app = TestApp::start().await;
    let sources = files().into_iter();
    let files: attune_pack::PackFiles = sources
        .map(|(path, content)| {
            (path, attune_pack::PackFile { content: content.into_bytes(), executable: false })
        })
        .collect();
    let definition = attune_pack::read(&files).unwrap();
    let options = InstallOptions { is_standard: true, ..InstallOptions::default() };
    let candidate = Candidate::for_environment(definition, files, None, None);
    install(app.pool(), &app.bus, &[candidate], options).await.unwrap();
    assert_eq!(problem(app.admin.remove_pack("demo").await).status, 409);
    let problem = refused(&app, &files_with(&[("pack.yaml", "version: 2.0.0\nref: demo\n")])).await;
    assert_eq!(faults(&problem), ["pack.yaml:2:6 /ref -> -"]);
    app.stop().await;
}

#[tokio::test]
async fn test_two_installations_at_once_take_turns() {
    let app = TestApp::start().await;
    let mut tasks = Vec::new();
    for round in 0..6 {
        let client = app.admin.clone();
        let version = format!("ref: demo\nversion: 1.0.{round}\n");
        let archive = archive(&files_with(&[("pack.yaml", &version)]));
        tasks.push(tokio::spawn(async move { client.install_pack(archive, "test").await }));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap().unwrap().outcome);
    }
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "installed").count(), 1, "{outcomes:?}");
    let moved = |outcome: &String| ["upgraded", "downgraded"].contains(&outcome.as_str());
    assert_eq!(outcomes.iter().filter(|outcome| moved(outcome)).count(), 5, "{outcomes:?}");
    assert_eq!(app.count("trigger").await, 3);
    app.stop().await;
}

#[tokio::test]
async fn test_a_rule_that_waited_for_a_trigger_gets_it() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    app.admin.install_pack(archive(&dependent(RELAY)), "test").await.unwrap();
    // The trigger vanishes by other means than an upgrade, and comes back.
    sqlx::query("delete from attune.trigger where ref = 'demo.alert'").execute(app.pool()).await.unwrap();
    let open = "select count(*) from attune.rule where trigger is null";
    assert_eq!(sqlx::query_scalar::<_, i64>(open).fetch_one(app.pool()).await.unwrap(), 2);
    let changed = files_with(&[("pack.yaml", "ref: demo\nversion: 1.0.1\n")]);
    app.admin.install_pack(archive(&changed), "test").await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i64>(open).fetch_one(app.pool()).await.unwrap(), 0);
    app.stop().await;
}

#[tokio::test]
async fn test_what_is_no_pack_archive_is_refused() {
    let app = TestApp::start().await;
    let send = async |content_type: &str, body: Vec<u8>| {
        let request = app.as_admin(Method::POST, "/api/v1/packs").header("content-type", content_type);
        request.timeout(Duration::from_secs(20)).body(body).send().await.unwrap()
    };
    problem_of(send("application/json", b"{}".to_vec()).await, 415).await;
    problem_of(send("application/gzip", b"plain text".to_vec()).await, 400).await;
    problem_of(send("application/gzip", vec![0; MAX_PACK + 1]).await, 413).await;
    let bomb = "0".repeat(2 * MAX_PACK);
    let bomb = archive(&only(&[("pack.yaml", demo::PACK), ("bomb", &bomb)]));
    assert!(bomb.len() < MAX_PACK / 10, "the archive itself is small");
    problem_of(send("application/gzip", bomb).await, 413).await;
    let zip = |content: Vec<u8>| {
        let file = attune_pack::PackFile { content, executable: false };
        attune_pack::archive::pack_zip(&attune_pack::PackFiles::from([("pack.yaml".to_owned(), file)]))
            .unwrap()
    };
    problem_of(send("application/zip", zip(vec![b' '; 2 * MAX_PACK])).await, 413).await;
    problem_of(send("application/zip", b"PK\x03\x04nothing".to_vec()).await, 400).await;
    problem_of(send("application/zip", zip(b"ref: Zipped\nversion: 1.0.0\n".to_vec())).await, 422).await;
    let no_manifest = archive(&only(&[("actions/page.yaml", PAGE)]));
    problem_of(send("application/gzip", no_manifest).await, 422).await;
    assert_eq!(app.count("pack_file").await, 0);
    assert_eq!(send("application/zip", zip(b"ref: zipped\nversion: 1.0.0\n".to_vec())).await.status(), 201);
    app.stop().await;
}

#[tokio::test]
async fn test_webhook_addresses_are_for_those_who_may_read_webhooks() {
    let app = TestApp::start().await;
    let installer = vec![grant("pack", &["create"]), grant("trigger", &["read"])];
    let installer = app.client_with("installer", installer).await;
    let installed = installer.install_pack(archive(&files()), "test").await.unwrap();
    assert!(installed.webhooks.is_empty());
    let path = async |client: &attune_client::Client| {
        client.trigger("demo.push").await.unwrap().webhook.and_then(|webhook| webhook.path)
    };
    assert_eq!(path(&installer).await, None);
    assert!(path(&app.admin).await.is_some_and(|path| path.starts_with("/api/v1/webhooks/")));
    let listed = app.admin.triggers().await.unwrap().items;
    assert!(
        listed.iter().filter_map(|trigger| trigger.webhook.as_ref()).all(|webhook| webhook.path.is_none())
    );
    let push = app.admin.trigger("demo.push").await.unwrap().webhook.unwrap();
    assert_eq!(
        (push.signature.as_deref(), push.secret.as_deref()),
        (Some("github"), Some("demo.push_secret"))
    );
    app.stop().await;
}
