//! The configuration of packs.

use attune_api::Settings;
use attune_client::InstallWishes;
use attune_client::types::PackConfigChange;
use serde_json::{Value, json};

use crate::app::{TestApp, grant, pointers, problem};
use crate::demo::{self, Files, archive, only};

const SCHEMA: &str = "config_schema:\n  url: {type: string, required: true}\n  port: {type: integer, default: 443}\n  \
                      token: {type: string, secret: true, required: true}\n";

fn pack(version: &str, schema: &str) -> Files {
    only(&[
        ("pack.yaml", &format!("ref: ops\nversion: {version}\n{schema}")),
        ("config/production.yaml", "port: 8443\n"),
    ])
}

fn set(values: Value) -> PackConfigChange {
    let Value::Object(set) = values else { panic!("{values}") };
    PackConfigChange { set, unset: Vec::new() }
}

fn unset(names: &[&str]) -> PackConfigChange {
    let unset = names.iter().map(|name| (*name).to_owned()).collect();
    PackConfigChange { unset, ..PackConfigChange::default() }
}

#[tokio::test]
async fn test_settings_are_checked_and_secrets_are_never_shown() {
    let app = TestApp::start().await;
    app.admin.install_pack(archive(&pack("1.0.0", SCHEMA)), "test").await.unwrap();
    let view = app.admin.pack_config("ops").await.unwrap();
    assert_eq!(view.missing, ["token", "url"]);
    let wrong = set(json!({"prt": 1, "port": "many", "token": 7, "url": ""}));
    let refused = problem(app.admin.change_pack_config("ops", &wrong).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/set/port", "/set/prt", "/set/token"]));
    let view = app
        .admin
        .change_pack_config("ops", &set(json!({"url": "https://a", "token": "hunter2"})))
        .await
        .unwrap();
    assert_eq!(view.missing, Vec::<String>::new());
    let sources: Vec<(&str, &str)> =
        view.settings.iter().map(|setting| (setting.name.as_str(), setting.source.as_str())).collect();
    assert_eq!(sources, [("port", "default"), ("token", "set"), ("url", "set")]);
    let shown = serde_json::to_string(&view).unwrap();
    assert!(!shown.contains("hunter2"), "{shown}");
    let stored = "select config::text from attune.pack where ref = 'ops'";
    let stored: String = sqlx::query_scalar(stored).fetch_one(app.pool()).await.unwrap();
    assert_eq!(stored, r#"{"url": "https://a"}"#);
    let masked = problem(app.admin.change_pack_config("ops", &set(json!({"token": "********"}))).await);
    assert_eq!(masked.status, 422);
    let view = app.admin.change_pack_config("ops", &unset(&["token", "url"])).await.unwrap();
    assert_eq!(view.missing, ["token", "url"]);
    assert_eq!(app.count("key").await, 0);
    assert_eq!(problem(app.admin.change_pack_config("ops", &unset(&["nothing"])).await).status, 422);
    let reader = app.client_with("reader", vec![grant("pack", &["read"])]).await;
    reader.pack_config("ops").await.unwrap();
    assert_eq!(problem(reader.change_pack_config("ops", &set(json!({"port": 1}))).await).status, 403);
    app.stop().await;
}

#[tokio::test]
async fn test_what_was_set_has_to_fit_another_version() {
    let app = TestApp::start().await;
    app.admin.install_pack(archive(&pack("1.0.0", SCHEMA)), "test").await.unwrap();
    let values = set(json!({"url": "https://a", "port": 1, "token": "hunter2"}));
    app.admin.change_pack_config("ops", &values).await.unwrap();
    let next = "config_schema:\n  port: {type: integer, maximum: 0}\n  url: {type: string, secret: true}\n  token: {type: string}\n";
    let mut files = pack("1.1.0", next);
    files.remove("config/production.yaml");
    let refused = problem(app.admin.install_pack(archive(&files), "test").await);
    let mut told: Vec<&str> = refused.errors.iter().map(|item| item.detail.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], "`token` is set on the server, and is no secret in this version");
    assert_eq!(told[1], "`url` is set on the server and not kept as a secret, which it is in this version");
    assert!(told[2].starts_with("what `port` is set to on the server does not fit"), "{told:?}");
    let without = only(&[("pack.yaml", "ref: ops\nversion: 1.1.0\n")]);
    let refused = problem(app.admin.install_pack(archive(&without), "test").await);
    assert_eq!(refused.errors.len(), 3, "{refused:?}");
    app.admin.change_pack_config("ops", &unset(&["port", "token", "url"])).await.unwrap();
    app.admin.install_pack(archive(&without), "test").await.unwrap();
    assert_eq!(app.admin.pack_config("ops").await.unwrap().settings, []);
    assert_eq!(problem(app.admin.change_pack_config("ops", &set(json!({"port": 1}))).await).status, 409);
    app.stop().await;
}

#[tokio::test]
async fn test_a_server_takes_the_settings_of_its_environment() {
    let settings = Settings { environment: Some("production".to_owned()), ..Settings::default() };
    let app = TestApp::start_with(settings).await;
    app.admin.install_pack(archive(&pack("1.0.0", SCHEMA)), "test").await.unwrap();
    let port = async || {
        let view = app.admin.pack_config("ops").await.unwrap();
        let setting = view.settings.into_iter().find(|setting| setting.name == "port").unwrap();
        (setting.value.unwrap(), setting.source)
    };
    assert_eq!(port().await, (json!(8443), "environment".to_owned()));
    app.admin.change_pack_config("ops", &set(json!({"port": 9}))).await.unwrap();
    assert_eq!(port().await, (json!(9), "set".to_owned()));
    app.stop().await;
}

/// The pack with settings that are given for it.
fn with_settings(files: &Files, settings: &Value) -> Vec<u8> {
    let list = json!({"packs": [{"directory": "ops", "source": "test", "config": settings}]});
    let mut bundle = only(&[("bundle.json", &list.to_string())]);
    bundle.extend(files.iter().map(|(path, content)| (format!("ops/{path}"), content.clone())));
    archive(&bundle)
}

#[tokio::test]
async fn test_settings_are_set_with_the_pack_or_neither_is() {
    let app = TestApp::start().await;
    let wishes = InstallWishes::default;
    let wrong = with_settings(&pack("1.0.0", SCHEMA), &json!({"prt": 1, "port": "many", "token": ""}));
    let refused = problem(app.admin.install_packs(wrong, wishes()).await);
    assert_eq!(refused.status, 422);
    let mut told: Vec<&str> = refused.errors.iter().map(|item| item.detail.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().any(|told| told.contains("`token` is empty")), "{told:?}");
    assert_eq!(refused.errors[0].file.as_deref(), Some("ops/pack.yaml"));
    assert_eq!(problem(app.admin.pack("ops").await).status, 404);

    let given = json!({"url": "https://a", "token": "hunter2"});
    let first = with_settings(&pack("1.0.0", SCHEMA), &given);
    let planned = app.admin.plan_packs(first.clone(), None).await.unwrap();
    assert_eq!((planned.packs[0].outcome.as_str(), app.count("key").await), ("installed", 0));
    let installed = app.admin.install_packs(first.clone(), wishes()).await.unwrap();
    assert_eq!(installed.outcome, "installed");
    assert!(!serde_json::to_string(&installed).unwrap().contains("hunter2"));
    let view = app.admin.pack_config("ops").await.unwrap();
    assert!(view.missing.is_empty(), "{view:?}");
    let owner = "select owner_type::text from attune.key where ref = 'ops.config.token'";
    let owner: String = sqlx::query_scalar(owner).fetch_one(app.pool()).await.unwrap();
    assert_eq!(owner, "pack");
    let stored = "select count(*) from attune.pack_file where convert_from(content, 'UTF8') like '%hunter2%'";
    let stored: i64 = sqlx::query_scalar(stored).fetch_one(app.pool()).await.unwrap();
    assert_eq!(stored, 0, "the list of the bundle is no file of the pack");

    // The same files with other settings; what is not given stays.
    let again = with_settings(&pack("1.0.0", SCHEMA), &json!({"port": 9}));
    assert_eq!(app.admin.install_packs(again, wishes()).await.unwrap().outcome, "configured");
    let stored = "select config::text from attune.pack where ref = 'ops'";
    let stored: String = sqlx::query_scalar(stored).fetch_one(app.pool()).await.unwrap();
    assert_eq!(stored, r#"{"url": "https://a", "port": 9}"#);
    // What was set and would not fit another version fits it by what is given.
    let next = SCHEMA.replace("default: 443", "maximum: 5");
    let mut files = pack("1.1.0", &next);
    files.remove("config/production.yaml");
    assert_eq!(problem(app.admin.install_pack(archive(&files), "test").await).status, 422);
    let fitting = with_settings(&files, &json!({"port": 5}));
    assert_eq!(app.admin.install_packs(fitting, wishes()).await.unwrap().outcome, "upgraded");

    // A fault elsewhere leaves the settings alone too.
    let mut faulty = pack("1.2.0", &next);
    faulty.insert("rules/r.yaml".to_owned(), "ref: ops.r\ntrigger: no.such\naction: no.such\n".to_owned());
    faulty.remove("config/production.yaml");
    let refused =
        problem(app.admin.install_packs(with_settings(&faulty, &json!({"port": 1})), wishes()).await);
    assert_eq!(refused.status, 422);
    let port: i32 = sqlx::query_scalar("select (config ->> 'port')::int from attune.pack where ref = 'ops'")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(port, 5);

    let installer = app.client_with("installer", vec![grant("pack", &["create", "read"])]).await;
    assert_eq!(problem(installer.install_packs(first, wishes()).await).status, 403);
    app.stop().await;
}

#[tokio::test]
async fn test_a_plan_tells_what_given_settings_make_of_rules() {
    let app = TestApp::start().await;
    let mut files = pack("1.0.0", SCHEMA);
    let rule =
        "ref: ops.r\ntrigger: demo.alert\naction: demo.page\naction_params: {text: 'x{{ config.port }}'}\n";
    files.insert("rules/r.yaml".to_owned(), rule.to_owned());
    demo::install(&app).await;
    app.admin.install_pack(archive(&files), "test").await.unwrap();
    let plan = app.admin.plan_packs(with_settings(&files, &json!({"port": 9})), None).await.unwrap();
    let plan = &plan.packs[0];
    assert_eq!(plan.outcome, "configured");
    let member = &plan.changes[0].members[0];
    assert_eq!((plan.changes[0].component.as_str(), member.member.as_str()), ("ops.r", "config"));
    assert_eq!((&member.before, &member.after), (&json!({"port": 443}), &json!({"port": 9})));
    assert_eq!(plan.changes[0].config, Some(json!({"port": 9})));
    assert_eq!(app.admin.rule("ops.r").await.unwrap().version, 1);
    app.stop().await;
}

#[tokio::test]
async fn test_a_plan_with_secrets_follows_a_data_key_that_was_replaced() {
    let app = TestApp::start().await;
    let given = json!({"url": "https://a", "token": "hunter2"});
    let archive = with_settings(&pack("1.0.0", SCHEMA), &given);
    // As `attune key rotate` does it, beside the server.
    app.vault().await.rotate(app.pool()).await.unwrap();
    let planned = app.admin.plan_packs(archive.clone(), None).await.unwrap();
    assert_eq!((planned.packs[0].outcome.as_str(), app.count("key").await), ("installed", 0));
    app.admin.install_packs(archive, InstallWishes::default()).await.unwrap();
    app.stop().await;
}
