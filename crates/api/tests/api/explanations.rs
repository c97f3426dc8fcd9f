//! Why rules fired on an event, or did not. The matching itself is played here, as the executor records it; that both agree
//! is shown with a whole system in `crates/cli/tests/system`.

use std::collections::BTreeMap;

use attune_client::types::{EventExplanation, EventRequest, RuleChange, RuleExplanation, RuleRequest};
use attune_common::models::enforcement::{ConditionMode, Decision, DecisionOutcome};
use attune_common::models::trigger::NewTrigger;
use attune_common::models::window::WindowOutcome;
use attune_common::repositories::{
    ActionRepository, EnforcementRepository, EventRepository, RuleRepository, RuleSetRepository,
    TriggerRepository, WindowRepository,
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::app::{TestApp, grant, problem};
use crate::demo;

async fn rule(app: &TestApp, name: &str, changes: &Value) {
    let mut rule = json!({
        "ref": format!("mine.{name}"), "trigger": "demo.alert", "action": "demo.page",
        "conditions": [{"field": "event.payload.used", "operator": "greater_than", "value": 90}],
        "action_params": {"text": "{{ event.payload.summary }}"},
    });
    for (member, value) in changes.as_object().unwrap() {
        rule[member] = value.clone();
    }
    let request: RuleRequest = serde_json::from_value(rule).unwrap();
    app.admin.create_rule(&request).await.unwrap();
}

async fn event(app: &TestApp, payload: Value) -> i64 {
    let request = EventRequest {
        trigger: "demo.alert".to_owned(),
        payload,
        dedup_key: None,
        config: Some(json!({"team": "ops"})),
    };
    app.admin.create_event(&request).await.unwrap().event
}

/// Records that the rule decided so about the event.
async fn decide(app: &TestApp, event: i64, rule_ref: &str, error: Option<&str>) {
    let rule = RuleRepository::get_by_ref(app.pool(), rule_ref).await.unwrap();
    let action = ActionRepository::get_by_ref(app.pool(), "demo.page").await.unwrap();
    let decision = Decision {
        event,
        rule: rule.id,
        rule_ref: rule.r#ref,
        trigger_ref: rule.trigger_ref,
        config: json!({"rule_version": rule.version, "action": "demo.page"}).into(),
        parameters: json!({}),
        keyed: None,
        condition: ConditionMode::All,
        conditions: json!([]).into(),
        outcome: match error {
            Some(error) => DecisionOutcome::Fail { error: error.to_owned() },
            None => DecisionOutcome::Execute { action: action.id, action_ref: action.r#ref },
        },
        mode: rule.mode,
        retry: None,
        trace_id: None,
    };
    let mut connection = app.pool().acquire().await.unwrap();
    EnforcementRepository::record_decisions(&mut connection, &[decision]).await.unwrap();
}

/// Marks the event as matched by the rules of now, with this time.
async fn matched(app: &TestApp, event: i64, time: DateTime<Utc>) {
    let version = RuleSetRepository::version(app.pool()).await.unwrap();
    EventRepository::mark_matched(app.pool(), &[event], version, time).await.unwrap();
}

async fn explained(app: &TestApp, event: i64, query: &[(&str, &str)]) -> EventExplanation {
    let query: Vec<_> = query.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    app.admin.explain_event(event, &query).await.unwrap()
}

async fn one(app: &TestApp, event: i64, rule_ref: &str) -> RuleExplanation {
    let mut found = explained(app, event, &[("rule", rule_ref)]).await.rules;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[tokio::test]
async fn test_each_rule_is_explained_as_it_was_when_the_event_was_matched() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    rule(&app, "fires", &json!({})).await;
    rule(
        &app,
        "false",
        &json!({"conditions": [{"field": "event.payload.used", "operator": "less_than", "value": 90}]}),
    )
    .await;
    rule(
        &app,
        "missing",
        &json!({"conditions": [{"field": "event.payload.usd", "operator": "exists"},
        {"field": "event.payload.usd", "operator": "equals", "value": 1}]}),
    )
    .await;
    rule(
        &app,
        "error",
        &json!({"conditions": [{"field": "event.payload.summary", "operator": "less_than", "value": 1}]}),
    )
    .await;
    rule(&app, "rendering", &json!({"action_params": {"text": "{{ event.payload.sumary }}"}})).await;
    rule(&app, "other_team", &json!({"trigger_params": {"team": "dev"}})).await;
    rule(&app, "disabled", &json!({"enabled": false})).await;
    rule(&app, "shadow", &json!({"mode": "shadow"})).await;
    rule(&app, "broken", &json!({})).await;
    let event = event(&app, json!({"used": 95, "summary": "disk", "severity": "low"})).await;
    decide(&app, event, "mine.fires", None).await;
    decide(&app, event, "mine.error", Some("a condition cannot be judged")).await;
    decide(&app, event, "mine.rendering", Some("the parameters cannot be rendered")).await;
    decide(&app, event, "mine.broken", Some("the action demo.page is disabled")).await;
    decide(&app, event, "mine.shadow", None).await;
    sqlx::query("delete from attune.execution where enforcement = (select id from attune.enforcement where rule_ref = 'mine.shadow')")
        .execute(app.pool()).await.unwrap();
    sqlx::query("update attune.enforcement set status = 'disabled' where rule_ref = 'mine.shadow'")
        .execute(app.pool())
        .await
        .unwrap();
    matched(&app, event, Utc::now()).await;
    // What happens afterwards is not what it was judged by.
    let other = RuleChange { conditions: Some(json!([])), ..RuleChange::default() };
    app.admin.change_rule("mine.false", &other).await.unwrap();
    let on = RuleChange { enabled: Some(true), ..RuleChange::default() };
    app.admin.change_rule("mine.disabled", &on).await.unwrap();
    app.admin.delete_rule("mine.missing", None).await.unwrap();
    rule(&app, "later", &json!({})).await;

    let explanation = explained(&app, event, &[]).await;
    assert_eq!(explanation.reason, "1 of 10 rules fired, 3 failed");
    assert!(explanation.matched.is_some() && explanation.next_cursor.is_none());
    let rules: BTreeMap<&str, &RuleExplanation> =
        explanation.rules.iter().map(|rule| (rule.rule.as_str(), rule)).collect();
    let outcomes: Vec<_> = rules.iter().map(|(name, rule)| (*name, rule.outcome.as_str())).collect();
    assert_eq!(
        outcomes,
        [
            ("demo.page_on_alert", "not_fired"),
            ("mine.broken", "failed"),
            ("mine.disabled", "disabled"),
            ("mine.error", "failed"),
            ("mine.false", "not_fired"),
            ("mine.fires", "fired"),
            ("mine.missing", "not_fired"),
            ("mine.other_team", "not_listening"),
            ("mine.rendering", "failed"),
            ("mine.shadow", "shadowed"),
        ]
    );
    let verdicts = |name: &str| -> Vec<&str> {
        rules[name].conditions.iter().map(|condition| condition.verdict.as_str()).collect()
    };
    assert_eq!(verdicts("mine.false"), ["false"]);
    assert_eq!(verdicts("mine.missing"), ["false", "missing"]);
    assert_eq!(verdicts("mine.error"), ["error"]);
    let condition = &rules["mine.fires"].conditions[0];
    assert_eq!(
        (condition.pointer.as_str(), condition.field.as_str()),
        ("/conditions/0", "event.payload.used")
    );
    assert_eq!((&condition.expected, &condition.actual), (&Some(json!(90)), &Some(json!(95))));
    let enforcement = rules["mine.fires"].enforcement.as_ref().unwrap();
    assert_eq!((enforcement.executions.len(), enforcement.executions[0].status.as_str()), (1, "scheduled"));
    assert_eq!(rules["mine.fires"].action_params, Some(json!({"text": "disk"})));
    let rendering = rules["mine.rendering"].action_params_error.as_ref().unwrap();
    assert_eq!(rendering.pointer, "/action_params/text");
    assert_eq!(rules["mine.rendering"].enforcement.as_ref().unwrap().executions.len(), 0);
    assert_eq!(rules["mine.broken"].reason, "the action demo.page is disabled");
    assert_eq!(rules["mine.disabled"].reason, "the rule was disabled; otherwise it would have fired");
    assert_eq!(
        (rules["mine.shadow"].mode.as_deref(), rules["mine.shadow"].version),
        (Some("shadow"), Some(1))
    );
    let listening: Vec<_> =
        rules["mine.other_team"].trigger.iter().map(|test| test.verdict.as_str()).collect();
    assert_eq!(listening, ["true", "false"]);
    app.stop().await;
}

#[tokio::test]
async fn test_an_event_that_waits_says_so() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let event = event(&app, json!({})).await;
    let explanation = explained(&app, event, &[]).await;
    assert_eq!((explanation.matched, explanation.rules.len()), (None, 0));
    assert_eq!(explanation.reason, "the event waits to be matched: no rule has judged it yet");
    let query = [("rule", "no.such".to_owned())];
    assert_eq!(problem(app.admin.explain_event(event, &query).await).status, 404);
    assert_eq!(problem(app.admin.explain_event(99, &[]).await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_a_rule_that_was_asked_for_is_explained_whatever_became_of_it() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    rule(&app, "before", &json!({})).await;
    rule(&app, "gone", &json!({})).await;
    rule(&app, "elsewhere", &json!({"trigger": "demo.open", "trigger_params": {}})).await;
    app.admin.delete_rule("mine.before", None).await.unwrap();
    let event = event(&app, json!({"used": 95, "summary": "x"})).await;
    matched(&app, event, Utc::now()).await;
    app.admin.delete_rule("mine.gone", None).await.unwrap();
    rule(&app, "later", &json!({})).await;
    // Made again under its name, it is another rule.
    rule(&app, "gone", &json!({"conditions": []})).await;

    let names: Vec<_> = explained(&app, event, &[]).await.rules.into_iter().map(|rule| rule.rule).collect();
    assert_eq!(names, ["demo.page_on_alert", "mine.gone"]);
    let later = one(&app, event, "mine.later").await;
    assert_eq!((later.outcome.as_str(), later.version), ("absent", None));
    assert!(
        later.reason.starts_with("the rule was made at 20")
            && later.reason.ends_with("after the event was matched")
    );
    let before = one(&app, event, "mine.before").await;
    assert_eq!(before.outcome, "absent");
    assert!(before.reason.starts_with("the rule was removed at 20"), "{}", before.reason);
    let gone = one(&app, event, "mine.gone").await;
    assert_eq!((gone.conditions.len(), gone.outcome.as_str()), (1, "unrecorded"));
    let elsewhere = one(&app, event, "mine.elsewhere").await;
    assert_eq!(elsewhere.outcome, "other_trigger");
    assert_eq!(elsewhere.reason, "the rule listens to demo.open; this event is of demo.alert");
    let query = [("rule", "mine.never".to_owned())];
    let never = problem(app.admin.explain_event(event, &query).await);
    assert_eq!((never.status, never.detail.as_str()), (404, "rule mine.never does not exist, and never did"));
    app.stop().await;
}

#[tokio::test]
async fn test_rules_of_a_removed_pack_are_still_explained() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let event = event(&app, json!({"severity": "low"})).await;
    matched(&app, event, Utc::now()).await;
    app.admin.remove_pack("demo").await.unwrap();
    let rule = one(&app, event, "demo.page_on_alert").await;
    assert_eq!((rule.outcome.as_str(), rule.version), ("not_fired", Some(1)));
    assert_eq!(rule.conditions[0].actual, Some(json!("low")));
    // Nobody knows any more what of the configuration and of the parameters is secret.
    assert_eq!(rule.trigger[1].actual, Some(json!("********")));
    app.stop().await;
}

#[tokio::test]
async fn test_time_is_that_of_the_matching() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let fresh = json!([{"field": "event.payload.at", "operator": "younger_than", "value": "5m"}]);
    rule(&app, "fresh", &json!({"conditions": fresh})).await;
    let event = event(&app, json!({"at": "2020-01-01T12:00:00Z", "summary": "x"})).await;
    matched(&app, event, "2020-01-01T12:04:59Z".parse().unwrap()).await;
    assert_eq!(one(&app, event, "mine.fresh").await.conditions[0].verdict, "true");
    app.stop().await;
}

#[tokio::test]
async fn test_secrets_of_the_trigger_are_masked_wherever_they_turn_up() {
    const SECRET: &str = "hunter2-of-the-trigger";
    let app = TestApp::start().await;
    demo::install(&app).await;
    let trigger = NewTrigger {
        r#ref: "mine.signed".into(),
        label: None,
        description: None,
        enabled: true,
        param_schema: json!({
            "type": "object", "additionalProperties": false,
            "properties": {"token": {"type": "string", "secret": true}, "team": {"type": "string"}},
        }),
        out_schema: json!({}),
        webhook: None,
    };
    TriggerRepository::create(app.pool(), None, &trigger).await.unwrap();
    let test = |field: &str, value: &str| json!({"field": field, "operator": "equals", "value": value});
    rule(
        &app,
        "peeks",
        &json!({
            "trigger": "mine.signed",
            "trigger_params": {"token": SECRET},
            "conditions": [
                test("trigger.config.token", "guess"),
                test("event.payload.said", "{{ trigger.config.token }}"),
                {"field": "trigger.config", "operator": "contains", "value": "nothing"},
                test("trigger.config.team", "ops"),
                {"field": "trigger.config.token", "operator": "version_equals", "value": "1.2.3"},
                "{{ trigger.config.token ~ '!' }}",
            ],
            "action_params": {"text": "{{ trigger.config.token }}", "token": "{{ event.payload.said }}"},
        }),
    )
    .await;
    let request = EventRequest {
        trigger: "mine.signed".to_owned(),
        payload: json!({"said": SECRET}),
        dedup_key: None,
        config: Some(json!({"token": SECRET, "team": "ops"})),
    };
    let event = app.admin.create_event(&request).await.unwrap().event;
    matched(&app, event, Utc::now()).await;
    let explanation = explained(&app, event, &[]).await;
    let text = serde_json::to_string(&explanation).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    let rule = &explanation.rules[0];
    let verdicts: Vec<_> = rule.conditions.iter().map(|condition| condition.verdict.as_str()).collect();
    assert_eq!(verdicts, ["false", "true", "false", "true", "error", "error"]);
    assert_eq!(rule.conditions[3].actual, Some(json!("ops")), "what is not secret is shown");
    assert_eq!(rule.action_params, Some(json!({"text": "********", "token": "********"})));
    app.stop().await;
}

#[tokio::test]
async fn test_rules_are_explained_only_to_those_who_may_read_them() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let event = event(&app, json!({})).await;
    let client = app.client_with("watcher", vec![grant("event", &["read"])]).await;
    assert_eq!(problem(client.explain_event(event, &[]).await).status, 403);
    let client = app.client_with("reader", vec![grant("event", &["read"]), grant("rule", &["read"])]).await;
    client.explain_event(event, &[]).await.unwrap();
    app.stop().await;
}

#[tokio::test]
async fn test_rules_come_in_pages() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    for name in ["c", "a", "b"] {
        rule(&app, name, &json!({})).await;
    }
    let event = event(&app, json!({})).await;
    matched(&app, event, Utc::now()).await;
    let first = explained(&app, event, &[("limit", "3")]).await;
    assert_eq!(first.reason, "0 of these 3 rules fired");
    let cursor = first.next_cursor.unwrap();
    let second = explained(&app, event, &[("limit", "3"), ("cursor", &cursor)]).await;
    let names: Vec<_> = first.rules.iter().chain(&second.rules).map(|rule| rule.rule.as_str()).collect();
    assert_eq!(names, ["demo.page_on_alert", "mine.a", "mine.b", "mine.c"]);
    assert_eq!(second.next_cursor, None);
    let wrong = app.admin.explain_event(event, &[("cursor", "17".to_owned())]).await;
    assert_eq!(problem(wrong).status, 400);
    app.stop().await;
}

#[tokio::test]
async fn test_a_window_that_held_a_rule_says_so() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    rule(&app, "throttled", &json!({"window": {"throttle": "15m"}})).await;
    let event = event(&app, json!({"used": 95, "summary": "disk"})).await;
    let stored = RuleRepository::get_by_ref(app.pool(), "mine.throttled").await.unwrap();
    let held = WindowOutcome {
        event,
        rule: stored.id,
        key: "web-01".to_owned(),
        outcome: json!({"outcome": "held", "by": 7, "until": "2026-11-26T12:15:00Z"}),
    };
    WindowRepository::record_outcomes(app.pool(), &[held]).await.unwrap();
    matched(&app, event, Utc::now()).await;
    let rule = one(&app, event, "mine.throttled").await;
    let reason = "held: event 7 fired, and the window is quiet until 2026-11-26T12:15:00Z";
    assert_eq!((rule.outcome.as_str(), rule.reason.as_str()), ("held", reason));
    let window = rule.window.unwrap();
    assert_eq!((window.passed, &window.state["key"]), (false, &json!("web-01")));
    app.stop().await;
}

#[tokio::test]
async fn test_the_window_of_a_rule_is_changed_and_part_of_its_history() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    rule(&app, "windowed", &json!({"window": {"throttle": "15m"}})).await;
    let change: RuleChange = serde_json::from_value(json!({"window": {"throttle": "1h"}})).unwrap();
    app.admin.change_rule("mine.windowed", &change).await.unwrap();
    let change: RuleChange = serde_json::from_value(json!({"window": null})).unwrap();
    assert_eq!(app.admin.change_rule("mine.windowed", &change).await.unwrap().window, None);
    let versions = app.admin.rule_versions("mine.windowed", &[]).await.unwrap().items;
    let changed: Vec<_> =
        versions.iter().flat_map(|version| &version.changes).map(|change| change.member.as_str()).collect();
    assert_eq!(changed, ["window", "window"]);
    let change: RuleChange = serde_json::from_value(json!({"window": {"throtle": "1h"}})).unwrap();
    assert_eq!(problem(app.admin.change_rule("mine.windowed", &change).await).status, 422);
    app.stop().await;
}
