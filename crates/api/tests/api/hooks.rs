//! The shared webhook: rules say in their `trigger_params` where they listen.

use attune_client::types::{RuleChange, RuleRequest};
use attune_common::models::event::Event;
use attune_common::models::identity::{Constraints, Grant};
use attune_common::repositories::EventRepository;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::app::{MAX_WEBHOOK, TestApp, grant, json as body_of, pointers, problem, problem_of, token};
use crate::demo;

const BODY: &str = r#"{"status": "firing"}"#;

/// The core pack as far as it is needed here.
async fn start() -> TestApp {
    let app = TestApp::start().await;
    let core = demo::only(&[
        ("pack.yaml", "ref: core\nversion: 1.0.0\n"),
        ("triggers/webhook.yaml", include_str!("../../../../packs/core/triggers/webhook.yaml")),
    ]);
    app.admin.install_pack(demo::archive(&core), "test").await.unwrap();
    demo::install(&app).await;
    app
}

fn rule(name: &str, params: &Value) -> RuleRequest {
    serde_json::from_value(json!({
        "ref": format!("mine.{name}"), "trigger": "core.webhook", "trigger_params": params,
        "action": "demo.page", "action_params": {"text": "x"},
    }))
    .unwrap()
}

async fn listen(app: &TestApp, name: &str, params: &Value) {
    app.admin.create_rule(&rule(name, params)).await.unwrap();
}

async fn send(app: &TestApp, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut request = app.request(Method::POST, &format!("/api/v1/hooks/{path}")).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// Sends with the administrator's token.
async fn as_admin(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Response {
    let bearer = format!("Bearer {}", app.admin_token);
    let headers: Vec<_> = headers.iter().copied().chain([("authorization", bearer.as_str())]).collect();
    send(app, path, &headers, BODY).await
}

async fn event_of(app: &TestApp, answer: Response) -> Event {
    assert_eq!(answer.status(), 202);
    let answer = body_of(answer).await;
    EventRepository::get_by_id(app.pool(), answer["event"].as_i64().unwrap()).await.unwrap()
}

fn signed(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn test_a_rule_alone_makes_an_address_for_those_with_a_token() {
    let app = start().await;
    let nobody = problem_of(as_admin(&app, "alertmanager", &[]).await, 404).await;
    assert!(!nobody.detail.contains("alertmanager") && !nobody.detail.contains("rule"), "{}", nobody.detail);
    listen(&app, "page", &json!({"path": "alertmanager"})).await;
    let event = event_of(&app, as_admin(&app, "alertmanager", &[("x-kind", "test")]).await).await;
    assert_eq!(event.trigger_ref, "core.webhook");
    assert_eq!(event.payload, json!({"status": "firing"}));
    assert_eq!(event.config, json!({"path": "alertmanager"}));
    let headers = event.headers.unwrap();
    assert_eq!((headers["x-kind"].as_str(), headers.get("authorization")), (Some("test"), None));

    assert_eq!(send(&app, "alertmanager", &[], BODY).await.status(), 401, "no token");
    let stray = [("authorization", "Bearer attune_stray")];
    assert_eq!(send(&app, "alertmanager", &stray, BODY).await.status(), 401, "an unknown token");
    let other = token(app.pool(), "other", vec![grant("event", &["create"])]).await;
    let other = format!("Bearer {other}");
    let refused = send(&app, "alertmanager", &[("authorization", &other)], BODY).await;
    problem_of(refused, 403).await;
    let sender = token(app.pool(), "sender", vec![grant("webhook", &["send"])]).await;
    let sender = format!("Bearer {sender}");
    let sender = [("authorization", sender.as_str())];
    assert_eq!(send(&app, "alertmanager", &sender, BODY).await.status(), 202);
    assert_eq!(send(&app, "alertmanager/more", &sender, BODY).await.status(), 404, "another path");
    assert_eq!(send(&app, "alertmanager", &sender, "{").await.status(), 400);
    let large = format!("\"{}\"", "x".repeat(MAX_WEBHOOK));
    assert_eq!(send(&app, "alertmanager", &sender, &large).await.status(), 413);
    assert_eq!(app.count("event").await, 2);

    let off = RuleChange { enabled: Some(false), ..RuleChange::default() };
    app.admin.change_rule("mine.page", &off).await.unwrap();
    assert_eq!(as_admin(&app, "alertmanager", &[]).await.status(), 404, "the rule is disabled");
    app.stop().await;
}

#[tokio::test]
async fn test_a_rule_may_ask_for_a_signature_instead() {
    let app = start().await;
    listen(&app, "push", &json!({"path": "team/push", "secret": "mine.hook", "scheme": "github"})).await;
    let signature = format!("sha256={}", signed("s3cret", BODY));
    let good = [("x-hub-signature-256", signature.as_str()), ("x-github-delivery", "d1")];
    assert_eq!(send(&app, "team/push", &good, BODY).await.status(), 503, "the secret is not set");
    app.admin.set_key("mine.hook", "s3cret").await.unwrap();
    let event = event_of(&app, send(&app, "team/push", &good, BODY).await).await;
    let config = json!({
        "path": "team/push", "secret": "mine.hook", "scheme": "github", "header": "x-hub-signature-256",
    });
    assert_eq!(event.config, config);
    assert!(!event.headers.unwrap().as_object().unwrap().contains_key("x-hub-signature-256"));
    assert_eq!(send(&app, "team/push", &good, BODY).await.status(), 200, "the delivery is known");
    assert_eq!(send(&app, "team/push", &good, "{}").await.status(), 401, "another body");
    // A token opens no path whose rules ask for signatures: it would make events that no rule listens to.
    assert_eq!(as_admin(&app, "team/push", &[]).await.status(), 401);
    assert_eq!(app.count("event").await, 1);

    // A rule beside it without a secret takes what is let in either way; that with one still insists.
    listen(&app, "all", &json!({"path": "team/push"})).await;
    let event = event_of(&app, as_admin(&app, "team/push", &[]).await).await;
    assert_eq!(event.config, json!({"path": "team/push"}));
    let bad = [("x-hub-signature-256", "sha256=00")];
    assert_eq!(send(&app, "team/push", &bad, BODY).await.status(), 401);
    app.stop().await;
}

#[tokio::test]
async fn test_the_secret_is_a_key_that_the_rule_may_use() {
    let app = start().await;
    app.admin.set_key("demo.hook", "s3cret").await.unwrap();
    sqlx::query("update attune.key set owner_type = 'pack', owner_pack = (select id from attune.pack where ref = 'demo')")
        .execute(app.pool())
        .await
        .unwrap();
    listen(&app, "push", &json!({"path": "push", "secret": "demo.hook", "header": "x-mine"})).await;
    let signature = signed("s3cret", BODY);
    let good = [("x-mine", signature.as_str())];
    assert_eq!(send(&app, "push", &good, BODY).await.status(), 503, "the key is another pack's");
    let of_the_pack = "ref: demo.push_in\ntrigger: core.webhook\ntrigger_params: {path: push, secret: demo.hook, header: x-mine}\n\
                       action: demo.page\naction_params: {text: x}\n";
    let files = demo::files_with(&[
        ("pack.yaml", "ref: demo\nversion: 1.1.0\n"),
        ("rules/push_in.yaml", of_the_pack),
    ]);
    app.admin.install_pack(demo::archive(&files), "test").await.unwrap();
    assert_eq!(send(&app, "push", &good, BODY).await.status(), 202, "a rule of that pack listens too");
    app.stop().await;
}

#[tokio::test]
async fn test_deliveries_are_told_apart_by_path() {
    let app = start().await;
    for path in ["a", "b"] {
        listen(&app, path, &json!({"path": path})).await;
    }
    for (path, header, expected) in [
        ("a", "idempotency-key", 202),
        ("a", "idempotency-key", 200),
        ("a", "webhook-id", 200),
        ("b", "x-github-delivery", 202),
    ] {
        assert_eq!(as_admin(&app, path, &[(header, "1")]).await.status(), expected, "{path} {header}");
    }
    let long = "x".repeat(300);
    for expected in [202, 200] {
        assert_eq!(as_admin(&app, "a", &[("webhook-id", &long)]).await.status(), expected);
    }
    app.stop().await;
}

#[tokio::test]
async fn test_a_rule_without_a_path_or_with_settings_without_effect_is_refused() {
    let app = start().await;
    let refused = async |params: Value| problem(app.admin.create_rule(&rule("bad", &params)).await);
    let missing = refused(json!({})).await;
    assert_eq!((missing.status, pointers(&missing)), (422, vec!["/trigger_params/path"]));
    assert!(missing.errors[0].detail.contains("give `path`"), "{:?}", missing.errors);
    assert_eq!(pointers(&refused(json!({"path": "/x"})).await), ["/trigger_params/path"]);
    assert_eq!(
        pointers(&refused(json!({"path": "x", "scheme": "github"})).await),
        ["/trigger_params/scheme"]
    );
    let file = "ref: demo.bad\ntrigger: core.webhook\naction: demo.page\naction_params: {text: x}\n";
    let files = demo::files_with(&[("pack.yaml", "ref: demo\nversion: 1.1.0\n"), ("rules/bad.yaml", file)]);
    let refused = problem(app.admin.install_pack(demo::archive(&files), "test").await);
    assert_eq!(refused.errors.len(), 1, "{:?}", refused.errors);
    assert!(refused.errors[0].detail.contains("has to say where it listens"), "{:?}", refused.errors);
    app.stop().await;
}

#[tokio::test]
async fn test_a_limited_author_names_only_keys_that_they_may_know_of() {
    let app = start().await;
    app.admin.set_key("billing.hmac", "s3cret-of-billing").await.unwrap();
    let of_pack = |resource: &str, action: &str, pack: &str| Grant {
        constraints: Constraints { packs: vec![pack.to_owned()], ..Constraints::default() },
        ..grant(resource, &[action])
    };
    let may = vec![
        of_pack("rule", "create", "mine"),
        of_pack("event", "read", "core"),
        of_pack("execution", "create", "demo"),
    ];
    let create = async |login: &str, grants: Vec<Grant>| {
        let token = token(app.pool(), login, grants).await;
        let rule = rule(login, &json!({"path": "pay", "secret": "billing.hmac"}));
        let request = app.request(Method::POST, "/api/v1/rules").bearer_auth(&token).json(&rule);
        request.send().await.unwrap().status()
    };
    assert_eq!(create("guesser", may.clone()).await, 403);
    let knowing = [may, vec![of_pack("key", "read", "billing")]].concat();
    assert_eq!(create("knowing", knowing).await, 201);
    app.stop().await;
}
