//! The tokens of sensors: what they open, how long, and what is made with them.

use attune_client::Client;
use attune_client::types::{EventRequest, ExecutionRequest};
use attune_common::models::identity::Grant;
use attune_common::repositories::{EventRepository, SensorRepository};
use attune_common::run_token::RunToken;
use attune_common::sensor_token::{SensorToken, SensorTokenKey};
use reqwest::Method;
use serde_json::json;
use sqlx::pool::PoolConnection;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres};

use crate::app::{TestApp, grant, problem, problem_of};
use crate::demo::{archive, files_with};
use crate::permissions::{GUARDED, send};

const SENSOR: &str = "ref: demo.watch\nruntime: demo.shell\nentrypoint: watch.sh\ntriggers: [demo.alert]\n";
const SCRIPT: (&str, &str) = ("sensors/watch.sh", "cat\n");

/// A sensor that runs: its lock is held.
struct Running {
    sensor: i64,
    life: i64,
    lock: PoolConnection<Postgres>,
    token: String,
    client: Client,
}

impl Running {
    async fn begin(app: &TestApp, permissions: &str) -> Self {
        let sensor = format!("{SENSOR}permissions: {permissions}\n");
        let files = files_with(&[("sensors/watch.yaml", &sensor), SCRIPT]);
        app.admin.install_pack(archive(&files), "test").await.unwrap();
        let sensor = SensorRepository::get_by_ref(app.pool(), "demo.watch").await.unwrap().id;
        let mut lock = app.pool().acquire().await.unwrap();
        assert!(SensorRepository::try_lock(&mut *lock, sensor).await.unwrap());
        let life = SensorRepository::begin_life(app.pool(), sensor).await.unwrap().unwrap();
        let token = app.sensor_tokens().token(&SensorToken { sensor, life });
        let client = app.admin.with_token(token.clone());
        Self { sensor, life, lock, token, client }
    }
}

async fn declare(pool: &PgPool, grants: Vec<Grant>) {
    let change = "update attune.sensor set permissions = $1 where ref = 'demo.watch'";
    let changed = sqlx::query(change).bind(Json(grants)).execute(pool).await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
}

async fn status(app: &TestApp, token: &str) -> u16 {
    match app.admin.with_token(token).whoami().await {
        Ok(_) => 200,
        Err(error) => problem::<()>(Err(error)).status,
    }
}

#[tokio::test]
async fn test_every_operation_refuses_what_the_sensor_did_not_declare() {
    let app = TestApp::start().await;
    let running = Running::begin(&app, "[{resource: webhook, actions: [read]}]").await;
    for (operation, ..) in GUARDED {
        assert_eq!(send(&app, operation, Some(&running.token)).await, 403, "{operation} without permissions");
    }
    for (operation, ..) in GUARDED {
        let needed = GUARDED.iter().filter(|(other, ..)| other == operation);
        declare(app.pool(), needed.map(|(_, resource, action)| grant(resource, &[action])).collect()).await;
        let status = send(&app, operation, Some(&running.token)).await;
        assert!(!matches!(status, 401 | 403 | 405 | 500..), "{operation} with its permission: {status}");
    }
    declare(app.pool(), Vec::new()).await;
    let refusal = problem(running.client.events(&[]).await);
    assert_eq!(
        refusal.detail,
        "the sensor demo.watch may not do this: it would have to declare `read` on `event` in its `permissions`"
    );
    app.stop().await;
}

#[tokio::test]
async fn test_a_token_is_valid_while_the_process_of_its_sensor_runs() {
    let app = TestApp::start().await;
    let mut running = Running::begin(&app, "[{resource: event, actions: [create]}]").await;
    let token = |sensor: i64, life: i64| app.sensor_tokens().token(&SensorToken { sensor, life });
    assert_eq!(status(&app, &running.token).await, 200);
    assert_eq!(status(&app, &token(running.sensor, running.life - 1)).await, 401, "a former process");
    assert_eq!(status(&app, &token(running.sensor, running.life + 1)).await, 401, "a process to come");
    assert_eq!(status(&app, &token(running.sensor + 1, running.life)).await, 401, "no sensor");
    assert_eq!(status(&app, &running.token.replacen("sensor_", "sensor_0", 1)).await, 401, "forged");
    let of_run = RunToken { execution: running.sensor, attempt: 1, expires: i64::MAX };
    let of_run = app.run_tokens.token(&of_run).replacen("attune_run_", "attune_sensor_", 1);
    assert_eq!(status(&app, &of_run).await, 401, "signed for something else");
    let other = SensorTokenKey::of(&attune_common::crypto::SecretKey::generate());
    let other = other.token(&SensorToken { sensor: running.sensor, life: running.life });
    assert_eq!(status(&app, &other).await, 401, "of another installation");

    let whoami = running.client.whoami().await.unwrap();
    assert_eq!((whoami.login.as_str(), whoami.execution), ("sensor demo.watch", None));
    let logout = app.request(Method::POST, "/api/v1/auth/logout").bearer_auth(&running.token);
    problem_of(logout.send().await.unwrap(), 409).await;

    // The role that ran it vanished with its connection.
    assert!(SensorRepository::unlock(&mut *running.lock, running.sensor).await.unwrap());
    assert_eq!(status(&app, &running.token).await, 401, "nobody runs it");
    assert!(SensorRepository::try_lock(&mut *running.lock, running.sensor).await.unwrap());
    assert_eq!(status(&app, &running.token).await, 200);
    SensorRepository::end_life(app.pool(), running.sensor, running.life).await.unwrap();
    assert_eq!(status(&app, &running.token).await, 401, "its process has ended");
    app.stop().await;
}

#[tokio::test]
async fn test_what_a_sensor_makes_tells_where_it_came_from() {
    let app = TestApp::start().await;
    let permissions = "[{resource: event, actions: [create]}, {resource: execution, actions: [create], constraints: {refs: [demo.page]}}]";
    let running = Running::begin(&app, permissions).await;
    let request = EventRequest {
        trigger: "demo.alert".to_owned(),
        payload: json!({}),
        dedup_key: None,
        config: Some(json!({"team": "ops"})),
    };
    let event = running.client.create_event(&request).await.unwrap().event;
    let event = EventRepository::get_by_id(app.pool(), event).await.unwrap();
    assert_eq!((event.source, event.source_ref.as_deref()), (Some(running.sensor), Some("demo.watch")));
    let page = ExecutionRequest::of("demo.page", json!({"text": "x"}));
    assert_eq!(running.client.create_execution(&page).await.unwrap().action, "demo.page");
    let other = ExecutionRequest::of("core.noop", json!({}));
    assert_eq!(problem(running.client.create_execution(&other).await).status, 403);
    app.stop().await;
}

#[tokio::test]
async fn test_a_sensor_declares_no_more_than_its_installer_may() {
    let app = TestApp::start().await;
    let sensor = format!("{SENSOR}permissions: [{{resource: key, actions: [read]}}]\n");
    let files = archive(&files_with(&[("sensors/watch.yaml", &sensor), SCRIPT]));
    let installer = app.client_with("installer", vec![grant("pack", &["create", "read"])]).await;
    let refusal = problem(installer.install_pack(files, "test").await);
    assert_eq!(refusal.status, 403);
    assert_eq!(
        refusal.errors[0].detail,
        "demo.watch asks for `read` on `key`, which you may not do yourself"
    );
    assert_eq!(refusal.errors[0].file.as_deref(), Some("sensors/watch.yaml"));
    app.stop().await;
}
