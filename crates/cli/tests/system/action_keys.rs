//! The values of the keys that an action names reach its runs, whoever runs it, and nothing else.

use attune_client::types::ExecutionDetail;
use attune_common::crypto::SecretKey;
use attune_common::models::key::{KeyOwner, KeyUpdate};
use attune_common::repositories::{ActionRepository, KeyRepository, PackRepository};
use serde_json::json;

use crate::keys::{rows_with, worker};
use crate::run_api::{content, written};
use crate::support::{System, archive, attune, directory};

const SECRET: &str = "hunter\"2\" of spades";

const PACK: [(&str, &str); 9] = [
    ("pack.yaml", "ref: ops\nversion: 1.0.0\nlabel: Operations\n"),
    ("triggers/alert.yaml", "ref: ops.alert\n"),
    (
        "actions/tell.yaml",
        "ref: ops.tell\nruntime: core.shell\nentrypoint: tell.sh\noutput_format: json\nparameter_delivery: env\n\
         parameters: {attune: {type: string}}\nkeys:\n  - ops.token\n  - {ref: ops.proxy, required: false}\n",
    ),
    // Everything that it knows goes everywhere that it can, a value in two pieces too; its length shows that it knows it.
    (
        "actions/tell.sh",
        "#!/bin/sh\nset -e\nprintf 'stderr: hunt' >&2; sleep 0.3; printf 'er\"2\" of spades end\\n' >&2\n\
         printf '%s' \"$ATTUNE_KEYS\" > \"$ATTUNE_ARTIFACTS/keys.json\"\n\
         \"$ATTUNE_ACTION_ATTUNE\" execution progress 10 --message \"with $ATTUNE_KEYS\"\n\
         printf '{\"keys\": %s, \"length\": %s}\\n' \"$ATTUNE_KEYS\" \"${#ATTUNE_KEYS}\"\n",
    ),
    (
        "actions/fail.yaml",
        "ref: ops.fail\nruntime: core.shell\nentrypoint: fail.sh\noutput_format: json\nkeys: [{ref: ops.token}]\n",
    ),
    // No JSON.
    ("actions/fail.sh", "#!/bin/sh\nprintf '%s' \"[$ATTUNE_KEYS, hunter]\" | tr -d '{}'\n"),
    (
        "actions/read.yaml",
        "ref: ops.read\nruntime: core.python\nentrypoint: read.py\noutput_format: json\nkeys: [ops.token, {ref: ops.proxy, required: false}]\n",
    ),
    (
        "actions/read.py",
        "import attune\nfrom attune import action, keys\n\n\n@action\ndef read() -> dict:\n    \
         token, proxy = keys.get(\"ops.token\"), keys.get(\"ops.proxy\", default=None)\n    \
         print(\"read\", token)\n    \
         try:\n        keys.get(\"ops.other\")\n    except LookupError as error:\n        said = str(error)\n    \
         return {\"token\": token, \"length\": len(token), \"proxy\": proxy, \"said\": said}\n\n\nread.run()\n",
    ),
    ("actions/plain.yaml", "ref: ops.plain\nruntime: core.shell\nentrypoint: fail.sh\n"),
];

fn error(detail: &ExecutionDetail) -> &str {
    assert_eq!(detail.execution.status, "failed", "{detail:?}");
    detail.execution.error.as_deref().unwrap_or_default()
}

async fn tell(system: &System) -> ExecutionDetail {
    system.run("ops.tell", json!({"attune": env!("CARGO_BIN_EXE_attune")})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_the_keys_that_an_action_names_reach_its_runs_and_nothing_else() {
    let system = System::start().await;
    system.install(&PACK).await;
    let missing = tell(&system).await;
    assert_eq!(
        error(&missing),
        "the action ops.tell names the key `ops.token`, which does not exist: set it with `attune key set ops.token`"
    );
    assert_eq!((missing.stdout.as_str(), missing.stderr.as_str()), ("", ""), "no process was started");

    system.client.set_key("ops.token", SECRET).await.unwrap();
    let told = tell(&system).await;
    assert_eq!(told.execution.status, "completed", "{told:?}");
    let given = json!({"ops.proxy": null, "ops.token": SECRET}).to_string();
    let masked = json!({"ops.proxy": null, "ops.token": "********"});
    assert_eq!(told.execution.result, Some(json!({"keys": masked, "length": given.len()})));
    assert_eq!(written(&system, told.execution.id, "stderr").await, "stderr: ******** end\n");
    assert!(told.stdout.contains("\"ops.token\":\"********\""), "{told:?}");
    assert_eq!(content(&system, "ops.tell.keys.json").await, masked.to_string().as_bytes());
    let message = told.progress.unwrap().message;
    assert_eq!(message, Some(format!("with {masked}")));

    let failed = system.run("ops.fail", json!({})).await;
    assert!(error(&failed).contains("standard output is not json"), "{failed:?}");
    assert_eq!(failed.stdout, "[\"ops.token\":\"********\", hunter]");
    // An action that names none is told nothing.
    assert_eq!(system.run("ops.plain", json!({})).await.stdout, "[, hunter]");

    // The first run of a runtime starts it; the next ones are forked from what has started.
    for _ in 0..3 {
        let read = system.run("ops.read", json!({})).await;
        let said = "ops.read does not name the key ops.other: declare it in the definition of the action, \
                    `keys: [ops.other]`; it names ops.proxy, ops.token";
        let result =
            json!({"token": "********", "length": SECRET.chars().count(), "proxy": null, "said": said});
        assert_eq!(read.execution.result, Some(result), "{read:?}");
        assert_eq!(read.stderr, "read ********\n");
    }
    system.client.set_key("ops.proxy", "spade & club").await.unwrap();
    let read = system.run("ops.read", json!({})).await;
    assert_eq!(read.execution.result.unwrap()["proxy"], json!("********"));

    let shown = attune()
        .args(["action", "show", "ops.tell", "--url", system.client.base().as_str()])
        .env("ATTUNE_TOKEN", system.token().await)
        .output()
        .await
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("ops.token, ops.proxy (if it is set)"), "{shown}");
    assert_eq!(rows_with(&system, &["spade", "hunter\"2", "hunter\\\""]).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_an_action_gets_only_the_keys_that_are_for_it() {
    let system = System::start().await;
    system.install(&PACK).await;
    // Another pack, whose rules run the action.
    system
        .install(&[
            ("pack.yaml", "ref: duty\nversion: 1.0.0\nlabel: Duty\n"),
            ("triggers/call.yaml", "ref: duty.call\n"),
            ("rules/call.yaml", "ref: duty.call\ntrigger: duty.call\naction: ops.fail\n"),
        ])
        .await;
    let pool = system.database.pool();
    for key_ref in ["ops.token", "ops.proxy"] {
        system.client.set_key(key_ref, SECRET).await.unwrap();
    }
    let belongs_to = async |key_ref: &str, owner: KeyOwner| {
        let id = KeyRepository::get_by_ref(pool, key_ref).await.unwrap().id;
        let update = KeyUpdate { owner: Some(owner), ..KeyUpdate::default() };
        let mut connection = pool.acquire().await.unwrap();
        KeyRepository::update(&mut connection, id, &update).await.unwrap();
    };
    let pack = async |pack_ref: &str| PackRepository::get_by_ref(pool, pack_ref).await.unwrap().id;
    let action = async |action_ref: &str| ActionRepository::get_by_ref(pool, action_ref).await.unwrap().id;

    belongs_to("ops.token", KeyOwner::Pack(pack("ops").await)).await;
    belongs_to("ops.proxy", KeyOwner::Action(action("ops.tell").await)).await;
    assert_eq!(tell(&system).await.execution.status, "completed");
    let refused = system.run("ops.read", json!({})).await;
    assert_eq!(
        error(&refused),
        "the action ops.read names the key `ops.proxy`, which belongs to another action: an action may name keys of the system \
         (as `attune key set` makes them), of its own pack, and its own",
        "that it need not exist makes it nobody else's"
    );
    // What the pack of a rule may use, its rules hand over; an action takes nothing of it by itself.
    belongs_to("ops.token", KeyOwner::Pack(pack("duty").await)).await;
    let request = attune_client::types::EventRequest {
        trigger: "duty.call".to_owned(),
        payload: json!({}),
        dedup_key: None,
        config: None,
    };
    let event = system.client.create_event(&request).await.unwrap().event;
    system.wait_until_idle().await;
    let detail = system.client.event(event).await.unwrap();
    let run = system.client.execution(detail.enforcements[0].executions[0].id).await.unwrap();
    assert!(error(&run).contains("`ops.token`, which belongs to another pack"), "{run:?}");
    assert_eq!(run.stdout, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_worker_that_cannot_read_the_keys_of_an_action_says_so() {
    let system = System::start().await;
    system.install(&PACK).await;
    system.client.set_key("ops.token", SECRET).await.unwrap();
    system.client.cordon("test").await.unwrap();
    let data = directory();
    let mut without = worker(&system, "without", None, data.path());
    let told = system.run("ops.fail", json!({})).await;
    assert!(
        error(&told)
            .contains("the action ops.fail names the key `ops.token`, and this worker has no master key"),
        "{told:?}"
    );
    without.kill().await.unwrap();
    let other: String = SecretKey::generate().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut wrong = worker(&system, "wrong", Some(&other), data.path());
    let told = system.run("ops.fail", json!({})).await;
    assert!(
        error(&told).contains("`ops.token`, which cannot be read: the master key is not the one"),
        "{told:?}"
    );
    wrong.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_change_of_the_keys_of_an_action_is_in_the_plan_and_counts_from_the_next_run() {
    let system = System::start().await;
    system.install(&PACK).await;
    let mut changed = PACK;
    changed[4].1 = "ref: ops.fail\nruntime: core.shell\nentrypoint: fail.sh\noutput_format: json\nkeys: [{ref: ops.proxy, required: false}]\n";
    let plan = system.client.plan_packs(archive(&changed), None).await.unwrap().packs.remove(0);
    let plan = serde_json::to_value(&plan).unwrap();
    let change = &plan["changes"][0];
    assert_eq!((&change["kind"], &change["ref"]), (&json!("action"), &json!("ops.fail")), "{plan}");
    assert_eq!(change["members"][0]["member"], json!("keys"), "{plan}");
    assert_eq!(
        (&change["members"][0]["before"], &change["members"][0]["after"]),
        (&json!([{"ref": "ops.token", "required": true}]), &json!([{"ref": "ops.proxy", "required": false}])),
        "{plan}"
    );
    assert!(error(&system.run("ops.fail", json!({})).await).contains("`ops.token`, which does not exist"));
    system.install(&changed).await;
    assert_eq!(system.run("ops.fail", json!({})).await.stdout, "[\"ops.proxy\":null, hunter]");
}
