//! Rules.

use attune_client::types::{RuleChange, RuleRequest};
use serde_json::{Value, json};

use crate::app::{TestApp, pointers, problem};
use crate::demo;

fn request(changes: &Value) -> RuleRequest {
    let mut rule = json!({
        "ref": "mine.rule",
        "trigger": "demo.alert",
        "trigger_params": {"team": "ops"},
        "conditions": [{"field": "event.payload.severity", "operator": "equals", "value": "critical"}],
        "action": "demo.page",
        "action_params": {"text": "{{ event.payload.summary }}"},
    });
    for (name, value) in changes.as_object().unwrap() {
        rule[name] = value.clone();
    }
    serde_json::from_value(rule).unwrap()
}

#[tokio::test]
async fn test_create_show_and_change() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let created = app.admin.create_rule(&request(&json!({}))).await.unwrap();
    assert_eq!((created.version, created.enabled, created.pack.as_deref()), (1, true, None));
    let off = RuleChange { enabled: Some(false) };
    let changed = app.admin.change_rule("mine.rule", &off).await.unwrap();
    assert_eq!((changed.version, changed.enabled), (2, false));
    let same = app.admin.change_rule("mine.rule", &off).await.unwrap();
    assert_eq!(same.version, 2);
    assert_eq!(app.admin.rule("mine.rule").await.unwrap().version, 2);
    let listed = app.admin.rules().await.unwrap().items;
    let listed: Vec<_> = listed.iter().map(|rule| rule.rule_ref.as_str()).collect();
    assert_eq!(listed, ["demo.page_on_alert", "mine.rule"]);
    assert_eq!(problem(app.admin.change_rule("no.such", &off).await).status, 404);
    assert_eq!(problem(app.admin.create_rule(&request(&json!({}))).await).status, 409);
    app.stop().await;
}

#[tokio::test]
async fn test_unknown_refs_are_told_with_what_was_meant() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let wrong = request(&json!({"trigger": "demo.alrt", "action": "demo.pages"}));
    let problem = problem(app.admin.create_rule(&wrong).await);
    assert_eq!(problem.status, 422);
    assert_eq!(pointers(&problem), ["/trigger", "/action"]);
    let suggestions: Vec<_> = problem.errors.iter().map(|item| item.suggestion.as_deref()).collect();
    assert_eq!(suggestions, [Some("demo.alert"), Some("demo.page")]);
    assert_eq!(app.count("rule").await, 1, "only the pack's own");
    app.stop().await;
}

#[tokio::test]
async fn test_everything_that_is_wrong_is_told_at_once() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let wrong = request(&json!({
        "ref": "Mine",
        "condition": "some",
        "conditions": [{"field": "event.payload.severity", "operator": "equal_to_", "value": 1}],
        "trigger_params": {"tem": "ops"},
        "action_params": {"retries": "many", "token": "{{ evnt.payload.token }}"},
    }));
    let problem = problem(app.admin.create_rule(&wrong).await);
    assert_eq!(problem.status, 422);
    let mut found = pointers(&problem);
    found.sort_unstable();
    let expected = [
        "/action_params/retries",
        "/action_params/text",
        "/action_params/token",
        "/condition",
        "/conditions/0/operator",
        "/ref",
        "/trigger_params/tem",
    ];
    assert_eq!(found, expected);
    app.stop().await;
}

#[tokio::test]
async fn test_secrets_in_a_rule_are_masked_and_templates_are_not() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let params = json!({"text": "x", "token": "hunter2"});
    let created = app.admin.create_rule(&request(&json!({"action_params": params}))).await.unwrap();
    assert_eq!(created.action_params, json!({"text": "x", "token": "********"}));
    let params = json!({"text": "x", "token": "{{ event.payload.token }}"});
    let created =
        app.admin.create_rule(&request(&json!({"ref": "mine.two", "action_params": params}))).await.unwrap();
    assert_eq!(created.action_params, params);
    app.stop().await;
}

#[tokio::test]
async fn test_u0000_is_refused() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let rule = request(&json!({"action_params": {"text": "a\u{0}b"}}));
    assert_eq!(problem(app.admin.create_rule(&rule).await).status, 400);
    app.stop().await;
}

#[tokio::test]
async fn test_a_rule_says_how_its_executions_are_tried_again() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let faulty = request(&json!({"retry": {"count": 3, "dealy": "5s"}}));
    let refused = problem(app.admin.create_rule(&faulty).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/retry/dealy"]));
    assert_eq!(refused.errors[0].suggestion.as_deref(), Some("delay"));
    let rule = request(&json!({"retry": {"count": 3, "delay": "5s"}}));
    let rule = app.admin.create_rule(&rule).await.unwrap();
    let stored = json!({
        "count": 3, "delay": 5.0, "factor": 1.0, "max_delay": 5.0, "jitter": 0.0, "on": ["failed", "timeout"]
    });
    assert_eq!(rule.retry, Some(stored));
    app.stop().await;
}
