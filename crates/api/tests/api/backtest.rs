//! Rules tried on recorded events, next to the database.

use attune_client::types::{BacktestReport, BacktestRequest, EventRequest, RuleChange, RuleRequest};
use attune_client::{Client, ClientError};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{TestApp, pointers, problem};
use crate::demo;

/// The rule of the pack, with what is changed.
fn draft(changes: &Value) -> RuleRequest {
    let mut rule = json!({
        "ref": "demo.page_on_alert",
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

fn request(since: DateTime<Utc>) -> BacktestRequest {
    BacktestRequest::since(since)
}

fn of_draft(since: DateTime<Utc>, changes: &Value) -> BacktestRequest {
    BacktestRequest { rule: Some(draft(changes)), ..request(since) }
}

/// Records events of these severities, for one team or the other; gives their ids.
async fn record(app: &TestApp, events: &[(&str, &str)]) -> Vec<i64> {
    let mut ids = Vec::new();
    for (team, severity) in events {
        let event = EventRequest {
            trigger: "demo.alert".to_owned(),
            payload: json!({"severity": severity, "summary": format!("{severity} for {team}")}),
            dedup_key: None,
            config: Some(json!({ "team": team })),
        };
        ids.push(app.admin.create_event(&event).await.unwrap().event);
    }
    ids
}

async fn tried(client: &Client, request: &BacktestRequest) -> Result<BacktestReport, ClientError> {
    client.backtest(request, |_| {}).await
}

#[tokio::test]
async fn test_a_draft_is_tried_and_compared_with_the_stored_rule() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let since = Utc::now() - TimeDelta::minutes(1);
    let ids =
        record(&app, &[("ops", "critical"), ("dev", "critical"), ("ops", "warning"), ("ops", "info")]).await;
    let wider =
        json!([{"field": "event.payload.severity", "operator": "in", "value": ["critical", "warning"]}]);
    let report = tried(&app.admin, &of_draft(since, &json!({ "conditions": wider }))).await.unwrap();
    assert_eq!((report.events, report.version), (4, None));
    let counts = report.counts;
    assert_eq!((counts.fired, counts.r#false, counts.unheard), (2, 1, 1));
    let condition = &report.conditions[0];
    assert_eq!((condition.pointer.as_str(), condition.r#true, condition.r#false), ("/conditions/0", 2, 1));
    let examples: Vec<_> = report.fired_examples.iter().map(|example| example.event).collect();
    assert_eq!(examples, [ids[0], ids[2]]);
    // The defaults of the action are filled in, as they would be.
    assert_eq!(report.fired_examples[0].parameters, Some(json!({"text": "critical for ops", "retries": 3})));
    let comparison = report.comparison.unwrap();
    assert_eq!((comparison.version, comparison.live.fired), (1, 1));
    assert_eq!((comparison.both.count, comparison.changed.count), (1, 0));
    assert_eq!((comparison.only_draft.events, comparison.only_live.count), (vec![ids[2]], 0));
    assert_eq!(report.bars.iter().map(|bar| bar.fired).sum::<u64>(), 2);
    assert_eq!(report.bars.iter().filter_map(|bar| bar.live).sum::<u64>(), 1);
    // Nothing was written, and no event was matched.
    assert_eq!((app.count("enforcement").await, app.count("execution").await), (0, 0));
    app.stop().await;
}

#[tokio::test]
async fn test_stored_rules_and_old_versions_are_tried() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let since = Utc::now() - TimeDelta::minutes(1);
    record(&app, &[("ops", "critical"), ("ops", "info")]).await;
    let mine = draft(&json!({"ref": "mine.rule", "conditions": []}));
    app.admin.create_rule(&mine).await.unwrap();
    let off = RuleChange { enabled: Some(false), ..RuleChange::default() };
    app.admin.change_rule("mine.rule", &off).await.unwrap();
    let stored = BacktestRequest { rule_ref: Some("mine.rule".to_owned()), ..request(since) };
    let report = tried(&app.admin, &stored).await.unwrap();
    assert_eq!((report.version, report.counts.fired, report.comparison), (Some(2), 2, None));
    let old = BacktestRequest { version: Some(1), ..stored.clone() };
    let report = tried(&app.admin, &old).await.unwrap();
    let comparison = report.comparison.unwrap();
    assert_eq!((report.version, comparison.version, comparison.both.count), (Some(1), 2, 2));
    assert!(report.notes.iter().any(|note| note.contains("disabled")), "{:?}", report.notes);
    assert_eq!(problem(tried(&app.admin, &BacktestRequest { version: Some(9), ..stored }).await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_only_events_of_the_span_count() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let began = Utc::now();
    record(&app, &[("ops", "critical")]).await;
    let between = Utc::now();
    let second = record(&app, &[("ops", "critical")]).await;
    // Events of other triggers, before and after.
    sqlx::query("insert into attune.event (batch, trigger_ref) values (0, 'demo.other')")
        .execute(app.pool())
        .await
        .unwrap();
    let all = tried(&app.admin, &of_draft(began, &json!({}))).await.unwrap();
    let late = tried(&app.admin, &of_draft(between, &json!({}))).await.unwrap();
    let early = BacktestRequest { until: Some(between), ..of_draft(began, &json!({})) };
    let early = tried(&app.admin, &early).await.unwrap();
    assert_eq!((all.events, late.events, early.events), (2, 1, 1));
    assert_eq!(late.fired_examples[0].event, second[0]);
    let none = BacktestRequest {
        until: Some(began - TimeDelta::days(1)),
        ..of_draft(began - TimeDelta::days(2), &json!({}))
    };
    assert_eq!(tried(&app.admin, &none).await.unwrap().events, 0);
    app.stop().await;
}

#[tokio::test]
async fn test_more_events_than_one_batch_come_in_order_and_with_progress() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let since = Utc::now() - TimeDelta::minutes(1);
    sqlx::query(
        "insert into attune.event (batch, trigger_ref, config, payload)
         select 0, 'demo.alert', '{\"team\": \"ops\"}', jsonb_build_object('n', n, 'summary', 'x')
         from generate_series(1, 120000) as n",
    )
    .execute(app.pool())
    .await
    .unwrap();
    let condition = json!([{"field": "event.payload.n", "operator": "gt", "value": 119_998}]);
    let mut seen = Vec::new();
    let draft = of_draft(since, &json!({ "conditions": condition }));
    let report = app.admin.backtest(&draft, |progress| seen.push(progress.events)).await.unwrap();
    assert_eq!((report.events, report.counts.fired), (120_000, 2));
    let last: Vec<i64> = sqlx::query_scalar("select id from attune.event order by id desc limit 2")
        .fetch_all(app.pool())
        .await
        .unwrap();
    let fired: Vec<_> = report.fired_examples.iter().rev().map(|example| example.event).collect();
    assert_eq!(fired, last);
    assert!(seen.is_sorted() && seen.iter().all(|events| *events <= 120_000), "{seen:?}");
    // As plain JSON it is the same.
    let answer = app.as_admin(Method::POST, "/api/v1/rules/backtest").json(&draft).send().await.unwrap();
    let plain: BacktestReport = answer.json().await.unwrap();
    assert_eq!(plain.counts, report.counts);
    app.stop().await;
}

#[tokio::test]
async fn test_secrets_are_not_shown() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    sqlx::query(
        "update attune.trigger set param_schema =
         '{\"type\": \"object\", \"properties\": {\"team\": {\"type\": \"string\", \"secret\": true}}}'
         where ref = 'demo.alert'",
    )
    .execute(app.pool())
    .await
    .unwrap();
    let since = Utc::now() - TimeDelta::minutes(1);
    record(&app, &[("ops", "critical")]).await;
    let params = json!({"text": "{{ trigger.config.team }}", "token": "hunter2"});
    let report = tried(&app.admin, &of_draft(since, &json!({ "action_params": params }))).await.unwrap();
    let shown = report.fired_examples[0].parameters.clone().unwrap();
    assert_eq!(shown, json!({"text": "********", "token": "********", "retries": 3}));
    app.stop().await;
}

#[tokio::test]
async fn test_a_draft_is_judged_by_the_schema_that_comes_with_it() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let since = Utc::now() - TimeDelta::minutes(1);
    record(&app, &[("ops", "critical")]).await;
    let draft = of_draft(since, &json!({"action_params": {"text": "x", "channel": "#ops", "token": "t"}}));
    let by_installed = tried(&app.admin, &draft).await.unwrap();
    assert_eq!((by_installed.counts.fired, by_installed.counts.failed), (0, 1));
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["text"], "properties": {
        "text": {"type": "string"}, "channel": {"type": "string", "secret": true}, "token": {"type": "string"},
        "retries": {"type": "integer", "default": 4},
    }});
    let next = BacktestRequest { action_schema: Some(schema), ..draft.clone() };
    let by_next = tried(&app.admin, &next).await.unwrap();
    assert_eq!((by_next.counts.fired, by_next.counts.failed), (1, 0), "{by_next:?}");
    // What either of the two calls secret is hidden.
    let expected = json!({"text": "x", "channel": "********", "token": "********", "retries": 4});
    assert_eq!(by_next.fired_examples[0].parameters, Some(expected));
    let broken = BacktestRequest { action_schema: Some(json!({"type": "objet"})), ..draft };
    assert_eq!(pointers(&problem(tried(&app.admin, &broken).await)), ["/action_schema"]);
    app.stop().await;
}

#[tokio::test]
async fn test_a_draft_keeps_what_nobody_is_shown() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let since = Utc::now() - TimeDelta::minutes(1);
    record(&app, &[("ops", "critical")]).await;
    let change = json!({"action_params": {"text": "x", "token": "hunter2"}});
    app.admin.change_rule("demo.page_on_alert", &serde_json::from_value(change).unwrap()).await.unwrap();
    // As a client sees the rule.
    let shown = app.admin.rule("demo.page_on_alert").await.unwrap().action_params;
    assert_eq!(shown["token"], "********");
    let draft = of_draft(since, &json!({ "action_params": shown }));
    let masked = tried(&app.admin, &draft).await.unwrap().comparison.unwrap();
    assert_eq!((masked.both.count, masked.changed.count), (1, 1));
    let kept = BacktestRequest { kept: vec!["action_params".to_owned()], ..draft.clone() };
    let report = tried(&app.admin, &kept).await.unwrap();
    assert!(!serde_json::to_string(&report).unwrap().contains("hunter2"), "{report:?}");
    let comparison = report.comparison.unwrap();
    assert_eq!((comparison.both.count, comparison.changed.count), (1, 0));
    let wrong = BacktestRequest { kept: vec!["label".to_owned()], ..draft.clone() };
    assert_eq!(pointers(&problem(tried(&app.admin, &wrong).await)), ["/kept/0"]);
    let new = of_draft(since, &json!({"ref": "demo.new"}));
    let nothing_there = BacktestRequest { kept: vec!["action".to_owned()], ..new };
    assert_eq!(pointers(&problem(tried(&app.admin, &nothing_there).await)), ["/kept/0"]);
    app.stop().await;
}

#[tokio::test]
async fn test_what_is_wrong_is_refused() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let since = Utc::now() - TimeDelta::minutes(1);
    let wrong =
        json!({"trigger": "demo.alrt", "conditions": [{"field": "event.payload.a", "operator": "equls"}]});
    let refused = problem(tried(&app.admin, &of_draft(since, &wrong)).await);
    assert_eq!(
        (refused.status, pointers(&refused)),
        (422, vec!["/rule/conditions/0/operator", "/rule/trigger"])
    );
    let refused = problem(tried(&app.admin, &of_draft(Utc::now() + TimeDelta::hours(1), &json!({}))).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/since"]));
    let refused = problem(tried(&app.admin, &request(since)).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/ref"]));
    let many = BacktestRequest { examples: Some(101), ..of_draft(since, &json!({})) };
    assert_eq!(pointers(&problem(tried(&app.admin, &many).await)), ["/examples"]);
    let versioned = BacktestRequest { version: Some(1), ..of_draft(since, &json!({})) };
    assert_eq!(pointers(&problem(tried(&app.admin, &versioned).await)), ["/version"]);
    let gone = BacktestRequest { rule_ref: Some("no.such".to_owned()), ..request(since) };
    assert_eq!(problem(tried(&app.admin, &gone).await).status, 404);
    // An action that does not exist yet is no hindrance.
    let report = tried(&app.admin, &of_draft(since, &json!({"action": "demo.later"}))).await.unwrap();
    assert!(report.notes.iter().any(|note| note.contains("demo.later does not exist")), "{:?}", report.notes);
    app.stop().await;
}
