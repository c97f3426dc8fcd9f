//! The value of a key reaches the action that a rule runs, and nothing else.

use std::process::Stdio;

use attune_client::types::{ExecutionDetail, RuleRequest};
use attune_common::crypto::SecretKey;
use attune_common::models::key::{KeyOwner, KeyUpdate};
use attune_common::repositories::{KeyRepository, PackRepository};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::support::{System, attune, directory};

const SECRET: &str = "hunter\"2\" of spades";

const PACK: [(&str, &str); 10] = [
    ("pack.yaml", "ref: ops\nversion: 1.0.0\nlabel: Operations\n"),
    ("triggers/alert.yaml", "ref: ops.alert\n"),
    (
        "actions/by_stdin.yaml",
        "ref: ops.by_stdin\nruntime: core.shell\nentrypoint: by_stdin.sh\noutput_format: json\nparameters: {header: {type: string, maxLength: 60}, retries: {type: integer, default: 2}}\n",
    ),
    // Tells everything it knows, in pieces and in two streams.
    (
        "actions/by_stdin.sh",
        "#!/bin/sh\nread -r given\nprintf 'stderr: hunt' >&2; sleep 0.1; printf 'er\"2\" of spades end\\n' >&2\nprintf '{\"given\": %s, \"length\": %s}\\n' \"$given\" \"${#given}\"\n",
    ),
    (
        "actions/by_env.yaml",
        "ref: ops.by_env\nruntime: core.shell\nentrypoint: by_env.sh\nparameter_delivery: env\nparameters: {token: {type: string}}\n",
    ),
    ("actions/by_env.sh", "#!/bin/sh\necho \"I was given ${#ATTUNE_ACTION_TOKEN}: $ATTUNE_ACTION_TOKEN\"\n"),
    (
        "rules/by_stdin.yaml",
        "ref: ops.by_stdin\ntrigger: ops.alert\nconditions:\n  - {field: event.payload.way, operator: equals, value: stdin}\naction: ops.by_stdin\naction_params:\n  header: \"Bearer {{ key('ops.pager_token') }} for {{ event.payload.text }}\"\n",
    ),
    (
        "rules/by_env.yaml",
        "ref: ops.by_env\ntrigger: ops.alert\nconditions:\n  - {field: event.payload.way, operator: equals, value: env}\naction: ops.by_env\naction_params: {token: \"{{ key('ops.pager_token') }}\"}\n",
    ),
    (
        "rules/by_worker.yaml",
        "ref: ops.by_worker\ntrigger: ops.alert\nconditions:\n  - {field: event.payload.way, operator: equals, value: worker}\naction: core.echo\naction_params: {message: \"{{ key('ops.pager_token') }}\"}\n",
    ),
    (
        "rules/by_window.yaml",
        "ref: ops.by_window\ntrigger: ops.alert\nconditions:\n  - {field: event.payload.way, operator: equals, value: window}\nwindow: {throttle: 15m}\naction: core.echo\naction_params: {message: \"{{ window.count }} {{ key('ops.pager_token') }}\"}\n",
    ),
];

/// Lets the event happen and gives back the execution that follows.
async fn run(system: &System, way: &str) -> ExecutionDetail {
    let forged = "<key:AAAA:ops.pager_token>";
    let request = attune_client::types::EventRequest {
        trigger: "ops.alert".to_owned(),
        payload: json!({"way": way, "text": forged}),
        dedup_key: None,
        config: None,
    };
    let event = system.client.create_event(&request).await.unwrap().event;
    system.wait_until_idle().await;
    let detail = system.client.event(event).await.unwrap();
    let [decision] = detail.enforcements.as_slice() else { panic!("{detail:?}") };
    assert_eq!(decision.enforcement.error, None);
    system.client.execution(decision.executions[0].id).await.unwrap()
}

fn error(detail: &ExecutionDetail) -> &str {
    assert_eq!(detail.execution.status, "failed", "{detail:?}");
    detail.execution.error.as_deref().unwrap_or_default()
}

/// Every row of every table as text that holds any of these words.
pub(crate) async fn rows_with(system: &System, words: &[&str]) -> Vec<String> {
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'attune' order by 1")
            .fetch_all(system.database.pool())
            .await
            .unwrap();
    let mut found = Vec::new();
    for table in tables {
        let query = format!(
            "select row.text from (select coalesce(convert_from(content, 'utf8'), '') as text from attune.execution_output \
             where '{table}' = 'execution_output' union all select to_jsonb(t)::text from attune.{table} t) as row"
        );
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(system.database.pool()).await.unwrap();
        found.extend(
            rows.into_iter()
                .filter(|row| words.iter().any(|word| row.contains(word)))
                .map(|row| format!("{table}: {row}")),
        );
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_the_value_of_a_key_reaches_the_action_and_nothing_else() {
    let system = System::start().await;
    system.install(&PACK).await;
    let missing = run(&system, "env").await;
    assert!(
        error(&missing).contains("`ops.pager_token`, which does not exist: set it with `attune key set"),
        "{missing:?}"
    );
    assert_eq!(missing.stdout, "", "no process was started");

    system.client.set_key("ops.pager_token", SECRET).await.unwrap();
    let done = run(&system, "stdin").await;
    assert_eq!(done.execution.status, "completed", "{done:?}");
    let header = "Bearer ******** for <key:AAAA:ops.pager_token>";
    // It knows the value, since it knows how long that is.
    let given = json!({"header": format!("Bearer {SECRET} for <key:AAAA:ops.pager_token>"), "retries": 2})
        .to_string();
    let result = json!({"given": {"header": header, "retries": 2}, "length": given.len()});
    assert_eq!(done.execution.result, Some(result));
    assert_eq!(done.execution.parameters, json!({"header": header, "retries": 2}));
    assert_eq!(done.stderr, "stderr: ******** end\n");
    assert!(done.stdout.contains("Bearer ******** for"), "{done:?}");

    let done = run(&system, "env").await;
    assert_eq!(done.stdout, format!("I was given {}: ********\n", SECRET.len()));
    let done = run(&system, "worker").await;
    assert_eq!(done.execution.result, Some(json!("********")));
    let done = run(&system, "window").await;
    assert_eq!(done.execution.result, Some(json!("1 ********")));

    let listed = system.client.enforcements(&[]).await.unwrap();
    assert!(format!("{listed:?}").contains("********"), "{listed:?}");
    assert_eq!(rows_with(&system, &["spades", "hunter"]).await, Vec::<String>::new());
    // Marks are where the worker looks for them, and nowhere else.
    let marks = rows_with(&system, &["<key:"]).await;
    let of_ours: Vec<_> = marks.iter().filter(|row| !row.contains("<key:AAAA:")).collect();
    assert!(of_ours.iter().all(|row| row.starts_with("execution: ")), "{of_ours:?}");
    assert!(of_ours.len() >= 3, "{marks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_key_is_used_by_those_it_is_for() {
    let system = System::start().await;
    system.install(&PACK).await;
    let pool = system.database.pool();
    let key = system.client.set_key("ops.pager_token", SECRET).await.unwrap();
    let belongs_to = async |owner: KeyOwner| {
        let id = KeyRepository::get_by_ref(pool, &key.key_ref).await.unwrap().id;
        let update = KeyUpdate { owner: Some(owner), ..KeyUpdate::default() };
        let mut connection = pool.acquire().await.unwrap();
        KeyRepository::update(&mut connection, id, &update).await.unwrap();
    };
    let pack = async |pack_ref: &str| PackRepository::get_by_ref(pool, pack_ref).await.unwrap().id;
    // The pack of the rule; of the action; neither.
    belongs_to(KeyOwner::Pack(pack("ops").await)).await;
    assert_eq!(run(&system, "worker").await.execution.result, Some(json!("********")));
    belongs_to(KeyOwner::Pack(pack("core").await)).await;
    assert_eq!(run(&system, "worker").await.execution.result, Some(json!("********")));
    let refused = run(&system, "env").await;
    assert!(error(&refused).contains("`ops.pager_token`, which belongs to another pack"), "{refused:?}");
    let action = attune_common::repositories::ActionRepository::get_by_ref(pool, "ops.by_env").await.unwrap();
    belongs_to(KeyOwner::Action(action.id)).await;
    assert_eq!(run(&system, "env").await.stdout, format!("I was given {}: ********\n", SECRET.len()));
    let refused = run(&system, "worker").await;
    assert!(error(&refused).contains("belongs to another action"), "{refused:?}");

    // A rule by itself is checked when it is saved.
    let rule: RuleRequest = serde_json::from_value(json!({
        "ref": "my.rule", "trigger": "ops.alert", "action": "core.echo",
        "action_params": {"message": "{{ key('ops.pager_tokn') }}"},
    }))
    .unwrap();
    let refused = format!("{:?}", system.client.create_rule(&rule).await.unwrap_err());
    assert!(refused.contains("there is no key `ops.pager_tokn`"), "{refused}");
    assert!(refused.contains("ops.pager_token\""), "{refused}");
}

/// A worker beside the others.
pub(crate) fn worker(system: &System, name: &str, master_key: Option<&str>, data: &std::path::Path) -> Child {
    let mut command = attune();
    command
        .args(["serve", "--role", "worker", "--worker-name", name, "--database-url", system.database.url()])
        .arg("--data-dir")
        .arg(data)
        .env("ATTUNE_LOG", "error")
        .stdout(Stdio::null());
    if let Some(master_key) = master_key {
        command.env("ATTUNE_MASTER_KEY", master_key);
    }
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_worker_without_the_master_key_says_so() {
    let system = System::start().await;
    system.install(&PACK).await;
    system.client.set_key("ops.pager_token", SECRET).await.unwrap();
    system.client.cordon("test").await.unwrap();
    let data = directory();
    let mut without = worker(&system, "without", None, data.path());
    let told = run(&system, "worker").await;
    assert!(error(&told).contains("`ops.pager_token`, and this worker has no master key"), "{told:?}");
    without.kill().await.unwrap();
    let other: String = SecretKey::generate().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut wrong = worker(&system, "wrong", Some(&other), data.path());
    let told = run(&system, "worker").await;
    assert!(
        error(&told).contains("`ops.pager_token`, which cannot be read: the master key is not the one"),
        "{told:?}"
    );
    assert_eq!(told.execution.result, None::<Value>);
    wrong.kill().await.unwrap();
}
