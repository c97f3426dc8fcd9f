//! What a run was given and must not say is hidden in what it makes over the API, which its worker does not see.

use attune_client::ArtifactBody;
use attune_client::types::{EventRequest, InquiryRequest, KeyRequest};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::app::{TestApp, grant, pointers, problem};
use crate::run_tokens::Run;

const SECRET: &str = "4711 \"of\" spades";

/// A run whose action names a key, and may make events and ask.
async fn begin(app: &TestApp) -> Run {
    let grants = vec![
        grant("event", &["create"]),
        grant("inquiry", &["create"]),
        grant("key", &["create", "update", "read"]),
    ];
    let run = Run::begin(app, grants).await;
    app.admin.set_key("demo.pin", SECRET).await.unwrap();
    sqlx::query("update attune.action set keys = $1::jsonb where ref = 'demo.page'")
        .bind(json!([{"ref": "demo.pin", "required": true}]))
        .execute(app.pool())
        .await
        .unwrap();
    run
}

fn alert(summary: &str) -> EventRequest {
    EventRequest {
        trigger: "demo.alert".to_owned(),
        payload: json!({"severity": "critical", "summary": summary}),
        dedup_key: None,
        config: Some(json!({"team": "ops"})),
    }
}

#[tokio::test]
async fn test_secrets_are_hidden_in_events_of_a_run() {
    let app = TestApp::start().await;
    let run = begin(&app).await;
    let said = format!("by {SECRET}");
    let event = run.client.create_event(&alert(&said)).await.unwrap().event;
    let batch = run.client.create_events(&[alert("plain"), alert(&said)]).await.unwrap();
    let payload = async |event: i64| app.admin.event(event).await.unwrap().event.payload;
    for event in [event, batch[1].event] {
        assert_eq!(payload(event).await["summary"], json!("by ********"));
    }
    assert_eq!(payload(batch[0].event).await["summary"], json!("plain"));
    let twice = EventRequest { dedup_key: Some(said.clone()), ..alert("plain") };
    let refused = problem(run.client.create_event(&twice).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/dedup_key"]));
    assert!(!format!("{refused:?}").contains("spades"), "{refused:?}");
    // Whoever was given nothing says what they like.
    let event = app.admin.create_event(&alert(&said)).await.unwrap().event;
    assert_eq!(payload(event).await["summary"], json!(said));
    app.stop().await;
}

#[tokio::test]
async fn test_secrets_are_hidden_in_questions_of_a_run() {
    let app = TestApp::start().await;
    let run = begin(&app).await;
    let question = InquiryRequest::of(format!("Is {SECRET} right?"));
    let asked = run.client.create_inquiry(&question).await.unwrap();
    assert_eq!(asked.prompt, "Is ******** right?");
    let schema = json!({"pin": {"type": "string", "enum": [SECRET, "another"]}});
    let wrong = InquiryRequest {
        response_schema: Some(schema),
        dedup_key: Some(SECRET.to_owned()),
        ..InquiryRequest::of("Which?")
    };
    let refused = problem(run.client.create_inquiry(&wrong).await);
    assert_eq!(pointers(&refused), ["/response_schema", "/dedup_key"]);
    assert!(!format!("{refused:?}").contains("spades"), "{refused:?}");
    assert_eq!(app.count("inquiry").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn test_a_secret_of_a_run_becomes_no_plain_key() {
    let app = TestApp::start().await;
    let run = begin(&app).await;
    let said = format!("by {SECRET}");
    let put = async |key_ref: &str, value: &str, secret: Option<bool>| {
        run.client.put_key(key_ref, &KeyRequest { value: Some(value.to_owned()), secret }).await
    };
    put("my.level", "80", Some(false)).await.unwrap();
    // Said to be none, and silently where it is none already.
    for (key_ref, secret) in [("my.copy", Some(false)), ("my.level", Some(false)), ("my.level", None)] {
        for value in [SECRET, &said] {
            let refused = problem(put(key_ref, value, secret).await);
            assert_eq!((refused.status, pointers(&refused)), (422, vec!["/value"]), "{key_ref}");
            assert!(refused.detail.contains("pass `secret: true`"), "{refused:?}");
            assert!(!format!("{refused:?}").contains("spades"), "{refused:?}");
        }
    }
    assert_eq!(problem(app.admin.key("my.copy").await).status, 404);
    assert_eq!(app.admin.key("my.level").await.unwrap().value.as_deref(), Some("80"));
    // As a secret it may be kept, and what holds none is set as before.
    assert!(put("my.copy", SECRET, None).await.unwrap().secret);
    assert_eq!(put("my.level", "90", None).await.unwrap().value.as_deref(), Some("90"));
    // Whoever was given nothing says what they like.
    let by_hand = KeyRequest { value: Some(said.clone()), secret: None };
    assert_eq!(app.admin.put_key("my.level", &by_hand).await.unwrap().value, Some(said));
    app.stop().await;
}

#[tokio::test]
async fn test_secrets_are_hidden_in_what_a_run_uploads() {
    let app = TestApp::start().await;
    let run = begin(&app).await;
    let content = async |name: &str| -> Vec<u8> {
        let artifact = format!("demo.page.{name}");
        let mut pieces = std::pin::pin!(app.admin.download_artifact(&artifact, None).await.unwrap());
        let mut content = Vec::new();
        while let Some(piece) = pieces.next().await {
            content.extend_from_slice(&piece.unwrap());
        }
        content
    };
    // The secret across the border of what is read at once.
    let filler = "x".repeat(100_000);
    let report = format!("{filler}{SECRET}{filler}{SECRET}");
    let label = [("label", format!("with {SECRET}"))];
    let sent = ArtifactBody::of("text/plain", report);
    let left = run.client.leave_artifact(run.execution, "report.txt", &label, sent).await.unwrap();
    assert_eq!(left.size, 200_016);
    assert_eq!(content("report.txt").await, format!("{filler}********{filler}********").as_bytes());
    let artifact = app.admin.artifact("demo.page.report.txt").await.unwrap().artifact;
    assert_eq!(artifact.label.as_deref(), Some("with ********"));

    let table: Value = json!([{"pin": SECRET, "host": "a"}]);
    let table = ArtifactBody::of("application/json", table.to_string());
    let kind = [("type", "table".to_owned())];
    run.client.leave_artifact(run.execution, "pins", &kind, table).await.unwrap();
    let kept = String::from_utf8(content("pins").await).unwrap();
    assert!(kept.contains("********") && !kept.contains("spades"), "{kept}");

    let binary = |text: &str| ArtifactBody::of("application/octet-stream", format!("\0{text}\0"));
    let refused = run.client.leave_artifact(run.execution, "core", &[], binary(SECRET)).await;
    let refused = problem(refused);
    assert_eq!(refused.status, 422);
    assert!(refused.detail.contains("no text, and there is a secret in it"), "{refused:?}");
    run.client.leave_artifact(run.execution, "core", &[], binary("plain")).await.unwrap();
    assert_eq!(content("core").await, b"\0plain\0");
    app.stop().await;
}
