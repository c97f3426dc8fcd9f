//! Grants with constraints: every operation that they can limit heeds them, and every other one wants a grant without.

use std::collections::BTreeSet;

use attune_client::Client;
use attune_client::types::{ExecutionRequest, InquiryRequest, QueuePush};
use attune_common::models::identity::{Constraints, Grant, Ownership};
use attune_pack::limits::LIMITED;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{TestApp, grant, problem, token};
use crate::demo::{self, archive, files_with};
use crate::executions::start_page;
use crate::permissions::GUARDED;
use crate::run_tokens::Run;

const POLICY: (&str, &str) = ("policies/many.yaml", "ref: demo.many\naction: demo.page\nconcurrency: 1000\n");
const QUEUE: (&str, &str) = (
    "queues/pages.yaml",
    "ref: demo.pages\naction: demo.page\nitem:\n  text: {type: string, required: true}\n",
);

const SENSOR: (&str, &str) = (
    "sensors/watch.yaml",
    "ref: demo.watch\nruntime: demo.shell\nentrypoint: watch.sh\ntriggers: [demo.alert]\n",
);

/// What needs a grant of everything: it is about things of many packs at once.
const WHOLE: &[&str] = &[
    "POST /api/v1/events/replay",
    "POST /api/v1/rules/backtest",
    // With `rule` in the query it is about one.
    "GET /api/v1/events/{id}/explanation",
];

fn limited(resource: &str, action: &str, constraints: Constraints) -> Grant {
    Grant { constraints, ..grant(resource, &[action]) }
}

fn packs(pack: &str) -> Constraints {
    Constraints { packs: vec![pack.to_owned()], ..Constraints::default() }
}

fn refs(r#ref: &str) -> Constraints {
    Constraints { refs: vec![r#ref.to_owned()], ..Constraints::default() }
}

fn own() -> Constraints {
    Constraints { owner: Some(Ownership::Own), ..Constraints::default() }
}

/// One of everything in the pack `demo`.
struct World {
    event: i64,
    enforcement: i64,
    execution: i64,
    inquiry: i64,
    rule: Value,
    pack: Vec<u8>,
}

impl World {
    async fn make(app: &TestApp) -> Self {
        let run = Run::begin(app, vec![grant("inquiry", &["create"])]).await;
        let inquiry = run.client.create_inquiry(&InquiryRequest::of("Go?")).await.unwrap().id;
        let pack = archive(&files_with(&[POLICY, QUEUE, SENSOR, ("sensors/watch.sh", "cat\n")]));
        app.admin.install_pack(pack.clone(), "test").await.unwrap();
        app.admin.set_key("demo.pin", "1234").await.unwrap();
        let items = vec![json!({"text": "x"})];
        let push = QueuePush { items, priority: 0, not_before: None };
        app.admin.push_items("demo.pages", &push).await.unwrap();
        let event = json!({"trigger": "demo.alert", "config": {"team": "ops"}});
        let event = app.as_admin(Method::POST, "/api/v1/events").json(&event).send().await.unwrap();
        let event = event.json::<Value>().await.unwrap()["event"].as_i64().unwrap();
        let enforcement = sqlx::query_scalar(
            "insert into attune.enforcement (rule_ref, trigger_ref, event, config, payload, condition, conditions)
             values ('demo.page_on_alert', 'demo.alert', $1, '{}', '{}', 'all', '[]')
             returning id",
        )
        .bind(event)
        .fetch_one(app.pool())
        .await
        .unwrap();
        let left = app.as_admin(Method::POST, "/api/v1/artifacts/demo.inventory/versions").body("x");
        assert_eq!(left.send().await.unwrap().status(), 201);
        let path = format!("/api/v1/executions/{}/artifacts/log", run.execution);
        let left = app.as_admin(Method::POST, &path).body("x").send().await.unwrap();
        assert_eq!(left.status(), 201);
        let rule = json!({
            "ref": "demo.other", "trigger": "demo.alert", "action": "demo.page",
            "action_params": {"text": "{{ key('demo.pin') }}"},
        });
        Self { event, enforcement, execution: run.execution, inquiry, rule, pack }
    }

    /// The request of an operation on what is in the pack.
    fn request(&self, app: &TestApp, operation: &str, token: &str) -> reqwest::RequestBuilder {
        let (method, path) = operation.split_once(' ').unwrap();
        let id = match path.split('/').nth(3).unwrap() {
            "events" => self.event,
            "enforcements" => self.enforcement,
            "inquiries" => self.inquiry,
            _ => self.execution,
        };
        let r#ref = match path.split('/').nth(3).unwrap() {
            "packs" => "demo",
            "actions" => "demo.page",
            "triggers" => "demo.alert",
            "sensors" => "demo.watch",
            "rules" => "demo.page_on_alert",
            "artifacts" => "demo.inventory",
            "policies" => "demo.many",
            "queues" => "demo.pages",
            "keys" => "demo.pin",
            _ => "",
        };
        let path = path
            .replace("{id}", &id.to_string())
            .replace("{ref}", r#ref)
            .replace("{version}", "1")
            .replace("{name}", "log");
        let request = app.request(Method::from_bytes(method.as_bytes()).unwrap(), &path).bearer_auth(token);
        let event = json!({"trigger": "demo.alert", "config": {"team": "ops"}});
        match operation {
            "POST /api/v1/packs" => {
                request.header("content-type", "application/gzip").body(self.pack.clone())
            }
            "PATCH /api/v1/packs/{ref}/config" => request.json(&json!({"set": {}})),
            "POST /api/v1/rules" | "PUT /api/v1/rules/{ref}" => request.json(&self.rule),
            "PATCH /api/v1/rules/{ref}" => request.json(&json!({"label": "Pages"})),
            "PATCH /api/v1/actions/{ref}" | "PATCH /api/v1/sensors/{ref}" => {
                request.json(&json!({"enabled": true}))
            }
            "POST /api/v1/events" => request.json(&event),
            "POST /api/v1/events/batch" => request.json(&json!([event])),
            "POST /api/v1/executions" => {
                request.json(&json!({"action": "demo.page", "parameters": {"text": "x"}}))
            }
            "PUT /api/v1/executions/{id}/progress" => request.json(&json!({"percent": 1})),
            "POST /api/v1/inquiries/{id}/respond" => request.json(&json!({"response": 1})),
            "POST /api/v1/queues/{ref}/items" => request.json(&json!({"items": [{"text": "x"}]})),
            "POST /api/v1/queues/{ref}/retry" => request.json(&json!({})),
            "PUT /api/v1/keys/{ref}" => request.json(&json!({"value": "5678"})),
            _ if method == "POST" => request.body("x"),
            _ => request,
        }
    }
}

fn can_be_limited(resource: &str, action: &str) -> bool {
    LIMITED.iter().any(|limited| limited.resource == resource && limited.actions.contains(&action))
}

/// How many things a list has; None of what is no list.
async fn length(operation: &str, response: reqwest::Response) -> Option<usize> {
    if !operation.starts_with("GET") {
        return None;
    }
    let value: Value = serde_json::from_slice(&response.bytes().await.unwrap()).ok()?;
    value["items"].as_array().map(Vec::len)
}

#[tokio::test]
async fn test_every_operation_heeds_what_limits_its_grant() {
    let app = TestApp::start().await;
    let world = World::make(&app).await;
    let mut seen = BTreeSet::new();
    // What removes things comes last.
    let mut operations: Vec<_> = GUARDED.to_vec();
    operations.sort_by_key(|(operation, ..)| {
        let is_whole = operation.contains("/packs") || !operation.contains("/versions");
        let removes = operation.starts_with("DELETE");
        (removes, removes && operation.contains("/packs"), removes && is_whole, operation.contains("/cancel"))
    });
    for (index, (operation, resource, action)) in operations.into_iter().enumerate() {
        // An existing key is updated.
        let action = if operation.starts_with("PUT /api/v1/keys") { "update" } else { action };
        let client = async |name: &str, constraints: Constraints| {
            let mut grants = vec![limited(resource, action, constraints)];
            // What a rule does, its author may.
            grants.extend([
                grant("event", &["read"]),
                grant("execution", &["create"]),
                grant("key", &["read"]),
            ]);
            grants.retain(|grant| grant.resource != resource || !grant.constraints.is_empty());
            token(app.pool(), &format!("{name}{index}"), grants).await
        };
        let outside = client("outside", packs("other")).await;
        let response = world.request(&app, operation, &outside).send().await.unwrap();
        let status = response.status().as_u16();
        if !can_be_limited(resource, action) || WHOLE.contains(&operation) {
            assert_eq!(status, 403, "{operation} cannot be limited");
            let inside = client("inside", packs("demo")).await;
            let response = world.request(&app, operation, &inside).send().await.unwrap();
            assert_eq!(response.status(), 403, "{operation} cannot be limited");
            continue;
        }
        let of_outside = length(operation, response).await;
        assert!(status == 403 || of_outside == Some(0), "{operation} out of reach: {status} {of_outside:?}");
        let inside = if index % 2 == 0 { packs("demo") } else { refs("demo*") };
        let inside = client("inside", inside).await;
        let response = world.request(&app, operation, &inside).send().await.unwrap();
        let status = response.status().as_u16();
        assert!(!matches!(status, 401 | 403 | 404 | 415 | 500..), "{operation} within reach: {status}");
        assert_ne!(length(operation, response).await, Some(0), "{operation} within reach");
        seen.insert((resource.to_owned(), action.to_owned()));
    }
    // What can be created is tried below.
    seen.insert(("key".to_owned(), "create".to_owned()));
    let limited = LIMITED.iter().flat_map(|limited| {
        limited.actions.iter().map(|action| (limited.resource.to_owned(), (*action).to_owned()))
    });
    assert_eq!(seen, limited.collect(), "every limit that a pack may name is heeded by something");
    app.stop().await;
}

#[tokio::test]
async fn test_a_new_key_has_to_be_within_reach() {
    let app = TestApp::start().await;
    let limits = vec![limited("key", "create", refs("demo.*_pin"))];
    let client = app.client_with("keeper", limits).await;
    client.set_key("demo.new_pin", "1").await.unwrap();
    for outside in ["demo.pin", "other.new_pin"] {
        let refusal = problem(client.set_key(outside, "1").await);
        let detail = format!("`create` on `key` is granted with `constraints` that do not reach {outside}");
        assert_eq!((refusal.status, refusal.detail), (403, detail));
    }
    assert_eq!(problem(client.set_key("demo.new_pin", "2").await).status, 403, "it would be an update");
    app.stop().await;
}

async fn started(client: &Client) -> i64 {
    client.create_execution(&ExecutionRequest::of("demo.page", json!({"text": "x"}))).await.unwrap().id
}

#[tokio::test]
async fn test_what_one_has_begun_oneself() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let grants = vec![
        grant("execution", &["create"]),
        limited("execution", "read", own()),
        limited("execution", "cancel", Constraints { owner: Some(Ownership::Own), ..packs("demo") }),
    ];
    let (ada, grace) = (app.client_with("ada", grants.clone()).await, app.client_with("grace", grants).await);
    let (of_ada, of_grace) = (started(&ada).await, started(&grace).await);
    let listed = async |client: &Client| -> Vec<i64> {
        client.executions(&[]).await.unwrap().items.iter().map(|execution| execution.id).collect()
    };
    assert_eq!(listed(&ada).await, [of_ada]);
    assert_eq!(listed(&grace).await, [of_grace]);
    assert_eq!(ada.execution(of_ada).await.unwrap().execution.id, of_ada);
    for refused in [
        problem(ada.execution(of_grace).await),
        problem(ada.output(of_grace).await),
        problem(ada.execution_history(of_grace).await),
        problem(ada.cancel_execution(of_grace).await),
    ] {
        assert_eq!(refused.status, 403);
    }
    assert_eq!(ada.cancel_execution(of_ada).await.unwrap().status, "cancelled");
    app.stop().await;
}

#[tokio::test]
async fn test_a_run_reads_what_it_began_and_no_more_than_it_declares() {
    let app = TestApp::start().await;
    let may = vec![
        limited("execution", "create", refs("demo.pa*")),
        limited("execution", "read", own()),
        limited("event", "create", refs("demo.open")),
    ];
    let run = Run::begin(&app, may).await;
    let child = started(&run.client).await;
    let other = start_page(&app).await;
    let listed = run.client.executions(&[]).await.unwrap().items;
    assert_eq!(listed.iter().map(|execution| execution.id).collect::<Vec<_>>(), [child]);
    assert_eq!(run.client.execution(child).await.unwrap().execution.parent, Some(run.execution));
    assert_eq!(problem(run.client.execution(other).await).status, 403);
    // Itself it may always read.
    run.client.execution(run.execution).await.unwrap();
    let event = |trigger: &str| json!([{"trigger": "demo.open"}, {"trigger": trigger}]);
    let send = async |trigger: &str| {
        let request = app.request(Method::POST, "/api/v1/events/batch").bearer_auth(&run.token);
        request.json(&event(trigger)).send().await.unwrap().status().as_u16()
    };
    assert_eq!((send("demo.alert").await, send("demo.open").await), (403, 202));
    assert_eq!(app.count("event").await, 2);
    let whoami = run.client.whoami().await.unwrap();
    assert_eq!(whoami.grants[1].constraints.owner.as_deref(), Some("self"));
    assert_eq!(whoami.grants[2].constraints.refs, ["demo.open"]);
    app.stop().await;
}

/// A rule acts in nobody's name: whoever may write only some may have it do only what they may do themselves.
#[tokio::test]
async fn test_a_limited_author_of_rules_gains_nothing_by_them() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    app.admin.set_key("demo.pin", "1234").await.unwrap();
    let rule = json!({
        "ref": "demo.other", "trigger": "demo.alert", "action": "demo.page",
        "action_params": {"text": "{{ key('demo.pin') }}"},
    });
    let author = [
        limited("rule", "create", packs("demo")),
        limited("event", "read", packs("demo")),
        limited("execution", "create", refs("demo.page")),
        limited("key", "read", refs("demo.pin")),
    ];
    for left_out in 1..author.len() {
        let mut grants = author.to_vec();
        grants.remove(left_out);
        let token = token(app.pool(), &format!("without{left_out}"), grants).await;
        let create = app.request(Method::POST, "/api/v1/rules").bearer_auth(&token).json(&rule);
        assert_eq!(create.send().await.unwrap().status(), 403, "{:?}", author[left_out]);
    }
    assert_eq!(app.count("rule where ref = 'demo.other'").await, 0);
    let token = token(app.pool(), "author", author.to_vec()).await;
    let create = app.request(Method::POST, "/api/v1/rules").bearer_auth(&token).json(&rule);
    assert_eq!(create.send().await.unwrap().status(), 201);
    app.stop().await;
}

#[tokio::test]
async fn test_a_limited_author_writes_windows_and_stops_any_rule_within_reach() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let rule = json!({
        "ref": "demo.often", "trigger": "demo.alert", "action": "demo.page",
        "window": {"count": {"at_least": 3, "within": "5m"}},
        "action_params": {"text": "{{ window.count }} alerts"},
    });
    let author = vec![
        limited("rule", "create", packs("demo")),
        limited("event", "read", packs("demo")),
        limited("execution", "create", refs("demo.page")),
    ];
    let author = token(app.pool(), "author", author).await;
    let create = app.request(Method::POST, "/api/v1/rules").bearer_auth(&author).json(&rule);
    assert_eq!(create.send().await.unwrap().status(), 201);
    // Without a right to what it does.
    let on_call = token(app.pool(), "on_call", vec![limited("rule", "update", packs("demo"))]).await;
    let change = async |change: serde_json::Value| {
        let request =
            app.request(Method::PATCH, "/api/v1/rules/demo.often").bearer_auth(&on_call).json(&change);
        request.send().await.unwrap().status()
    };
    assert_eq!(change(json!({"enabled": false})).await, 200);
    assert_eq!(change(json!({"enabled": true})).await, 403);
    app.stop().await;
}

#[tokio::test]
async fn test_an_event_shows_only_decisions_within_reach() {
    let app = TestApp::start().await;
    let world = World::make(&app).await;
    let decisions = async |name: &str, grants: Vec<Grant>| {
        let client = app.client_with(name, grants).await;
        client.event(world.event).await.unwrap().enforcements.len()
    };
    let event = limited("event", "read", packs("demo"));
    assert_eq!(decisions("alone", vec![event.clone()]).await, 0);
    let other = limited("enforcement", "read", packs("other"));
    assert_eq!(decisions("other", vec![event.clone(), other]).await, 0);
    let enforcement = limited("enforcement", "read", refs("demo.page_on_*"));
    assert_eq!(decisions("both", vec![event, enforcement]).await, 1);
    assert_eq!(decisions("all", vec![grant("event", &["read"])]).await, 1);
    app.stop().await;
}

#[tokio::test]
async fn test_nobody_installs_an_action_whose_limits_are_wider_than_theirs() {
    let app = TestApp::start().await;
    let asking = |limit: &str| {
        let page = format!(
            "{}permissions:\n  - {{resource: execution, actions: [create]{limit}}}\n",
            crate::demo::PAGE
        );
        archive(&files_with(&[("actions/page.yaml", &page)]))
    };
    let may = vec![limited("pack", "create", packs("demo")), limited("execution", "create", packs("demo"))];
    let installer = app.client_with("installer", may).await;
    for limit in [
        "",
        ", constraints: {refs: ['*']}",
        ", constraints: {packs: [other]}",
        ", constraints: {refs: ['dem*']}",
    ] {
        let refusal = problem(installer.install_pack(asking(limit), "test").await);
        assert_eq!(refusal.status, 403, "{limit}");
        assert!(
            refusal.errors[0].detail.contains("demo.page asks for `create` on `execution`"),
            "{refusal:?}"
        );
    }
    installer.install_pack(asking(", constraints: {refs: [demo.page]}"), "test").await.unwrap();
    let action = app.admin.action("demo.page").await.unwrap();
    assert_eq!(action.permissions[0].constraints.refs, ["demo.page"]);
    // Another pack is out of reach.
    let other = archive(&demo::only(&[("pack.yaml", "ref: other\nversion: 1.0.0\n")]));
    let refusal = problem(installer.install_pack(other, "test").await);
    assert!(refusal.status == 403 && refusal.detail.contains("do not reach other"), "{refusal:?}");
    app.stop().await;
}

#[tokio::test]
async fn test_a_limit_without_effect_is_refused_at_installation() {
    let app = TestApp::start().await;
    let set = "ref: demo.clerk\ngrants:\n  - {resource: worker, actions: [read], constraints: {refs: ['demo.*']}}\n  \
               - {resource: event, actions: ['*'], constraints: {packs: [demo]}}\n  \
               - {resource: event, actions: [read], constraints: {hosts: [a]}}\n";
    let pack = archive(&files_with(&[("permissions/clerk.yaml", set)]));
    let refusal = problem(app.admin.install_pack(pack, "test").await);
    assert_eq!(refusal.status, 422);
    let faults: Vec<_> = refusal.errors.iter().map(|fault| (fault.line, fault.detail.as_str())).collect();
    assert_eq!(
        faults[..2],
        [
            (Some(3), "`constraints` has no effect on `worker`"),
            (Some(4), "`constraints` has no effect on `*` of `event`")
        ]
    );
    assert!(
        faults.iter().any(|(line, detail)| *line == Some(5) && detail.contains("unknown key `hosts`")),
        "{faults:?}"
    );
    assert_eq!(app.count("permission_set where ref = 'demo.clerk'").await, 0);
    app.stop().await;
}
