//! The actions that the worker does itself.

use attune_worker::native::http::Access;
use attune_worker::native::{Context, HANDLERS, NativeError, NativeOutcome};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Without a worker around it, and without a network.
async fn run(handler: &str, parameters: &Value, cancel: &CancellationToken) -> NativeOutcome {
    let http = Access::recorded(attune_worker::native::recorded::Recorded::default());
    attune_worker::native::run(handler, Context::new(parameters, &http), cancel).await
}

async fn check(handler: &str, parameters: Value, expected: Value) {
    let outcome = run(handler, &parameters, &CancellationToken::new()).await;
    match outcome {
        NativeOutcome::Succeeded(result) => assert_eq!(result, expected, "{handler} {parameters}"),
        other => panic!("{handler} {parameters}: {other:?}"),
    }
}

async fn check_failure(handler: &str, parameters: Value, expected: &str) {
    match run(handler, &parameters, &CancellationToken::new()).await {
        NativeOutcome::Failed(failure) => assert_eq!(failure.to_string(), expected, "{handler} {parameters}"),
        other => panic!("{handler} {parameters}: {other:?}"),
    }
}

#[tokio::test]
async fn each_handler_does_what_it_says() {
    check("noop", json!({}), json!(null)).await;
    for message in [json!("hello"), json!({"a": [1, null]}), json!(null)] {
        check("echo", json!({"message": message}), message).await;
    }
    check("sleep", json!({"seconds": 0.001}), json!({"seconds": 0.001})).await;
    check("sleep", json!({"seconds": 0}), json!({"seconds": 0})).await;
    check_failure("fail", json!({"message": "Disk is on fire"}), "Disk is on fire").await;
}

#[tokio::test]
async fn wrong_parameters_are_named_with_what_was_expected() {
    let expected = "expected a number of seconds, 0 or more";
    check_failure("echo", json!({}), "parameter `message` is missing, expected a value").await;
    check_failure("fail", json!({"message": 1}), "parameter `message` is not a string, expected a string")
        .await;
    check_failure("sleep", json!({}), &format!("parameter `seconds` is missing, {expected}")).await;
    check_failure(
        "sleep",
        json!({"seconds": "1"}),
        &format!("parameter `seconds` is not a number, {expected}"),
    )
    .await;
    for seconds in [-1.0, 1e300] {
        let message = format!("parameter `seconds` is negative or too large, {expected}");
        check_failure("sleep", json!({"seconds": seconds}), &message).await;
    }
}

#[tokio::test]
async fn an_unknown_handler_is_named_with_those_there_are() {
    let outcome = run("telnet", &json!({}), &CancellationToken::new()).await;
    let NativeOutcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert!(
        failure
            .to_string()
            .starts_with("there is no native handler `telnet`, expected one of noop, echo, sleep, fail")
    );
    for handler in HANDLERS {
        let outcome = run(handler, &json!({}), &CancellationToken::new()).await;
        if let NativeOutcome::Failed(failure) = outcome {
            assert!(!matches!(*failure.error, NativeError::UnknownHandler { .. }), "{handler}");
        }
    }
}

#[tokio::test]
async fn sleeping_can_be_cancelled() {
    let cancel = CancellationToken::new();
    let parameters = json!({"seconds": 3600});
    let (outcome, ()) = tokio::join!(run("sleep", &parameters, &cancel), async { cancel.cancel() });
    assert!(matches!(outcome, NativeOutcome::Cancelled), "{outcome:?}");
    assert!(matches!(run("noop", &json!({}), &cancel).await, NativeOutcome::Cancelled));
}
