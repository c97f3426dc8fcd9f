//! Events and what comes of them.

use attune_client::types::EventRequest;
use attune_common::models::enforcement::{ConditionMode, Decision, DecisionOutcome};
use attune_common::models::rule::RuleMode;
use attune_common::models::window::{ContributingEvents, WindowOutcome};
use attune_common::repositories::{
    ActionRepository, EnforcementRepository, EventRepository, RuleRepository, WindowRepository,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{TestApp, pointers, problem};
use crate::demo;

fn alert(payload: Value) -> EventRequest {
    EventRequest { trigger: "demo.alert".into(), payload, dedup_key: None, config: None }
}

#[tokio::test]
async fn test_create_and_show() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let request =
        EventRequest { config: Some(json!({"team": "ops"})), ..alert(json!({"severity": "critical"})) };
    let accepted = app.admin.create_event(&request).await.unwrap();
    assert!(!accepted.duplicate);
    let shown = app.admin.event(accepted.event).await.unwrap();
    assert_eq!(shown.event.payload, json!({"severity": "critical"}));
    assert_eq!(shown.event.config, json!({"team": "ops"}));
    assert_eq!((shown.matched, shown.enforcements.len()), (None, 0));
    assert_eq!(shown.event.trace_id.map(|trace| trace.len()), Some(32));
    app.stop().await;
}

#[tokio::test]
async fn test_the_same_dedup_key_is_the_same_event() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let request = EventRequest { dedup_key: Some("a".into()), ..alert(json!({})) };
    let first = app.admin.create_event(&request).await.unwrap();
    let second = app.admin.create_event(&request).await.unwrap();
    assert_eq!((second.event, second.duplicate), (first.event, true));
    assert_eq!(app.count("event").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn test_what_is_wrong_is_refused_and_nothing_is_stored() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let unknown = problem(
        app.admin.create_event(&EventRequest { trigger: "demo.alrt".into(), ..alert(json!({})) }).await,
    );
    assert_eq!((unknown.status, pointers(&unknown)), (422, vec!["/trigger"]));
    assert_eq!(unknown.errors[0].suggestion.as_deref(), Some("demo.alert"));
    let config = EventRequest { config: Some(json!({"team": 7, "tam": "x"})), ..alert(json!({})) };
    let config = problem(app.admin.create_event(&config).await);
    assert_eq!((config.status, pointers(&config)), (422, vec!["/config/tam", "/config/team"]));
    for key in [String::new(), "x".repeat(256), "a\u{0}".to_owned()] {
        let request = EventRequest { dedup_key: Some(key), ..alert(json!({})) };
        let refused = problem(app.admin.create_event(&request).await);
        assert_eq!((refused.status, pointers(&refused)), (422, vec!["/dedup_key"]));
    }
    let nul = problem(app.admin.create_event(&alert(json!({"a": "\u{0}"}))).await);
    assert_eq!((nul.status, pointers(&nul)), (422, vec!["/payload/a"]));
    sqlx::query("update attune.trigger set enabled = false").execute(app.pool()).await.unwrap();
    assert_eq!(problem(app.admin.create_event(&alert(json!({}))).await).status, 409);
    let missing =
        app.as_admin(Method::POST, "/api/v1/events").json(&json!({"payload": 1})).send().await.unwrap();
    crate::app::problem_of(missing, 422).await;
    assert_eq!(app.count("event").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn test_events_that_come_together_are_stored_in_their_order() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let keyed = |key: &str, n: u64| EventRequest { dedup_key: Some(key.into()), ..alert(json!({"n": n})) };
    let requests = [alert(json!({"n": 0})), keyed("a", 1), keyed("a", 2), alert(json!({"n": 3}))];
    let answers = app.admin.create_events(&requests).await.unwrap();
    assert_eq!(
        answers.iter().map(|answer| answer.duplicate).collect::<Vec<_>>(),
        [false, false, true, false]
    );
    assert_eq!(answers[2].event, answers[1].event);
    assert!(answers[0].event < answers[1].event && answers[1].event < answers[3].event);
    let stored = app.admin.event(answers[3].event).await.unwrap().event;
    assert_eq!((stored.payload, stored.config), (json!({"n": 3}), json!({})));
    assert_eq!(app.count("event").await, 3);
    assert_eq!(app.admin.create_events(&[]).await.unwrap().len(), 0);
    app.stop().await;
}

#[tokio::test]
async fn test_of_events_that_come_together_none_is_stored_when_one_is_wrong() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let requests = [
        alert(json!({})),
        EventRequest { trigger: "demo.alrt".into(), ..alert(json!({})) },
        EventRequest { config: Some(json!({"team": 7})), ..alert(json!({})) },
        alert(json!(["\u{0}"])),
        EventRequest { dedup_key: Some(String::new()), ..alert(json!({})) },
    ];
    let refused = problem(app.admin.create_events(&requests).await);
    assert_eq!(
        (refused.status, pointers(&refused)),
        (422, vec!["/1/trigger", "/2/config/team", "/3/payload/0", "/4/dedup_key"])
    );
    assert_eq!(refused.errors[0].suggestion.as_deref(), Some("demo.alert"));
    let many = vec![alert(json!({})); 1001];
    let refused = problem(app.admin.create_events(&many).await);
    assert_eq!(refused.detail, "1001 events are too many for one request; send 1000 at most");
    sqlx::query("update attune.trigger set enabled = false").execute(app.pool()).await.unwrap();
    let disabled = problem(app.admin.create_events(&requests[..1]).await);
    assert_eq!((disabled.status, pointers(&disabled)), (422, vec!["/0/trigger"]));
    assert_eq!(app.count("event").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn test_pages_follow_each_other_without_gap_or_repeat() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let mut created = Vec::new();
    for number in 0..5 {
        created.push(app.admin.create_event(&alert(json!(number))).await.unwrap().event);
    }
    created.reverse();
    let (mut seen, mut sizes, mut cursor) = (Vec::new(), Vec::new(), None);
    loop {
        let mut query = vec![("trigger", "demo.alert".to_owned()), ("limit", "2".to_owned())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page = app.admin.events(&query).await.unwrap();
        sizes.push(page.items.len());
        seen.extend(page.items.iter().map(|event| event.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen, sizes), (created, vec![2, 2, 1]));
    let other = app.admin.events(&[("trigger", "demo.open".to_owned())]).await.unwrap();
    assert!(other.items.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn test_an_event_shows_its_enforcements_and_executions() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let event = app.admin.create_event(&alert(json!({"summary": "disk"}))).await.unwrap().event;
    let rule = RuleRepository::get_by_ref(app.pool(), "demo.page_on_alert").await.unwrap();
    let action = ActionRepository::get_by_ref(app.pool(), "demo.page").await.unwrap();
    let decision = Decision {
        event,
        rule: rule.id,
        rule_ref: rule.r#ref,
        trigger_ref: rule.trigger_ref,
        config: json!({"rule_version": 1, "action": "demo.page"}).into(),
        parameters: json!({"text": "disk", "retries": 3, "token": "hunter2"}),
        keyed: None,
        condition: ConditionMode::All,
        conditions: json!([]).into(),
        mode: RuleMode::Active,
        retry: None,
        outcome: DecisionOutcome::Execute { action: action.id, action_ref: action.r#ref },
        trace_id: None,
    };
    let mut connection = app.pool().acquire().await.unwrap();
    EnforcementRepository::record_decisions(&mut connection, &[decision]).await.unwrap();
    EventRepository::mark_matched(&mut *connection, &[event], 1, chrono::Utc::now()).await.unwrap();
    let shown = app.admin.event(event).await.unwrap();
    assert!(shown.matched.is_some());
    let [detail] = shown.enforcements.as_slice() else { panic!("{:?}", shown.enforcements) };
    assert_eq!(detail.enforcement.payload, json!({"text": "disk", "retries": 3, "token": "********"}));
    let [link] = detail.executions.as_slice() else { panic!("{:?}", detail.executions) };
    assert_eq!((link.action.as_str(), link.status.as_str()), ("demo.page", "scheduled"));
    let execution = app.admin.execution(link.id).await.unwrap();
    let chain = execution.chain.unwrap();
    assert_eq!((chain.rule.as_str(), chain.event), ("demo.page_on_alert", Some(event)));
    assert_eq!(execution.execution.parameters["token"], "********");
    for (name, value) in [("event", event.to_string()), ("rule", "demo.page_on_alert".to_owned())] {
        let found = app.admin.enforcements(&[(name, value)]).await.unwrap().items;
        assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), [detail.enforcement.id]);
    }
    let single = app.admin.enforcement(detail.enforcement.id).await.unwrap();
    assert_eq!((single.executions[0].id, single.events), (link.id, vec![event]));
    let found = app.admin.executions(&[("event", event.to_string())]).await.unwrap().items;
    assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), [link.id]);
    app.stop().await;
}

#[tokio::test]
async fn test_parameters_of_an_action_that_is_gone_are_masked_altogether() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let id = crate::executions::start_page(&app).await;
    app.admin.remove_pack("demo").await.unwrap();
    let shown = app.admin.execution(id).await.unwrap();
    assert_eq!(shown.execution.parameters, json!({"text": "********", "retries": "********"}));
    let listed = app.admin.executions(&[]).await.unwrap().items;
    assert_eq!(listed[0].parameters, shown.execution.parameters);
    app.stop().await;
}

#[tokio::test]
async fn test_an_event_that_contributed_shows_the_decision_and_what_the_window_made_of_it() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let first = app.admin.create_event(&alert(json!({"summary": "one"}))).await.unwrap().event;
    let last = app.admin.create_event(&alert(json!({"summary": "two"}))).await.unwrap().event;
    let rule = RuleRepository::get_by_ref(app.pool(), "demo.page_on_alert").await.unwrap();
    let decision = Decision {
        event: last,
        rule: rule.id,
        rule_ref: rule.r#ref,
        trigger_ref: rule.trigger_ref,
        config: json!({"rule_version": 1, "action": "demo.page"}).into(),
        parameters: json!({}),
        keyed: None,
        condition: ConditionMode::All,
        conditions: json!([]).into(),
        outcome: DecisionOutcome::Fail { error: "for a test".to_owned() },
        mode: rule.mode,
        retry: None,
        trace_id: None,
    };
    let mut connection = app.pool().acquire().await.unwrap();
    EnforcementRepository::record_decisions(&mut connection, &[decision]).await.unwrap();
    let link = ContributingEvents { rule: rule.id, event: last, contributing: vec![first, last] };
    EnforcementRepository::link_events(&mut *connection, &[link]).await.unwrap();
    let outcome = WindowOutcome {
        event: first,
        rule: rule.id,
        key: "web-01".to_owned(),
        outcome: json!({"outcome": "counted", "count": 1, "at_least": 2}),
    };
    WindowRepository::record_outcomes(&mut *connection, &[outcome]).await.unwrap();
    let shown = app.admin.event(first).await.unwrap();
    let [detail] = shown.enforcements.as_slice() else { panic!("{:?}", shown.enforcements) };
    assert_eq!((detail.enforcement.event, &detail.events), (Some(last), &vec![first, last]));
    let [window] = shown.windows.as_slice() else { panic!("{:?}", shown.windows) };
    assert_eq!((window.rule.as_str(), window.key.as_str()), ("demo.page_on_alert", "web-01"));
    assert_eq!((window.text.as_str(), &window.outcome["count"]), ("counted: 1 of 2", &json!(1)));
    assert!(app.admin.event(last).await.unwrap().windows.is_empty());
    let single = app.admin.enforcement(detail.enforcement.id).await.unwrap();
    assert_eq!(single.events, [first, last]);
    let found = app.admin.enforcements(&[("event", first.to_string())]).await.unwrap().items;
    assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), [detail.enforcement.id]);
    app.stop().await;
}
