//! The tokens of runs: what they open, how long, and what is made with them.

use std::time::Duration;

use attune_client::Client;
use attune_client::types::{EventRequest, ExecutionRequest, PauseRequest};
use attune_common::models::identity::Grant;
use attune_common::models::internal_event::MAX_DEPTH;
use attune_common::repositories::{EventRepository, ExecutionRepository};
use attune_common::run_token::RunToken;
use reqwest::Method;
use serde_json::json;
use sqlx::types::Json;

use crate::app::{TestApp, grant, problem, problem_of};
use crate::demo::{self, PAGE, archive, files_with};
use crate::executions::{FakeWorker, start_page};
use crate::permissions::{GUARDED, send};

/// What runs of `demo.page` may ask.
async fn declare(app: &TestApp, grants: Vec<Grant>) {
    let changed = sqlx::query("update attune.action set permissions = $1 where ref = 'demo.page'")
        .bind(Json(grants))
        .execute(app.pool())
        .await
        .unwrap();
    assert_eq!(changed.rows_affected(), 1);
}

/// A run of `demo.page` under way.
pub(crate) struct Run {
    pub(crate) worker: FakeWorker,
    pub(crate) execution: i64,
    pub(crate) attempt: i32,
    pub(crate) token: String,
    pub(crate) client: Client,
}

impl Run {
    /// The first execution stays with nobody, so that this one's id is not 1.
    pub(crate) async fn begin(app: &TestApp, grants: Vec<Grant>) -> Self {
        demo::install(app).await;
        declare(app, grants).await;
        let other = start_page(app).await;
        app.admin.cancel_execution(other).await.unwrap();
        start_page(app).await;
        let worker = FakeWorker::register(app.pool()).await;
        let (execution, attempt) = worker.claim().await;
        let token = app.run_token(execution, attempt);
        let client = app.admin.with_token(token.clone());
        Self { worker, execution, attempt, token, client }
    }
}

fn alert() -> EventRequest {
    let payload = json!({"severity": "critical", "summary": "disk"});
    EventRequest {
        trigger: "demo.alert".to_owned(),
        payload,
        dedup_key: None,
        config: Some(json!({"team": "ops"})),
    }
}

#[tokio::test]
async fn test_every_operation_refuses_what_was_not_declared() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::new()).await;
    assert_ne!(run.execution, 1);
    for (operation, ..) in GUARDED {
        assert_eq!(send(&app, operation, Some(&run.token)).await, 403, "{operation} without permissions");
    }
    for (index, (operation, resource, action)) in GUARDED.iter().enumerate() {
        let needed = GUARDED.iter().filter(|(other, ..)| other == operation);
        let mut needed: Vec<Grant> = needed.map(|(_, resource, action)| grant(resource, &[action])).collect();
        declare(&app, needed.clone()).await;
        let status = send(&app, operation, Some(&run.token)).await;
        assert!(!matches!(status, 401 | 403 | 405 | 500..), "{operation} with its permission: {status}");
        // All but one.
        needed.retain(|grant| (grant.resource.as_str(), grant.actions[0].as_str()) != (*resource, *action));
        needed.push(grant("nothing", &["*"]));
        declare(&app, needed).await;
        assert_eq!(send(&app, operation, Some(&run.token)).await, 403, "{index}: {operation}");
    }
    declare(&app, Vec::new()).await;
    let refusal = problem(run.client.create_event(&alert()).await);
    assert_eq!(
        refusal.detail,
        "runs of demo.page may not do this: it would have to declare `create` on `event` in its `permissions`"
    );
    app.stop().await;
}

#[tokio::test]
async fn test_a_run_reads_itself_and_no_other() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::new()).await;
    let own = run.client.execution(run.execution).await.unwrap();
    assert_eq!(own.execution.status, "running");
    assert!(run.client.output(run.execution).await.unwrap().is_empty());
    assert!(!run.client.execution_history(run.execution).await.unwrap().items.is_empty());
    assert_eq!(problem(run.client.execution(1).await).status, 403);
    assert_eq!(problem(run.client.cancel_execution(run.execution).await).status, 403);
    let whoami = run.client.whoami().await.unwrap();
    assert_eq!(whoami.login, format!("execution {} of demo.page", run.execution));
    assert_eq!((whoami.execution, whoami.grants), (Some(run.execution), Vec::new()));
    let logout = app.request(Method::POST, "/api/v1/auth/logout").bearer_auth(&run.token);
    problem_of(logout.send().await.unwrap(), 409).await;
    app.stop().await;
}

#[tokio::test]
async fn test_a_token_is_valid_while_its_attempt_runs() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::new()).await;
    let status = async |token: String| match app.admin.with_token(token).whoami().await {
        Ok(_) => 200,
        Err(error) => problem::<()>(Err(error)).status,
    };
    let token = |execution: i64, attempt: i32, seconds: i64| {
        let expires = chrono::Utc::now().timestamp() + seconds;
        app.run_tokens.token(&RunToken { execution, attempt, expires })
    };
    assert_eq!(status(run.token.clone()).await, 200);
    assert_eq!(status(token(run.execution, run.attempt, -1)).await, 401, "expired");
    assert_eq!(status(token(run.execution, run.attempt + 1, 600)).await, 401, "another attempt");
    assert_eq!(status(token(1, 1, 600)).await, 401, "an execution that does not run");
    assert_eq!(status(token(i64::MAX, 1, 600)).await, 401, "no execution");
    let forged = run.token.replacen("attune_run_", "attune_run_0", 1);
    assert_eq!(status(forged).await, 401, "forged");
    // Until it has ended, a cancelled run may still say what it leaves.
    app.admin.cancel_execution(run.execution).await.unwrap();
    assert_eq!(status(run.token.clone()).await, 200);
    run.worker.complete(run.execution, run.attempt).await;
    assert_eq!(status(run.token.clone()).await, 401, "ended");
    app.stop().await;
}

#[tokio::test]
async fn test_what_a_run_makes_tells_where_it_came_from() {
    let app = TestApp::start().await;
    let may = vec![
        grant("event", &["create", "read"]),
        grant("execution", &["create"]),
        grant("pause", &["create"]),
    ];
    let run = Run::begin(&app, may).await;
    let trace = app.admin.execution(run.execution).await.unwrap().execution.trace_id;
    let event = run.client.create_event(&alert()).await.unwrap().event;
    let stored = EventRepository::get_by_id(app.pool(), event).await.unwrap();
    assert_eq!((stored.depth, &stored.trace_id), (1, &trace));
    let shown = app.admin.event(event).await.unwrap().event;
    assert_eq!(shown.caused_by, Some(run.execution));
    let explained = app.admin.explain_event(event, &[]).await.unwrap();
    assert_eq!(explained.caused_by, Some(run.execution));
    // Several at once, and a replay.
    let body = json!([{"trigger": "demo.alert", "config": {"team": "ops"}}]);
    let batch = app.request(Method::POST, "/api/v1/events/batch").bearer_auth(&run.token).json(&body);
    let batch: serde_json::Value = batch.send().await.unwrap().json().await.unwrap();
    let batched = batch[0]["event"].as_i64().unwrap();
    assert_eq!(app.admin.event(batched).await.unwrap().event.caused_by, Some(run.execution));
    let outside = app.admin.create_event(&alert()).await.unwrap().event;
    assert_eq!(app.admin.event(outside).await.unwrap().event.caused_by, None);
    let body = json!({"run": "again", "events": [{"event": outside}]});
    let replay = app.request(Method::POST, "/api/v1/events/replay").bearer_auth(&run.token).json(&body);
    let replay: serde_json::Value = replay.send().await.unwrap().json().await.unwrap();
    let replayed = replay["replayed"][0]["event"].as_i64().unwrap();
    assert_eq!(EventRepository::get_by_id(app.pool(), replayed).await.unwrap().depth, 1);
    // An execution is the child of the run.
    let request = ExecutionRequest::of("demo.page", json!({"text": "more"}));
    let child = run.client.create_execution(&request).await.unwrap().id;
    let child = app.admin.execution(child).await.unwrap();
    assert_eq!((child.execution.parent, &child.execution.trace_id), (Some(run.execution), &trace));
    assert_eq!(child.started_by, Some(format!("execution {} of demo.page", run.execution)));
    let stored = ExecutionRepository::get_by_id(app.pool(), child.execution.id).await.unwrap();
    assert_eq!((stored.identity, stored.parent), (None, Some(run.execution)));
    // Who did it stands in the name of the run.
    let pause =
        run.client.create_pause(&PauseRequest { all: true, ..PauseRequest::default() }).await.unwrap();
    assert_eq!(pause.by, Some(format!("execution {} of demo.page", run.execution)));
    app.stop().await;
}

#[tokio::test]
async fn test_runs_that_cause_one_another_end() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, vec![grant("event", &["create"]), grant("execution", &["create"])]).await;
    // As if a chain of events had led to this run.
    let event = app.admin.create_event(&alert()).await.unwrap().event;
    let deep = async |depth: i16| {
        let linked = sqlx::query(
            "with deep as (
                 update attune.event set depth = $2 where id = $1 returning id
             ),
             enforcement as (
                 insert into attune.enforcement (rule_ref, trigger_ref, event, config, payload, condition, conditions)
                 select 'demo.page_on_alert', 'demo.alert', $1, '{}', '{}', 'all', '[]' from deep
                 where not exists (select from attune.enforcement where event = $1)
                 returning id
             )
             update attune.execution
             set enforcement = coalesce((select id from enforcement), execution.enforcement)
             where id = $3",
        );
        linked.bind(event).bind(depth).bind(run.execution).execute(app.pool()).await.unwrap();
    };
    deep(MAX_DEPTH - 1).await;
    let made = run.client.create_event(&alert()).await.unwrap().event;
    assert_eq!(EventRepository::get_by_id(app.pool(), made).await.unwrap().depth, MAX_DEPTH);
    deep(MAX_DEPTH).await;
    let refusal = problem(run.client.create_event(&alert()).await);
    assert_eq!(refusal.status, 409);
    assert!(refusal.detail.contains("is the last of 10 events and executions"), "{refusal:?}");
    let request = ExecutionRequest::of("demo.page", json!({"text": "more"}));
    assert_eq!(problem(run.client.create_execution(&request).await).status, 409);
    app.stop().await;
}

#[tokio::test]
async fn test_nobody_installs_an_action_that_may_do_more_than_they() {
    let app = TestApp::start().await;
    let greedy = format!(
        "{PAGE}permissions:\n  - {{resource: event, actions: [create]}}\n  - {{resource: key, actions: [create, \"*\"]}}\n"
    );
    let pack = archive(&files_with(&[("actions/page.yaml", &greedy)]));
    let may = vec![grant("pack", &["create", "read"]), grant("event", &["*"]), grant("key", &["create"])];
    let installer = app.client_with("installer", may).await;
    let refusal = problem(installer.install_pack(pack.clone(), "test").await);
    assert_eq!(refusal.status, 403);
    let faults: Vec<_> =
        refusal.errors.iter().map(|item| (item.detail.as_str(), item.file.as_deref(), item.line)).collect();
    let expected = "demo.page asks for `*` on `key`, which you may not do yourself";
    assert_eq!(faults, [(expected, Some("actions/page.yaml"), Some(10))]);
    assert_eq!(app.count("pack where ref = 'demo'").await, 0);
    // Nor a run by what its own action may.
    app.admin.install_pack(pack.clone(), "test").await.unwrap();
    let stored: Json<Vec<Grant>> =
        sqlx::query_scalar("select permissions from attune.action where ref = 'demo.page'")
            .fetch_one(app.pool())
            .await
            .unwrap();
    assert_eq!(stored.0, [grant("event", &["create"]), grant("key", &["create", "*"])]);
    // Whoever brings another version of it answers for it as well.
    let other = archive(&files_with(&[("actions/page.yaml", &greedy), ("actions/page.sh", "echo other\n")]));
    assert_eq!(problem(installer.install_pack(other, "test").await).status, 403);
    app.stop().await;
}

#[tokio::test]
async fn test_nobody_installs_a_permission_set_that_allows_more_than_they_may() {
    let app = TestApp::start().await;
    let set = "ref: demo.on_call\ngrants:\n  - {resource: event, actions: [read]}\n  - {resource: key, actions: [\"*\"]}\n";
    let pack = archive(&files_with(&[("permissions/on_call.yaml", set)]));
    let may = vec![grant("pack", &["create", "read"]), grant("event", &["*"])];
    let installer = app.client_with("installer", may).await;
    let refusal = problem(installer.install_pack(pack.clone(), "test").await);
    assert_eq!(refusal.status, 403);
    let faults: Vec<_> =
        refusal.errors.iter().map(|item| (item.detail.as_str(), item.file.as_deref(), item.line)).collect();
    let expected = "demo.on_call asks for `*` on `key`, which you may not do yourself";
    assert_eq!(faults, [(expected, Some("permissions/on_call.yaml"), Some(4))]);
    assert_eq!(app.count("pack where ref = 'demo'").await, 0);
    app.admin.install_pack(pack, "test").await.unwrap();
    app.stop().await;
}

#[tokio::test]
async fn test_a_run_waits_for_what_it_started() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, vec![grant("execution", &["create", "read"])]).await;
    let request = ExecutionRequest::of("demo.page", json!({"text": "more"}));
    let child = run.client.create_execution(&request).await.unwrap().id;
    let waiting = tokio::spawn({
        let client = run.client.clone();
        async move { client.wait_for_execution(child, 30).await.unwrap().execution.status }
    });
    let (claimed, attempt) = run.worker.claim().await;
    assert_eq!(claimed, child);
    run.worker.complete(child, attempt).await;
    app.bus.wake(attune_common::bus::Topic::Change);
    let status = tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
    assert_eq!(status, "completed");
    app.stop().await;
}
