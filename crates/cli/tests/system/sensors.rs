//! A sensor of a pack with settings, and a rule on the shared webhook, from installation to execution.

use std::time::Instant;

use attune_client::types::PackConfigChange;
use serde_json::json;

use crate::support::{PATIENCE, System, attune};

const SENSOR: &str = r#"
from __future__ import annotations

from dataclasses import dataclass

from attune import Sensor


@dataclass
class Settings:
    token: str
    host: str = "a"


class Watch(Sensor):
    settings: Settings

    def watch(self):
        # Masked, whatever it is put into; its length is not.
        self.emit("ops.seen", {"host": self.settings.host, "token": self.settings.token, "length": len(self.settings.token)})
        self.stopping.wait()


if __name__ == "__main__":
    Watch.main()
"#;

const PACK: [(&str, &str); 6] = [
    (
        "pack.yaml",
        "ref: ops\nversion: 1.0.0\nconfig_schema:\n  host: {type: string, default: a}\n  token: {type: string, secret: true, required: true}\n",
    ),
    ("triggers/seen.yaml", "ref: ops.seen\n"),
    (
        "sensors/watch.yaml",
        "ref: ops.watch\nruntime: core.python\nentrypoint: watch.py\ntriggers: [ops.seen]\n",
    ),
    ("sensors/watch.py", SENSOR),
    (
        "rules/tell.yaml",
        "ref: ops.tell\ntrigger: ops.seen\naction: core.echo\naction_params: {message: \"{{ event.payload }}\"}\n",
    ),
    (
        "rules/hook.yaml",
        "ref: ops.hook\ntrigger: core.webhook\ntrigger_params: {path: alertmanager}\naction: core.echo\naction_params: {message: \"{{ event.payload.status }}\"}\n",
    ),
];

/// What `attune pack show` says of the pack.
async fn shown(system: &System, token: &str) -> String {
    told(system, token, &["pack", "show", "ops"]).await
}

/// What a command says and prints.
async fn told(system: &System, token: &str, arguments: &[&str]) -> String {
    let mut command = attune();
    command.args(arguments);
    command.env("ATTUNE_URL", system.client.base().as_str()).env("ATTUNE_TOKEN", token);
    let output = command.output().await.unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_sensor_waits_for_its_settings_and_gets_them_anew_when_they_change() {
    let system = System::start().await;
    system.install(&PACK).await;
    let token = system.token().await;
    let until = Instant::now() + PATIENCE;
    loop {
        let shown = shown(&system, &token).await;
        if shown.contains("ops.watch: the configuration of the pack ops is not complete") {
            assert!(shown.contains("required `token` is missing"), "{shown}");
            break;
        }
        assert!(Instant::now() < until, "{shown}");
    }
    let set = async |name: &str, value: &str| {
        let change = PackConfigChange {
            set: [(name.to_owned(), json!(value))].into_iter().collect(),
            unset: Vec::new(),
        };
        system.client.change_pack_config("ops", &change).await.unwrap();
    };
    let events = "select count(*) from attune.event where trigger_ref = 'ops.seen'";
    set("token", "hunter2").await;
    system.wait_for_count(events, 1).await;
    set("host", "b").await;
    system.wait_for_count(events, 2).await;
    system.wait_until_idle().await;
    let told: Vec<serde_json::Value> = sqlx::query_scalar("select result from attune.execution order by id")
        .fetch_all(system.database.pool())
        .await
        .unwrap();
    let seen = |host: &str| json!({"host": host, "token": "********", "length": 7});
    assert_eq!(told, [seen("a"), seen("b")]);
    assert!(!shown(&system, &token).await.contains("ops.watch:"), "nothing is in its way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_rule_alone_takes_what_is_sent_to_its_path() {
    let system = System::start().await;
    system.install(&PACK).await;
    let token = system.token().await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let other = "ref: web.hook\ntrigger: core.webhook\ntrigger_params: {path: other}\naction: core.fail\n";
    system.install(&[("pack.yaml", "ref: web\nversion: 1.0.0\n"), ("rules/hook.yaml", other)]).await;
    let sent = system.client.webhook("/api/v1/hooks/alertmanager", &headers, r#"{"status": "firing"}"#).await;
    let event = sent.unwrap().event;
    system.wait_until_idle().await;
    let runs: Vec<(String, serde_json::Value)> =
        sqlx::query_as("select action_ref, result from attune.execution order by id")
            .fetch_all(system.database.pool())
            .await
            .unwrap();
    assert_eq!(runs, [("core.echo".to_owned(), json!("firing"))]);
    let mut command = attune();
    command.args(["event", "explain", &event.to_string(), "--rule", "web.hook"]);
    command.env("ATTUNE_URL", system.client.base().as_str()).env("ATTUNE_TOKEN", &token);
    let output = command.output().await.unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("`path` differs"), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

const CHANNELS: &str = r#"
from attune import Sensor


class Channels(Sensor):
    def watch(self):
        for channel in ["a", "b", None]:
            config = None if channel is None else {"channel": channel}
            self.emit("chat.heard", {"said": channel}, config=config)
        self.stopping.wait()


if __name__ == "__main__":
    Channels.main()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_rule_with_trigger_params_fires_for_what_a_sensor_reports_with_them() {
    let system = System::start().await;
    system
        .install(&[
            ("pack.yaml", "ref: chat\nversion: 1.0.0\n"),
            ("triggers/heard.yaml", "ref: chat.heard\nparameters: {channel: {type: string}}\n"),
            (
                "sensors/channels.yaml",
                "ref: chat.channels\nruntime: core.python\nentrypoint: channels.py\ntriggers: [chat.heard]\n",
            ),
            ("sensors/channels.py", CHANNELS),
            (
                "rules/b.yaml",
                "ref: chat.b\ntrigger: chat.heard\ntrigger_params: {channel: b}\naction: core.echo\naction_params: {message: \"{{ event.payload.said }}\"}\n",
            ),
        ])
        .await;
    system.wait_for_count("select count(*) from attune.event where trigger_ref = 'chat.heard'", 3).await;
    system.wait_until_idle().await;
    let told: Vec<serde_json::Value> = sqlx::query_scalar("select result from attune.execution")
        .fetch_all(system.database.pool())
        .await
        .unwrap();
    assert_eq!(told, [json!("b")]);
}

/// Asks what it declares, and something else.
const ASKING: &str = r#"
import os

from attune import Forbidden, Sensor, keys


class Asking(Sensor):
    def watch(self):
        try:
            keys.set("ops.other", "x")
            wrote = True
        except Forbidden:
            wrote = False
        self.emit("ops.seen", {"keys": keys.names(), "wrote": wrote, "token": os.environ["ATTUNE_API_TOKEN"]})
        self.stopping.wait()


if __name__ == "__main__":
    Asking.main()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_sensor_asks_what_it_declares_and_is_switched_off_as_its_action_is() {
    let system = System::start().await;
    let token = system.token().await;
    system.client.set_key("ops.token", "hunter2").await.unwrap();
    let pack = [
        ("pack.yaml", "ref: ops\nversion: 1.0.0\n"),
        ("triggers/seen.yaml", "ref: ops.seen\n"),
        (
            "sensors/asking.yaml",
            "ref: ops.asking\nruntime: core.python\nentrypoint: asking.py\ntriggers: [ops.seen]\n\
             permissions:\n  - {resource: key, actions: [read]}\n",
        ),
        ("sensors/asking.py", ASKING),
        ("actions/tell.yaml", "ref: ops.tell\nruntime: core.shell\nentrypoint: tell.sh\n"),
        ("actions/tell.sh", "#!/bin/sh\necho told\n"),
        ("rules/tell.yaml", "ref: ops.told\ntrigger: ops.seen\naction: ops.tell\n"),
    ];
    system.install(&pack).await;
    let events = "select count(*) from attune.event where trigger_ref = 'ops.seen'";
    system.wait_for_count(events, 1).await;
    let event = system.client.events(&[("trigger", "ops.seen".to_owned())]).await.unwrap().items.remove(0);
    let seen = system.client.event(event.id).await.unwrap().event.payload;
    assert_eq!(seen, json!({"keys": ["ops.token"], "wrote": false, "token": "********"}));

    let off = told(&system, &token, &["sensor", "disable", "ops.asking"]).await;
    assert_eq!(off, "sensor ops.asking is disabled\n");
    let listed = told(&system, &token, &["sensor", "list", "--pack", "ops"]).await;
    let line = listed.lines().find(|line| line.starts_with("ops.asking")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["ops.asking", "no", "ops.seen", "-"]);
    let detail = told(&system, &token, &["sensor", "show", "ops.asking"]).await;
    assert!(detail.contains("read key"), "{detail}");

    // A rule whose action is disabled says so, and what it did not start is not made up for.
    let started = "select count(*) from attune.execution";
    system.wait_for_count(started, 1).await;
    system.wait_until_idle().await;
    let off = told(&system, &token, &["action", "disable", "ops.tell"]).await;
    assert_eq!(off, "action ops.tell is disabled\n");
    let refused = told(&system, &token, &["run", "ops.tell"]).await;
    assert!(refused.contains("action ops.tell is disabled; nothing was started"), "{refused}");
    let request = attune_client::types::EventRequest {
        trigger: "ops.seen".to_owned(),
        payload: json!({}),
        dedup_key: None,
        config: None,
    };
    let event = system.client.create_event(&request).await.unwrap().event;
    system.wait_until_idle().await;
    let explained = told(&system, &token, &["event", "explain", &event.to_string()]).await;
    assert!(explained.contains("the action ops.tell is disabled"), "{explained}");
    let on = told(&system, &token, &["action", "enable", "ops.tell"]).await;
    assert_eq!(on, "action ops.tell is enabled\n");
    told(&system, &token, &["sensor", "enable", "ops.asking"]).await;
    system.wait_for_count(events, 3).await;
    system.wait_until_idle().await;
    system.wait_for_count(started, 2).await;
}
