//! What a schema calls secret is hidden in all that its action says, when it was given as it is.

use attune_client::types::{EventRequest, ExecutionDetail};
use serde_json::json;

use crate::run_api::{content, written};
use crate::support::System;

const TOKEN: &str = "hunter\"2\" of spades";

const PACK: [(&str, &str); 3] = [
    ("pack.yaml", "ref: ops\nversion: 1.0.0\nlabel: Operations\n"),
    (
        "actions/tell.yaml",
        "ref: ops.tell\nruntime: core.shell\nentrypoint: tell.sh\noutput_format: json\nparameters:\n\
         \x20 attune: {type: string}\n  host: {type: string}\n  token: {type: string, secret: true}\n\
         \x20 pin: {type: integer, secret: true}\n  short: {type: string, secret: true}\n\
         \x20 login: {type: object, properties: {user: {type: string}, password: {type: string, secret: true}}}\n",
    ),
    // Everything that it knows goes everywhere that it can; a value comes in two pieces, too.
    (
        "actions/tell.sh",
        "#!/bin/sh\nset -e\nread -r given\n\
         printf 'stderr: hunt' >&2; sleep 0.3; printf 'er\"2\" of spades, pin 4711, abc, swordfish\\n' >&2\n\
         printf '%s' \"$given\" > \"$ATTUNE_ARTIFACTS/given.json\"\n\
         attune=$(printf '%s' \"$given\" | sed 's/.*\"attune\":\"\\([^\"]*\\)\".*/\\1/')\n\
         \"$attune\" execution progress 10 --message 'with hunter\"2\" of spades and swordfish by admin'\n\
         printf '{\"given\": %s, \"swordfish\": [4711]}\\n' \"$given\"\n",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_secret_that_was_given_as_it_is_is_masked_in_all_that_is_said() {
    let system = System::start().await;
    system.install(&PACK).await;
    let attune = env!("CARGO_BIN_EXE_attune");
    let given = json!({
        "attune": attune, "host": "db-1", "token": TOKEN, "pin": 4711, "short": "abc",
        "login": {"user": "admin", "password": "swordfish"},
    });
    let detail = system.run("ops.tell", given).await;
    let id = detail.execution.id;
    assert_eq!(detail.execution.status, "completed", "{detail:?}");
    let masked = json!({
        "attune": attune, "host": "db-1", "token": "********", "pin": "********", "short": "abc",
        "login": {"user": "admin", "password": "********"},
    });
    assert_eq!(detail.execution.result, Some(json!({"given": masked, "********": ["********"]})));
    let stderr = written(&system, id, "stderr").await;
    assert_eq!(stderr, "stderr: ********, pin ********, abc, ********\n", "what is short is everywhere");
    let stdout = written(&system, id, "stdout").await;
    let artifact = String::from_utf8(content(&system, "ops.tell.given.json").await).unwrap();
    for said in [&stdout, &artifact] {
        assert!(said.contains(r#""token":"********""#) && said.contains(r#""user":"admin""#), "{said}");
        assert!(!["hunter", "4711", "swordfish"].iter().any(|secret| said.contains(secret)), "{said}");
    }
    let message = detail.progress.unwrap().message;
    assert_eq!(message.as_deref(), Some("with ******** and ******** by admin"));
    // Where it is kept as it was given it is not shown.
    let shown = detail.execution.parameters;
    assert_eq!(
        (&shown["token"], &shown["pin"], &shown["host"]),
        (&json!("********"), &json!("********"), &json!("db-1"))
    );
}

const EVENTS: [(&str, &str); 6] = [
    ("pack.yaml", "ref: ops\nversion: 1.0.0\nlabel: Operations\n"),
    ("triggers/alert.yaml", "ref: ops.alert\n"),
    ("triggers/seen.yaml", "ref: ops.seen\n"),
    (
        "rules/emit.yaml",
        "ref: ops.emit\ntrigger: ops.alert\naction: core.emit\naction_params:\n  trigger: ops.seen\n  \
         dedup_key: \"{{ event.payload.once }}\"\n  payload: {text: \"Bearer {{ key('ops.token') }}\"}\n",
    ),
    (
        "rules/twice.yaml",
        "ref: ops.twice\ntrigger: ops.alert\naction: core.emit\naction_params:\n  trigger: ops.seen\n  \
         dedup_key: \"{{ key('ops.token') }}\"\n",
    ),
    (
        "rules/shell.yaml",
        "ref: ops.shell\ntrigger: ops.alert\naction: core.shell\naction_params:\n  \
         command: \"echo $TOKEN; cat; \\\"$ATTUNE_BINARY\\\" execution progress 5 --message \\\"with $TOKEN\\\"; \
         tr '\\\\0' '\\\\n' < /proc/$$/cmdline\"\n  \
         env: {TOKEN: \"{{ key('ops.token') }}\", ATTUNE_BINARY: \"{{ event.payload.attune }}\"}\n  \
         stdin: \"password {{ key('ops.token') }}\\n\"\n",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_keys_are_masked_in_events_in_progress_and_in_what_a_command_says() {
    let system = System::start().await;
    system.client.set_key("ops.token", TOKEN).await.unwrap();
    system.install(&EVENTS).await;
    let request = EventRequest {
        trigger: "ops.alert".to_owned(),
        payload: json!({"once": "a", "attune": env!("CARGO_BIN_EXE_attune")}),
        dedup_key: None,
        config: None,
    };
    let event = system.client.create_event(&request).await.unwrap().event;
    system.wait_until_idle().await;
    let ran = async |rule: &str| -> ExecutionDetail {
        let detail = system.client.event(event).await.unwrap();
        let made = detail.enforcements.iter().find(|made| made.enforcement.rule == rule).unwrap();
        system.client.execution(made.executions[0].id).await.unwrap()
    };
    assert_eq!(ran("ops.emit").await.execution.status, "completed");
    let seen: serde_json::Value =
        sqlx::query_scalar("select payload from attune.event where trigger_ref = 'ops.seen'")
            .fetch_one(system.database.pool())
            .await
            .unwrap();
    assert_eq!(seen, json!({"text": "Bearer ********"}));
    let refused = ran("ops.twice").await.execution;
    assert_eq!(refused.status, "failed");
    assert!(
        refused.error.as_deref().unwrap_or_default().contains("`dedup_key` has a secret in it"),
        "{refused:?}"
    );
    let shell = ran("ops.shell").await;
    assert_eq!(shell.execution.status, "completed", "{shell:?}");
    let arguments = "/bin/sh\n-c\neval \"$ATTUNE_ACTION_COMMAND\"\n";
    assert_eq!(shell.stdout, format!("********\npassword ********\n{arguments}"));
    assert_eq!(shell.progress.unwrap().message.as_deref(), Some("with ********"));
}
