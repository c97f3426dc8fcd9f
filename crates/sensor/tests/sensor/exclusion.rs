//! Over all roles on one database a sensor runs once.

use attune_common::repositories::SensorRepository;
use sqlx::Connection;

use crate::helpers::{Log, REPORT_PID, Role, STAY, World, is_running, until, wait_until_gone};

#[tokio::test]
async fn test_of_two_roles_one_runs_the_sensor_and_the_other_takes_over() {
    let world = World::create().await;
    let log = Log::keep();
    world.sensor("watch", &format!("{REPORT_PID}{STAY}")).await;
    let first = Role::start(&world);
    let pids = world.wait_for_pids(1).await;
    let second = Role::start(&world);
    log.wait_for(&["INFO", "sensor=\"ops.watch\"", "runs under another role"]).await;
    assert_eq!(world.events().await.len(), 1);
    first.stop().await;
    assert!(!is_running(pids[0]));
    second.wake();
    let pids = world.wait_for_pids(2).await;
    assert!(is_running(pids[1]));
    second.stop().await;
    assert!(!is_running(pids[1]));
    assert_eq!(world.events().await.len(), 2);
}

#[tokio::test]
async fn test_a_role_that_loses_its_connection_stops_its_sensors_and_then_runs_them_again() {
    let world = World::create().await;
    world.sensor("watch", &format!("{REPORT_PID}{STAY}")).await;
    let role = Role::start(&world);
    let pids = world.wait_for_pids(1).await;
    let ended: Vec<bool> = sqlx::query_scalar(
        "select pg_terminate_backend(pid)
         from pg_stat_activity
         where application_name = 'attune sensor locks' and datname = current_database()",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(ended, [true]);
    wait_until_gone(pids[0]).await;
    let pids = world.wait_for_pids(2).await;
    assert!(is_running(pids[1]));
    role.stop().await;
}

#[tokio::test]
async fn test_a_sensor_whose_lock_is_taken_waits_for_it_and_a_disabled_one_gives_it_back() {
    let world = World::create().await;
    let log = Log::keep();
    let sensor = world.sensor("watch", &format!("{REPORT_PID}{STAY}")).await;
    let mut other = sqlx::PgConnection::connect(world.database.url()).await.unwrap();
    assert!(SensorRepository::try_lock(&mut other, sensor.id).await.unwrap());
    let role = Role::start(&world);
    log.wait_for(&["sensor=\"ops.watch\"", "runs under another role"]).await;
    assert!(SensorRepository::unlock(&mut other, sensor.id).await.unwrap());
    assert!(!SensorRepository::unlock(&mut other, sensor.id).await.unwrap());
    role.wake();
    let pids = world.wait_for_pids(1).await;
    assert!(!SensorRepository::try_lock(&mut other, sensor.id).await.unwrap());
    let disabled = attune_common::models::sensor::NewSensor { enabled: false, ..world.definition("watch") };
    world.define(&disabled).await;
    role.wake();
    until("the lock", async || {
        SensorRepository::try_lock(&mut other, sensor.id).await.unwrap().then_some(())
    })
    .await;
    assert!(!is_running(pids[0]));
    role.stop().await;
}
