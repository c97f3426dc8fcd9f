//! How far runs have come, as they say themselves.

use std::time::{Duration, Instant};

use attune_client::OutputEvent;
use attune_client::types::{KeyRequest, ProgressRequest, ProgressStep};
use attune_common::bus::Topic;
use futures::StreamExt;

use crate::app::{TestApp, grant, pointers, problem};
use crate::run_tokens::Run;

fn said(percent: f64, message: &str) -> ProgressRequest {
    ProgressRequest { percent: Some(percent), message: Some(message.to_owned()), steps: None }
}

#[tokio::test]
async fn test_the_latest_that_a_run_says_is_shown_and_streamed() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::new()).await;
    assert_eq!(app.admin.execution(run.execution).await.unwrap().progress, None);
    let mut stream = Box::pin(run.client.follow_output(run.execution).await.unwrap());
    for percent in 0..=200 {
        run.client.put_progress(run.execution, &said(f64::from(percent) / 4.0, "copies")).await.unwrap();
    }
    let steps = vec![ProgressStep { name: "copy".to_owned(), status: "running".to_owned() }];
    let last = ProgressRequest { steps: Some(steps.clone()), ..said(60.0, "restarts") };
    run.client.put_progress(run.execution, &last).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let event =
            tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("no event came");
        match event.unwrap().unwrap() {
            OutputEvent::Progress(progress) => {
                let is_last = progress.message.as_deref() == Some("restarts");
                seen.push(progress.percent.unwrap());
                if is_last {
                    assert_eq!(progress.steps, steps);
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.is_sorted() && seen.len() < 100, "what is said in between is passed over: {seen:?}");
    let shown = app.admin.execution(run.execution).await.unwrap().progress.unwrap();
    assert_eq!((shown.attempt, shown.percent, shown.message.as_deref()), (1, Some(60.0), Some("restarts")));
    assert_eq!(app.count("execution_progress").await, 1);
    run.worker.complete(run.execution, run.attempt).await;
    app.bus.wake(Topic::Change);
    let end = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("no end came");
    assert!(matches!(end, Some(Ok(OutputEvent::End { status })) if status == "completed"));
    assert_eq!(problem(run.client.put_progress(run.execution, &said(70.0, "late")).await).status, 401);
    app.stop().await;
}

#[tokio::test]
async fn test_another_attempt_begins_with_nothing_said() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::new()).await;
    run.client.put_progress(run.execution, &said(90.0, "nearly")).await.unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while app.admin.execution(run.execution).await.unwrap().progress.is_none() {
        assert!(Instant::now() < until, "it is not shown");
        tokio::task::yield_now().await;
    }
    sqlx::query("update attune.execution set status = 'scheduled', worker = null where id = $1")
        .bind(run.execution)
        .execute(app.pool())
        .await
        .unwrap();
    let (_, attempt) = run.worker.claim().await;
    assert_eq!(attempt, 2);
    assert_eq!(app.admin.execution(run.execution).await.unwrap().progress, None);
    app.stop().await;
}

#[tokio::test]
async fn test_what_is_no_progress_is_refused() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::new()).await;
    let refused =
        async |request: ProgressRequest| problem(run.client.put_progress(run.execution, &request).await);
    assert_eq!(pointers(&refused(ProgressRequest::default()).await), [""]);
    assert_eq!(pointers(&refused(said(100.5, "x")).await), ["/percent"]);
    assert_eq!(pointers(&refused(said(1.0, &"x".repeat(1001))).await), ["/message"]);
    let steps = Some(vec![ProgressStep { name: "copy".to_owned(), status: "runing".to_owned() }]);
    let wrong = refused(ProgressRequest { steps, ..ProgressRequest::default() }).await;
    assert_eq!(wrong.errors[0].suggestion.as_deref(), Some("running"));
    assert_eq!(problem(run.client.put_progress(1, &said(1.0, "x")).await).status, 403);
    // Whoever may change executions may say it of what runs.
    let operator = app.client_with("operator", vec![grant("execution", &["update"])]).await;
    operator.put_progress(run.execution, &said(1.0, "x")).await.unwrap();
    assert_eq!(problem(operator.put_progress(1, &said(1.0, "x")).await).status, 409);
    assert_eq!(problem(operator.put_progress(999, &said(1.0, "x")).await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_the_keys_that_the_action_names_are_hidden_in_what_its_run_says() {
    let app = TestApp::start().await;
    let run = Run::begin(&app, Vec::new()).await;
    app.admin.set_key("demo.pin", "4711 of spades").await.unwrap();
    app.admin.set_key("demo.other", "hearts").await.unwrap();
    let plain = KeyRequest { value: Some("of".to_owned()), secret: Some(false) };
    app.admin.put_key("demo.plain", &plain).await.unwrap();
    // What is said and then shown; each message ends in a word of its own.
    let shown = async |request: ProgressRequest| {
        run.client.put_progress(run.execution, &request).await.unwrap();
        let said = request.message.unwrap();
        let end = said.rsplit(' ').next().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let progress = app.admin.execution(run.execution).await.unwrap().progress;
            if let Some(progress) = progress
                && progress.message.as_deref().is_some_and(|message| message.ends_with(end))
            {
                return progress;
            }
            assert!(Instant::now() < until, "{said} is not shown");
            tokio::task::yield_now().await;
        }
    };
    let before = shown(said(1.0, "4711 of spades, one")).await;
    assert_eq!(before.message.as_deref(), Some("4711 of spades, one"), "it was not given this key");
    let keys = r#"[{"ref": "demo.pin", "required": true}, {"ref": "demo.none", "required": false},
                   {"ref": "demo.plain", "required": true}]"#;
    sqlx::query("update attune.action set keys = $1::jsonb where ref = 'demo.page'")
        .bind(keys)
        .execute(app.pool())
        .await
        .unwrap();
    let steps = vec![ProgressStep { name: "with 4711 of spades".to_owned(), status: "running".to_owned() }];
    let request = ProgressRequest {
        steps: Some(steps),
        ..said(2.0, "4711 of spades and hearts of what is no secret, two")
    };
    let after = shown(request).await;
    assert_eq!(after.message.as_deref(), Some("******** and hearts of what is no secret, two"));
    assert_eq!(after.steps[0].name, "with ********");
    let shown = app.admin.action("demo.page").await.unwrap().keys;
    let shown: Vec<_> = shown.iter().map(|key| (key.key_ref.as_str(), key.required)).collect();
    assert_eq!(shown, [("demo.pin", true), ("demo.none", false), ("demo.plain", true)]);
    app.stop().await;
}
