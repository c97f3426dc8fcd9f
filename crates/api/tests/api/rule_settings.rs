//! The settings of a pack in its rules: what a rule keeps of them, and that a change of them is a version of the rule.

use attune_api::Settings;
use attune_client::types::{
    BacktestRequest, EventRequest, PackConfigChange, RuleChange, RuleExplanation, RuleRequest,
};
use attune_common::repositories::{EventRepository, RuleRepository, RuleSetRepository};
use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use crate::app::{TestApp, pointers, problem};
use crate::demo::{Files, archive, files_with};

const MANIFEST: &str = "ref: demo\nversion: 1.0.0\nconfig_schema:\n  url: {type: string, default: 'https://a'}\n  \
                        limit: {type: integer, default: 90}\n  token: {type: string, secret: true}\n";

const RULE: &str = "ref: demo.page_on_alert\ntrigger: demo.alert\nconditions:\n  - {field: event.payload.used, operator: \
                    greater_than, value: '{{ config.limit }}'}\naction: demo.page\naction_params:\n  text: '{{ config.url \
                    }}/{{ event.payload.host }}'\n";

fn pack() -> Files {
    files_with(&[
        ("pack.yaml", MANIFEST),
        ("rules/page_on_alert.yaml", RULE),
        (
            "rules/plain.yaml",
            "ref: demo.plain\ntrigger: demo.alert\naction: demo.page\naction_params: {text: hello}\n",
        ),
        ("config/production.yaml", "limit: 50\n"),
    ])
}

fn set(values: Value) -> PackConfigChange {
    let Value::Object(set) = values else { panic!("{values}") };
    PackConfigChange { set, unset: Vec::new() }
}

async fn kept(app: &TestApp, rule: &str) -> (i32, Option<Value>) {
    let rule = app.admin.rule(rule).await.unwrap();
    (rule.version, rule.config)
}

async fn matched_event(app: &TestApp, used: i64) -> i64 {
    let request = EventRequest {
        trigger: "demo.alert".to_owned(),
        payload: json!({"used": used, "host": "db"}),
        dedup_key: None,
        config: None,
    };
    let event = app.admin.create_event(&request).await.unwrap().event;
    let version = RuleSetRepository::version(app.pool()).await.unwrap();
    EventRepository::mark_matched(app.pool(), &[event], version, Utc::now()).await.unwrap();
    event
}

async fn explained(app: &TestApp, event: i64) -> RuleExplanation {
    let query = [("rule", "demo.page_on_alert".to_owned())];
    app.admin.explain_event(event, &query).await.unwrap().rules.remove(0)
}

#[tokio::test]
async fn test_a_change_of_settings_is_a_version_of_the_rules_that_use_them() {
    let app = TestApp::start().await;
    app.admin.install_pack(archive(&pack()), "test").await.unwrap();
    let with = |limit: i64, url: &str| Some(json!({"limit": limit, "url": url}));
    assert_eq!(kept(&app, "demo.page_on_alert").await, (1, with(90, "https://a")));
    assert_eq!(kept(&app, "demo.plain").await, (1, None));
    let before = matched_event(&app, 95).await;
    let known = RuleSetRepository::version(app.pool()).await.unwrap();

    app.admin.change_pack_config("demo", &set(json!({"limit": 99, "token": "hunter2"}))).await.unwrap();
    assert_eq!(kept(&app, "demo.page_on_alert").await, (2, with(99, "https://a")));
    assert_eq!(kept(&app, "demo.plain").await, (1, None));
    // Executors read the one rule again, and no other.
    let mut connection = app.pool().acquire().await.unwrap();
    let changes = RuleRepository::live_since(&mut connection, known).await.unwrap().unwrap();
    drop(connection);
    assert_eq!(changes.changed, ["demo.page_on_alert"]);
    assert_eq!(changes.rules[0].config, with(99, "https://a"));
    let after = matched_event(&app, 95).await;

    // What a rule does not use, or what stays as it is, is no change of it.
    app.admin.change_pack_config("demo", &set(json!({"limit": 99, "token": "other"}))).await.unwrap();
    assert_eq!(kept(&app, "demo.page_on_alert").await.0, 2);
    app.admin.install_pack(archive(&pack()), "test").await.unwrap();
    assert_eq!(kept(&app, "demo.page_on_alert").await.0, 2);

    // An old event is explained with the settings of its time.
    let explanation = explained(&app, before).await;
    assert_eq!((explanation.version, explanation.verdict.as_deref()), (Some(1), Some("true")));
    assert_eq!(explanation.conditions[0].expected, Some(json!(90)));
    assert_eq!(explanation.action_params, Some(json!({"text": "https://a/db"})));
    let explanation = explained(&app, after).await;
    assert_eq!((explanation.version, explanation.verdict.as_deref()), (Some(2), Some("false")));
    assert_eq!(explanation.conditions[0].expected, Some(json!(99)));
    let versions = app.admin.rule_versions("demo.page_on_alert", &[]).await.unwrap().items;
    let changes: Vec<&str> = versions[0].changes.iter().map(|change| change.member.as_str()).collect();
    assert_eq!(changes, ["config"]);
    assert!(!serde_json::to_string(&versions).unwrap().contains("hunter2"));
    app.stop().await;
}

#[tokio::test]
async fn test_a_rule_has_the_settings_of_the_environment_and_of_another_version() {
    let settings = Settings { environment: Some("production".to_owned()), ..Settings::default() };
    let app = TestApp::start_with(settings).await;
    app.admin.install_pack(archive(&pack()), "test").await.unwrap();
    let limit = async || kept(&app, "demo.page_on_alert").await.1.unwrap()["limit"].clone();
    assert_eq!(limit().await, json!(50));
    let mut next = pack();
    next.insert("config/production.yaml".to_owned(), "limit: 60\n".to_owned());
    app.admin.install_pack(archive(&next), "test").await.unwrap();
    assert_eq!((limit().await, kept(&app, "demo.page_on_alert").await.0), (json!(60), 2));
    app.admin.change_pack_config("demo", &set(json!({"limit": 7}))).await.unwrap();
    assert_eq!(limit().await, json!(7));
    app.stop().await;
}

#[tokio::test]
async fn test_settings_that_a_rule_cannot_read_are_refused() {
    let app = TestApp::start().await;
    let secret = RULE.replace("config.url", "config.token").replace("config.limit", "config.limt");
    let mut files = pack();
    files.insert("rules/page_on_alert.yaml".to_owned(), secret);
    let refused = problem(app.admin.install_pack(archive(&files), "test").await);
    assert_eq!(
        (refused.status, pointers(&refused)),
        (422, vec!["/conditions/0/value", "/action_params/text"])
    );
    assert_eq!(refused.errors[0].suggestion.as_deref(), Some("config.limit"));
    assert!(refused.errors[1].detail.contains("key('demo.config.token')"), "{}", refused.errors[1].detail);

    app.admin.install_pack(archive(&pack()), "test").await.unwrap();
    let change =
        |text: &str| RuleChange { action_params: Some(json!({"text": text})), ..RuleChange::default() };
    let refused = problem(app.admin.change_rule("demo.plain", &change("{{ config.token }}")).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/action_params/text"]));
    app.admin.change_rule("demo.plain", &change("{{ config.url }}")).await.unwrap();
    assert_eq!(kept(&app, "demo.plain").await, (2, Some(json!({"url": "https://a"}))));
    let off = RuleChange { enabled: Some(false), ..RuleChange::default() };
    app.admin.change_rule("demo.plain", &off).await.unwrap();
    assert_eq!(kept(&app, "demo.plain").await, (3, Some(json!({"url": "https://a"}))));
    // A new version has to have what was written on the server.
    let mut without = pack();
    without.insert("pack.yaml".to_owned(), MANIFEST.replace("url: {type", "uri: {type"));
    without.insert("rules/page_on_alert.yaml".to_owned(), RULE.replace("config.url", "config.uri"));
    let refused = problem(app.admin.install_pack(archive(&without), "test").await);
    assert_eq!(refused.status, 422);
    assert!(refused.errors[0].detail.contains("has no setting `url`"), "{:?}", refused.errors);

    let rule = json!({"ref": "mine.rule", "trigger": "demo.alert", "action": "demo.page",
        "action_params": {"text": "{{ config.url }}"}});
    let rule: RuleRequest = serde_json::from_value(rule).unwrap();
    let refused = problem(app.admin.create_rule(&rule).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/action_params/text"]));
    assert!(refused.errors[0].detail.contains("belongs to no pack"), "{}", refused.errors[0].detail);
    app.stop().await;
}

#[tokio::test]
async fn test_a_draft_is_tried_with_the_settings_of_now() {
    let app = TestApp::start().await;
    app.admin.install_pack(archive(&pack()), "test").await.unwrap();
    for used in [40, 70, 95] {
        matched_event(&app, used).await;
    }
    app.admin.change_pack_config("demo", &set(json!({"limit": 60}))).await.unwrap();
    let since: DateTime<Utc> = Utc::now() - Duration::hours(1);
    let fired =
        async |rule: Option<RuleRequest>, config: Value, rule_ref: Option<&str>, version: Option<i32>| {
            let request = BacktestRequest {
                rule,
                config: config.as_object().cloned(),
                rule_ref: rule_ref.map(str::to_owned),
                version,
                ..BacktestRequest::since(since)
            };
            app.admin.backtest(&request, |_| {}).await.unwrap().counts.fired
        };
    let draft = json!({"ref": "demo.new", "trigger": "demo.alert", "action": "demo.page",
        "conditions": ["{{ event.payload.used > config.limit }}"], "action_params": {"text": "x"}});
    let draft: RuleRequest = serde_json::from_value(draft).unwrap();
    assert_eq!(fired(Some(draft.clone()), Value::Null, None, None).await, 2);
    assert_eq!(fired(Some(draft), json!({"limit": 90}), None, None).await, 1);
    assert_eq!(fired(None, Value::Null, Some("demo.page_on_alert"), None).await, 2);
    let old = fired(None, Value::Null, Some("demo.page_on_alert"), Some(1)).await;
    assert_eq!(old, 1, "with the settings that it had");
    app.stop().await;
}
