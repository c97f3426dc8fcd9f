//! Rules.

use attune_client::types::{RuleChange, RuleRequest};
use reqwest::Method;
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
    let off = RuleChange { enabled: Some(false), ..RuleChange::default() };
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
async fn test_a_rule_is_made_and_put_in_shadow() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let created = app.admin.create_rule(&request(&json!({"mode": "shadow"}))).await.unwrap();
    assert_eq!((created.mode.as_str(), created.enabled, created.version), ("shadow", true, 1));
    let change = |mode: &str| RuleChange { mode: Some(mode.to_owned()), ..RuleChange::default() };
    let changed = app.admin.change_rule("mine.rule", &change("active")).await.unwrap();
    assert_eq!((changed.mode.as_str(), changed.version), ("active", 2));
    let same = app.admin.change_rule("mine.rule", &change("active")).await.unwrap();
    assert_eq!(same.version, 2, "what is so already makes no version");
    let off = RuleChange { enabled: Some(false), ..RuleChange::default() };
    assert_eq!(app.admin.change_rule("mine.rule", &off).await.unwrap().mode, "active");
    let refused = problem(app.admin.change_rule("mine.rule", &change("shade")).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/mode"]));
    let refused = problem(app.admin.create_rule(&request(&json!({"ref": "mine.two", "mode": "off"}))).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/mode"]));
    app.stop().await;
}

fn change(members: &Value) -> RuleChange {
    serde_json::from_value(members.clone()).unwrap()
}

#[tokio::test]
async fn test_fields_are_compared_with_what_the_trigger_says_of_its_events() {
    let app = TestApp::start().await;
    let mut files = demo::files();
    let alert = "ref: demo.alert\nparameters:\n  team: {type: string}\nout_schema:\n  type: object\n  \
                 additionalProperties: false\n  properties:\n    severity: {enum: [critical, low]}\n    \
                 summary: {type: string}\n    urgent: {type: boolean}\n";
    files.insert("triggers/alert.yaml".to_owned(), alert.to_owned());
    app.admin.install_pack(demo::archive(&files), "test").await.unwrap();
    assert_eq!(app.admin.trigger("demo.alert").await.unwrap().out_schema["type"], json!("object"));
    let wrong = request(&json!({
        "conditions": [
            {"field": "event.payload.severty", "operator": "equals", "value": "critical"},
            {"field": "event.payload.severity", "operator": "equals", "value": "critcal"},
            {"field": "event.payload.urgent", "operator": "greater_than", "value": 1},
            {"field": "event.paylod.severity", "operator": "exists"},
        ],
        "action_params": {"text": "{{ event.payload.sumary }}"},
    }));
    let problem = problem(app.admin.create_rule(&wrong).await);
    let found: Vec<_> = problem
        .errors
        .iter()
        .map(|item| (item.pointer.as_deref().unwrap(), item.suggestion.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            ("/conditions/0/field", Some("event.payload.severity")),
            ("/conditions/1/value", Some("critical")),
            ("/conditions/2/operator", None),
            ("/conditions/3/field", Some("event.payload.severity")),
            ("/action_params/text", Some("event.payload.summary")),
        ]
    );
    assert_eq!(app.count("rule").await, 1, "only the pack's own");
    // A pack with a rule on another pack's trigger is told the same, with the place in its file.
    let relay = "ref: relay.on\ntrigger: demo.alert\nconditions:\n  - {field: event.payload.severty, operator: exists}\n\
                 action: demo.page\naction_params: {text: x}\n";
    let files = demo::Files::from([
        ("pack.yaml".to_owned(), "ref: relay\nversion: 1.0.0\n".to_owned()),
        ("rules/on.yaml".to_owned(), relay.to_owned()),
    ]);
    let refused = crate::app::problem(app.admin.install_pack(demo::archive(&files), "test").await);
    let item = &refused.errors[0];
    assert_eq!((item.file.as_deref(), item.line, item.column), (Some("rules/on.yaml"), Some(4), Some(13)));
    // `event.payload.severty`
    assert_eq!(item.end.map(|end| (end.line, end.column)), Some((4, 34)));
    assert_eq!(item.pointer.as_deref(), Some("/conditions/0/field"));
    app.stop().await;
}

#[tokio::test]
async fn test_settings_without_effect_and_masks_are_refused() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let wrong = request(&json!({"condition": "any", "conditions": []}));
    assert_eq!(pointers(&problem(app.admin.create_rule(&wrong).await)), ["/condition"]);
    let wrong = request(&json!({"mode": "shadw", "action_params": {"text": "x", "token": "********"}}));
    let refused = problem(app.admin.create_rule(&wrong).await);
    let mut found = pointers(&refused);
    found.sort_unstable();
    assert_eq!(found, ["/action_params/token", "/mode"]);
    let exists = json!({"field": "event.payload.a", "operator": "exists"});
    let wrong = request(&json!({"conditions": [exists, exists]}));
    assert_eq!(pointers(&problem(app.admin.create_rule(&wrong).await)), ["/conditions/1"]);
    app.stop().await;
}

#[tokio::test]
async fn test_a_change_says_only_what_differs() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let secret = json!({"label": "Mine", "action_params": {"text": "x", "token": "hunter2"}});
    app.admin.create_rule(&request(&secret)).await.unwrap();
    let other = change(&json!({"mode": "shadow", "conditions": [], "label": null, "description": "New"}));
    let changed = app.admin.change_rule("mine.rule", &other).await.unwrap();
    assert_eq!((changed.version, changed.mode.as_str(), changed.label), (2, "shadow", None));
    assert_eq!((changed.conditions, changed.description.as_deref()), (json!([]), Some("New")));
    let stored: Value = sqlx::query_scalar("select action_params from attune.rule where ref = 'mine.rule'")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(stored["token"], "hunter2", "what is not given stays, secrets too");
    for (members, pointer) in [
        (
            json!({"conditions": [{"field": "event.payload.a", "operator": "equls", "value": 1}]}),
            "/conditions/0/operator",
        ),
        (json!({"action": "demo.pag"}), "/action"),
        (json!({"action_params": {"text": "x", "txt": 1}}), "/action_params/txt"),
        (json!({"mode": "off"}), "/mode"),
        (json!({"condition": "some"}), "/condition"),
    ] {
        let refused = problem(app.admin.change_rule("mine.rule", &change(&members)).await);
        assert_eq!((refused.status, pointers(&refused)), (422, vec![pointer]), "{members}");
    }
    assert_eq!(app.admin.rule("mine.rule").await.unwrap().version, 2);
    app.stop().await;
}

#[tokio::test]
async fn test_a_rule_can_be_disabled_whatever_its_trigger_says_now() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    app.admin.create_rule(&request(&json!({}))).await.unwrap();
    sqlx::query("update attune.trigger set out_schema = '{\"properties\": {\"severity\": false}}' where ref = 'demo.alert'")
        .execute(app.pool())
        .await
        .unwrap();
    let off = change(&json!({"enabled": false, "label": "Off"}));
    assert!(!app.admin.change_rule("mine.rule", &off).await.unwrap().enabled);
    let content = change(&json!({"action_params": {"text": "y"}}));
    assert_eq!(
        pointers(&problem(app.admin.change_rule("mine.rule", &content).await)),
        ["/conditions/0/field"]
    );
    app.stop().await;
}

#[tokio::test]
async fn test_a_rule_is_replaced_and_removed_only_as_the_caller_saw_it() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    app.admin.create_rule(&request(&json!({"label": "Mine"}))).await.unwrap();
    let (_, tag) = app.admin.rule_with_tag("mine.rule").await.unwrap();
    let whole = request(&json!({"conditions": [], "trigger": "demo.open", "trigger_params": {}}));
    let replaced = app.admin.replace_rule(&whole, tag.as_deref()).await.unwrap();
    assert_eq!((replaced.version, replaced.label, replaced.trigger.as_str()), (2, None, "demo.open"));
    let (_, other) = app.admin.rule_with_tag("mine.rule").await.unwrap();
    assert_ne!(tag, other);
    let stale = problem(app.admin.replace_rule(&whole, tag.as_deref()).await);
    assert_eq!((stale.status, stale.kind.as_str()), (412, "/problems/changed-since"));
    assert_eq!(problem(app.admin.delete_rule("mine.rule", tag.as_deref()).await).status, 412);
    let patch = app.as_admin(Method::PATCH, "/api/v1/rules/mine.rule").header("if-match", tag.unwrap());
    assert_eq!(patch.json(&json!({"enabled": false})).send().await.unwrap().status(), 412);
    app.admin.replace_rule(&whole, other.as_deref()).await.unwrap();
    app.admin.delete_rule("mine.rule", other.as_deref()).await.unwrap();
    assert_eq!(problem(app.admin.delete_rule("mine.rule", None).await).status, 404);
    assert_eq!(problem(app.admin.replace_rule(&whole, None).await).status, 404);
    let renamed = app.as_admin(Method::PUT, "/api/v1/rules/demo.page_on_alert").json(&whole).send().await;
    assert_eq!(renamed.unwrap().status(), 409, "a rule of a pack");
    app.stop().await;
}

#[tokio::test]
async fn test_rules_of_packs_change_with_their_pack() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let refused = problem(app.admin.delete_rule("demo.page_on_alert", None).await);
    assert_eq!(refused.status, 409);
    assert!(refused.detail.contains("belongs to the pack demo"), "{}", refused.detail);
    let content = change(&json!({"conditions": []}));
    let changed = app.admin.change_rule("demo.page_on_alert", &content).await.unwrap();
    assert_eq!((changed.conditions, changed.pack.as_deref()), (json!([]), Some("demo")));
    let faulty = change(&json!({"action_params": {"txt": "x"}}));
    assert_eq!(problem(app.admin.change_rule("demo.page_on_alert", &faulty).await).status, 422);
    let switches = change(&json!({"enabled": false, "mode": "shadow"}));
    let changed = app.admin.change_rule("demo.page_on_alert", &switches).await.unwrap();
    assert_eq!((changed.enabled, changed.mode.as_str()), (false, "shadow"));
    app.stop().await;
}

#[tokio::test]
async fn test_history_tells_what_changed() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    app.admin
        .create_rule(&request(&json!({"action_params": {"text": "x", "token": "hunter2"}})))
        .await
        .unwrap();
    let off = change(&json!({"enabled": false, "label": "Off"}));
    app.admin.change_rule("mine.rule", &off).await.unwrap();
    let token = change(&json!({"action_params": {"text": "x", "token": "hunter3"}}));
    app.admin.change_rule("mine.rule", &token).await.unwrap();
    app.admin.delete_rule("mine.rule", None).await.unwrap();
    let page = app.admin.rule_versions("mine.rule", &[]).await.unwrap();
    let shown: Vec<_> =
        page.items.iter().map(|item| (item.version, item.removed, item.changes.len())).collect();
    assert_eq!(shown, [(4, true, 0), (3, false, 1), (2, false, 2), (1, false, 0)]);
    let enabled = &page.items[2].changes[1];
    assert_eq!(
        (enabled.member.as_str(), &enabled.before, &enabled.after),
        ("enabled", &json!(true), &json!(false))
    );
    assert_eq!(page.items[1].changes[0].member, "action_params");
    assert!(!serde_json::to_string(&page.items).unwrap().contains("hunter"), "secrets are masked");
    assert!(page.items.windows(2).all(|pair| pair[0].rule_set_version > pair[1].rule_set_version));
    // The last of a page is compared with what comes after it.
    let first = app.admin.rule_versions("mine.rule", &[("limit", "2".to_owned())]).await.unwrap();
    assert_eq!(first.items[1].changes.len(), 1);
    let query = [("cursor", first.next_cursor.unwrap())];
    assert_eq!(app.admin.rule_versions("mine.rule", &query).await.unwrap().items.len(), 2);
    assert_eq!(problem(app.admin.rule_versions("no.such", &[]).await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_windows_are_stored_as_written_and_checked_with_the_rule() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let window = json!({"throttle": "15m", "key": "{{ event.payload.host }}"});
    let params = json!({"text": "{{ window.count }}"});
    let rule = request(&json!({"window": window, "action_params": params}));
    assert_eq!(app.admin.create_rule(&rule).await.unwrap().window, Some(window.clone()));
    assert_eq!(app.admin.rule("mine.rule").await.unwrap().window, Some(window));
    assert_eq!(app.admin.rule("demo.page_on_alert").await.unwrap().window, None);
    let wrong = request(&json!({
        "ref": "mine.other",
        "window": {"count": {"at_least": 1, "within": "10m"}, "kye": "{{ event.id }}"},
        "action_params": params,
    }));
    let problem = problem(app.admin.create_rule(&wrong).await);
    assert_eq!(problem.status, 422);
    let mut found = pointers(&problem);
    found.sort_unstable();
    assert_eq!(found, ["/window/count/at_least", "/window/kye"]);
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
