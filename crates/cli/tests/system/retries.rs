//! An action that fails at first is tried again by a running system.

use serde_json::json;

use crate::support::System;

const PACK: [(&str, &str); 3] = [
    ("pack.yaml", "ref: again\nversion: 1.0.0\nlabel: Again\n"),
    (
        "actions/third.yaml",
        "ref: again.third\nruntime: core.shell\nentrypoint: third.sh\nretry: {count: 3, delay: 0.2}\n",
    ),
    ("actions/third.sh", "#!/bin/sh\necho attempt $ATTUNE_ATTEMPT\n[ \"$ATTUNE_ATTEMPT\" = 3 ]\n"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_failing_action_is_tried_again_until_it_succeeds() {
    let system = System::start().await;
    system.install(&PACK).await;
    let detail = system.run("again.third", json!({})).await;
    assert_eq!((detail.execution.status.as_str(), detail.execution.attempt), ("completed", 3), "{detail:?}");
    assert_eq!(detail.execution.result, Some(json!("attempt 3")));
    let attempts: Vec<&str> = detail.attempts.iter().map(|attempt| attempt.status.as_str()).collect();
    assert_eq!(attempts, ["failed", "failed", "completed"]);
    let history = system.client.execution_history(detail.execution.id).await.unwrap().items;
    let history: Vec<&str> = history.iter().map(|entry| entry.status.as_str()).collect();
    let expected = ["scheduled", "running", "scheduled", "running", "scheduled", "running", "completed"];
    assert_eq!(history, expected);
}
