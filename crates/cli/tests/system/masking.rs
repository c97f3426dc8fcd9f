//! What a schema calls secret is hidden in all that its action says, when it was given as it is.

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
