//! Actions and sensors that are enabled and disabled on the server.

use attune_client::InstallWishes;
use attune_client::types::{ExecutionRequest, PackInstalled, Switch};
use serde_json::json;

use crate::app::{TestApp, grant, problem};
use crate::demo::{Files, archive, files_with};

const ON: Switch = Switch { enabled: true };
const OFF: Switch = Switch { enabled: false };

const WATCH: &str = "ref: demo.watch\nruntime: demo.shell\nentrypoint: watch.sh\ntriggers: [demo.alert]\n";

/// The demo pack with a sensor, in this version, with more in the files of the action and the sensor.
fn version(version: &str, more: &str) -> Files {
    let sensor = format!("{WATCH}{more}");
    let mut files = files_with(&[("sensors/watch.yaml", &sensor), ("sensors/watch.sh", "cat\n")]);
    files.insert("pack.yaml".to_owned(), format!("ref: demo\nversion: {version}\n"));
    files.entry("actions/page.yaml".to_owned()).and_modify(|action| action.push_str(more));
    files
}

async fn put(app: &TestApp, files: &Files, edits: Option<&str>) -> PackInstalled {
    let wishes = InstallWishes { source: Some("test"), edits };
    app.admin.install_packs(archive(files), wishes).await.unwrap()
}

/// Whether the action and the sensor are enabled.
async fn enabled(app: &TestApp) -> (bool, bool) {
    let action = app.admin.action("demo.page").await.unwrap();
    let sensor = app.admin.sensor("demo.watch").await.unwrap();
    let listed = &app.admin.sensors().await.unwrap().items[0];
    assert_eq!((listed.sensor_ref.as_str(), listed.enabled), ("demo.watch", sensor.enabled));
    (action.enabled, sensor.enabled)
}

async fn switch_both(app: &TestApp, switch: Switch) {
    assert_eq!(app.admin.switch_action("demo.page", switch).await.unwrap().enabled, switch.enabled);
    assert_eq!(app.admin.switch_sensor("demo.watch", switch).await.unwrap().enabled, switch.enabled);
}

#[tokio::test]
async fn test_what_is_disabled_is_not_started() {
    let app = TestApp::start().await;
    put(&app, &version("1.0.0", ""), None).await;
    assert_eq!(enabled(&app).await, (true, true));
    switch_both(&app, OFF).await;
    let request = ExecutionRequest::of("demo.page", json!({"text": "x"}));
    let refused = problem(app.admin.create_execution(&request).await);
    assert_eq!(
        (refused.status, refused.detail.as_str()),
        (409, "action demo.page is disabled; nothing was started")
    );
    // What those read who run sensors.
    let runnable = attune_common::repositories::SensorRepository::list_runnable(app.pool()).await.unwrap();
    assert_eq!(runnable, []);
    switch_both(&app, ON).await;
    app.admin.create_execution(&request).await.unwrap();
    let missing = problem(app.admin.switch_action("demo.none", OFF).await);
    assert_eq!(missing.status, 404);
    let reader = app.client_with("reader", vec![grant("sensor", &["read"])]).await;
    reader.sensor("demo.watch").await.unwrap();
    assert_eq!(problem(reader.switch_sensor("demo.watch", OFF).await).status, 403);
    app.stop().await;
}

#[tokio::test]
async fn test_what_was_switched_stays_so_over_upgrades() {
    let app = TestApp::start().await;
    put(&app, &version("1.0.0", ""), None).await;
    switch_both(&app, OFF).await;
    let next = version("1.1.0", "label: Another\n");
    let plan = app.admin.plan_packs(archive(&next), None).await.unwrap().packs.remove(0);
    let kept: Vec<(&str, &str, &str)> = plan
        .kept
        .iter()
        .map(|kept| (kept.kind.as_str(), kept.component.as_str(), kept.member.as_str()))
        .collect();
    assert_eq!(kept, [("action", "demo.page", "enabled"), ("sensor", "demo.watch", "enabled")]);
    assert!(plan.conflicts.is_empty());
    assert_eq!(enabled(&app).await, (false, false), "a plan changes nothing");
    let installed = put(&app, &next, None).await;
    assert_eq!(installed.kept, plan.kept);
    assert_eq!((&installed.kept[0].here, &installed.kept[0].pack), (&json!(false), &json!(true)));
    assert_eq!(enabled(&app).await, (false, false));
    // What the pack says now too is kept no more.
    let off = version("1.2.0", "enabled: false\n");
    assert!(put(&app, &off, None).await.kept.is_empty());
    // It is the pack that changes it.
    assert!(put(&app, &version("1.3.0", ""), None).await.kept.is_empty());
    assert_eq!(enabled(&app).await, (true, true));
    // The files of now may be asked for, also with the same files.
    switch_both(&app, OFF).await;
    assert_eq!(put(&app, &version("1.3.0", ""), Some("keep")).await.outcome, "unchanged");
    assert_eq!(enabled(&app).await, (false, false));
    assert_eq!(put(&app, &version("1.3.0", ""), Some("overwrite")).await.outcome, "restored");
    assert_eq!(enabled(&app).await, (true, true));
    assert_eq!(put(&app, &version("1.3.0", ""), Some("overwrite")).await.outcome, "unchanged");
    // What was enabled here stays so as well.
    put(&app, &version("1.4.0", "enabled: false\n"), None).await;
    switch_both(&app, ON).await;
    assert_eq!(put(&app, &version("1.5.0", "enabled: false\nlabel: Third\n"), None).await.kept.len(), 2);
    assert_eq!(enabled(&app).await, (true, true));
    app.stop().await;
}
