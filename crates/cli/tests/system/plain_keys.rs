//! The value of a key that is no secret: it is shown, read by `core.key_get`, and masked nowhere.

use attune_client::types::{ExecutionDetail, KeyRequest};
use attune_common::models::key::{KeyOwner, KeyUpdate};
use attune_common::repositories::{IdentityRepository, KeyRepository, PackRepository};
use serde_json::{Value, json};

use crate::run_api::written;
use crate::support::{System, attune};

const PACK: [(&str, &str); 13] = [
    ("pack.yaml", "ref: ops\nversion: 1.0.0\nlabel: Operations\n"),
    ("triggers/alert.yaml", "ref: ops.alert\n"),
    ("keys/level.yaml", "ref: ops.level\nsecret: false\ndefault: \"80\"\n"),
    ("keys/token.yaml", "ref: ops.token\n"),
    (
        "actions/tell.yaml",
        "ref: ops.tell\nruntime: core.shell\nentrypoint: tell.sh\noutput_format: json\nkeys: [ops.level, ops.token]\n",
    ),
    (
        "actions/tell.sh",
        "#!/bin/sh\necho \"level 80, $ATTUNE_KEYS\" >&2\nprintf '{\"keys\": %s, \"level\": 80}\\n' \"$ATTUNE_KEYS\"\n",
    ),
    ("actions/plain.yaml", "ref: ops.plain\nruntime: core.shell\nentrypoint: tell.sh\n"),
    (
        "rules/echo.yaml",
        "ref: ops.echo\ntrigger: ops.alert\naction: core.echo\n\
         action_params: {message: \"{{ key('ops.level') }} and {{ key('ops.token') }}\"}\n",
    ),
    ("triggers/wish.yaml", "ref: ops.wish\n"),
    (
        "rules/copy.yaml",
        "ref: ops.copy\ntrigger: ops.wish\naction: core.key_set\n\
         action_params: {key: my.copy, value: \"Bearer {{ key('ops.token') }}\", secret: false}\n",
    ),
    (
        "rules/over.yaml",
        "ref: ops.over\ntrigger: ops.wish\naction: core.key_set\naction_params: {key: my.level, value: \"{{ key('ops.token') }}\"}\n",
    ),
    (
        "rules/keep.yaml",
        "ref: ops.keep\ntrigger: ops.wish\naction: core.key_set\naction_params: {key: my.kept, value: \"{{ key('ops.token') }}\"}\n",
    ),
    // The pack of another rule; the key belongs to the first.
    (
        "rules/get.yaml",
        "ref: ops.get\ntrigger: ops.alert\naction: core.key_get\naction_params: {key: \"{{ event.payload.key }}\"}\n",
    ),
];

async fn put(system: &System, key_ref: &str, value: Option<&str>, secret: bool) {
    let request = KeyRequest { value: value.map(str::to_owned), secret: Some(secret) };
    system.client.put_key(key_ref, &request).await.unwrap();
}

/// Lets an event happen; what `core.echo` was given and gave back.
async fn echo(system: &System) -> ExecutionDetail {
    let request = attune_client::types::EventRequest {
        trigger: "ops.alert".to_owned(),
        payload: json!({"key": "ops.level"}),
        dedup_key: None,
        config: None,
    };
    let event = system.client.create_event(&request).await.unwrap().event;
    system.wait_until_idle().await;
    let detail = system.client.event(event).await.unwrap();
    let decision = detail.enforcements.iter().find(|of| of.enforcement.rule == "ops.echo").unwrap();
    system.client.execution(decision.executions[0].id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_the_value_of_a_plain_key_is_masked_nowhere() {
    let system = System::start().await;
    system.install(&PACK).await;
    system.client.set_key("ops.token", "hunter2").await.unwrap();
    let told = system.run("ops.tell", json!({})).await;
    let keys = json!({"ops.level": "80", "ops.token": "********"});
    assert_eq!(told.execution.result, Some(json!({"keys": keys, "level": 80})), "{told:?}");
    assert_eq!(written(&system, told.execution.id, "stderr").await, format!("level 80, {keys}\n"));
    // Where a rule names it, it is a mark until the action runs, and nothing of it is masked in what comes of that.
    let echoed = echo(&system).await;
    assert_eq!(echoed.execution.result, Some(json!("80 and ********")));
    assert_eq!(echoed.execution.parameters, json!({"message": "******** and ********"}));

    // From the moment on when it is a secret, it is one.
    put(&system, "ops.level", None, true).await;
    let told = system.run("ops.tell", json!({})).await;
    let keys = json!({"ops.level": "********", "ops.token": "********"});
    assert_eq!(told.execution.result, Some(json!({"keys": keys, "level": "********"})), "{told:?}");
    assert_eq!(echo(&system).await.execution.result, Some(json!("******** and ********")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_key_get_gives_the_values_of_plain_keys() {
    let system = System::start().await;
    system.install(&PACK).await;
    let pool = system.database.pool();
    let run = async |action: &str, parameters: Value| system.run(action, parameters).await.execution;
    let get = async |key_ref: &str| run("core.key_get", json!({"key": key_ref})).await;
    // Of the pack, whose rule began this, and of nobody's rule.
    let by_hand = get("ops.level").await.result.unwrap();
    let (secret, owner, value) = (&by_hand["secret"], &by_hand["owner"], &by_hand["value"]);
    assert_eq!((secret, owner, value), (&json!(false), &json!("pack"), &json!("80")));
    echo(&system).await;
    let by_rule: Value = sqlx::query_scalar(
        "select result -> 'value' from attune.execution where action_ref = 'core.key_get'
         order by id desc limit 1",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(by_rule, json!("80"));

    // A cursor: set, read, set again; it stays what it is.
    let set = run("core.key_set", json!({"key": "my.cursor", "value": "1", "secret": false})).await;
    let made = json!({"key": "my.cursor", "version": 1, "created": true, "secret": false});
    assert_eq!(set.result, Some(made), "{set:?}");
    let set = run("core.key_set", json!({"key": "my.cursor", "value": "2"})).await.result.unwrap();
    assert_eq!((&set["secret"], &set["version"]), (&json!(false), &json!(2)));
    assert_eq!(get("my.cursor").await.result.unwrap()["value"], json!("2"));
    // Text is text, whatever it looks like, and whatever is in it.
    put(&system, "my.cursor", Some("{\"at\": 1}\n"), false).await;
    assert_eq!(get("my.cursor").await.result.unwrap()["value"], json!("{\"at\": 1}\n"));
    let drawn = run("core.key_set", json!({"key": "my.cursor", "generate": 16})).await.result.unwrap();
    assert_eq!(
        (&drawn["secret"], &drawn["created"]),
        (&json!(true), &json!(false)),
        "what is drawn is a secret"
    );
    assert_eq!(get("my.cursor").await.result.unwrap().get("value"), None);

    for (parameters, expected) in [
        (
            json!({"key": "my.drawn", "generate": 16, "secret": false}),
            "`generate` does not go with `secret: false`",
        ),
        (
            json!({"key": "ops.config.token", "value": "x", "secret": false}),
            "is the name of a secret setting",
        ),
        (json!({"key": "my.token", "value": ""}), "the value of the key `my.token` is empty"),
        // What everybody may read is written only by whom it belongs to.
        (json!({"key": "ops.level", "value": "99"}), "belongs to another pack"),
    ] {
        let failed = run("core.key_set", parameters).await;
        assert!(failed.error.as_deref().unwrap_or_default().contains(expected), "{expected}: {failed:?}");
    }

    // That of an identity is nobody else's affair; a secret of another pack is no more for everybody than before.
    let identity = IdentityRepository::list(pool).await.unwrap()[0].id;
    let pack = PackRepository::get_by_ref(pool, "ops").await.unwrap().id;
    for (key_ref, secret, owner) in
        [("my.own", false, KeyOwner::Identity(identity)), ("my.token", true, KeyOwner::Pack(pack))]
    {
        put(&system, key_ref, Some("x"), secret).await;
        let id = KeyRepository::get_by_ref(pool, key_ref).await.unwrap().id;
        let update = KeyUpdate { owner: Some(owner), ..KeyUpdate::default() };
        KeyRepository::update(&mut pool.acquire().await.unwrap(), id, &update).await.unwrap();
        let refused = get(key_ref).await;
        assert!(refused.error.unwrap().contains("belongs to"), "{key_ref}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_key_set_makes_no_plain_key_of_a_secret() {
    let system = System::start().await;
    system.install(&PACK).await;
    system.client.set_key("ops.token", "hunter2").await.unwrap();
    put(&system, "my.level", Some("80"), false).await;
    let request = attune_client::types::EventRequest {
        trigger: "ops.wish".to_owned(),
        payload: json!({}),
        dedup_key: None,
        config: None,
    };
    let event = system.client.create_event(&request).await.unwrap().event;
    system.wait_until_idle().await;
    let detail = system.client.event(event).await.unwrap();
    for (rule, key_ref) in [("ops.copy", "my.copy"), ("ops.over", "my.level")] {
        let decision = detail.enforcements.iter().find(|of| of.enforcement.rule == rule).unwrap();
        let run = system.client.execution(decision.executions[0].id).await.unwrap().execution;
        let error = run.error.unwrap_or_default();
        assert!(error.starts_with("`value` holds the value of a secret key"), "{rule}: {error}");
        assert!(error.contains(&format!("`{key_ref}`")) && error.contains("pass `secret: true`"), "{error}");
    }
    assert_eq!(system.client.key("my.level").await.unwrap().value.as_deref(), Some("80"));
    let keys: Vec<(String, bool)> =
        sqlx::query_as("select ref, secret from attune.key where ref like 'my.%' order by ref")
            .fetch_all(system.database.pool())
            .await
            .unwrap();
    assert_eq!(keys, [("my.kept".to_owned(), true), ("my.level".to_owned(), false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_declared_secret_that_is_stored_as_none_is_set_by_who_says_what_it_is() {
    let system = System::start().await;
    system.install(&PACK).await;
    put(&system, "ops.token", Some("public"), false).await;
    let (shown, _) = cli(&system, &["pack", "show", "ops"]).await;
    assert!(shown.contains("ops.token (set, and no secret)"), "{shown}");
    let set = async |parameters: Value| system.run("core.key_set", parameters).await.execution;
    let failed = set(json!({"key": "ops.token", "value": "hunter2"})).await;
    let error = failed.error.unwrap_or_default();
    assert!(
        error.starts_with("the pack ops declares `ops.token` a secret, and it is stored as none"),
        "{error}"
    );
    assert_eq!(system.client.key("ops.token").await.unwrap().value.as_deref(), Some("public"));
    let said = set(json!({"key": "ops.token", "value": "hunter2", "secret": true})).await.result.unwrap();
    assert_eq!((&said["secret"], &said["version"]), (&json!(true), &json!(2)));
    let (shown, _) = cli(&system, &["pack", "show", "ops"]).await;
    assert!(shown.contains("ops.token (set)"), "{shown}");
}

/// What the command prints, and says besides.
async fn cli(system: &System, args: &[&str]) -> (String, String) {
    let output = attune()
        .args(args)
        .args(["--url", system.client.base().as_str()])
        .env("ATTUNE_TOKEN", system.token().await)
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_the_command_line_shows_what_is_no_secret() {
    let system = System::start().await;
    let (_, said) = cli(&system, &["key", "set", "ops.level", "--plain=80"]).await;
    assert_eq!(said, "key ops.level is set; whoever may read it sees its value\n");
    let (shown, _) = cli(&system, &["key", "show", "ops.level"]).await;
    assert!(shown.contains("secret:   no\n") && shown.contains("value:    80\n"), "{shown}");
    let (_, said) = cli(&system, &["key", "show", "ops.levl"]).await;
    assert!(said.contains("did you mean `ops.level`?"), "{said}");
    let (_, said) = cli(&system, &["key", "hide", "ops.level"]).await;
    assert_eq!(said, "key ops.level is a secret\n");
    let (listed, _) = cli(&system, &["key", "list"]).await;
    assert!(
        listed.contains("ops.level") && listed.contains("********") && !listed.contains("80"),
        "{listed}"
    );
    let (_, said) = cli(&system, &["key", "hide", "ops.levl"]).await;
    assert!(said.contains("did you mean `ops.level`?"), "{said}");
}
