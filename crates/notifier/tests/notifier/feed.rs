//! Every change, once, in order.

use attune_common::repositories::{ChangeCursor, ChangeRepository};

use crate::helpers::{PATIENCE, World, in_time, record, record_many};

const START: &str = "?after=0-0";

#[tokio::test]
async fn test_changes_come_in_order_and_say_what_happened() {
    let world = World::create().await;
    world.change(1).await;
    // As long as any transaction of the server withholds it, it is still to come.
    in_time("the first change", async {
        while ChangeRepository::after(world.pool(), ChangeCursor::default(), 1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut subscriber = world.subscribe("").await;
    for entity in 2..=4 {
        world.change(entity).await;
    }
    // The first one was before its time.
    let change = subscriber.next().await.unwrap();
    assert_eq!((change.entity_type.as_str(), change.entity), ("execution", 2));
    assert_eq!((change.entity_ref.as_str(), change.activity.as_str()), ("ops.page", "running"));
    assert_eq!(subscriber.entities(2).await, [3, 4]);
}

#[tokio::test]
async fn test_a_subscriber_goes_on_where_it_was() {
    let world = World::create().await;
    for entity in 1..=5 {
        world.change(entity).await;
    }
    let mut first = world.subscribe(START).await;
    assert_eq!(first.entities(1).await, [1]);
    let second = first.next().await.unwrap().cursor;
    drop(first);

    let mut by_query = world.subscribe(&format!("?after={second}")).await;
    let mut by_header = world.subscribe_with(START, &[("last-event-id", &second)]).await;
    assert_eq!(by_query.entities(3).await, [3, 4, 5]);
    assert_eq!(by_header.entities(3).await, [3, 4, 5]);
    world.change(6).await;
    assert_eq!(by_query.entities(1).await, [6]);
    assert_eq!(by_header.entities(1).await, [6]);
}

#[tokio::test]
async fn test_nothing_is_missed_or_doubled_where_the_past_meets_the_present() {
    const CHANGES: i64 = 3000;
    let world = World::create().await;
    // More than one page lies in the past of the first ones, and all subscribe while more comes.
    record_many(world.pool(), 1, 1200).await;
    let written = tokio::sync::watch::Sender::new(1200);
    let write = async {
        for entity in 1201..=CHANGES {
            world.change(entity).await;
            written.send_replace(entity);
        }
    };
    let read = futures::future::join_all((0..20).map(async |number| {
        let mut written = written.subscribe();
        in_time(
            "the changes before a subscriber",
            written.wait_for(|written| *written >= 1200 + number * 80),
        )
        .await
        .unwrap();
        let mut subscriber = world.subscribe(START).await;
        assert!(subscriber.entities(CHANGES as usize).await.into_iter().eq(1..=CHANGES), "{number}");
        subscriber
    }));
    let ((), subscribers) = tokio::join!(write, read);
    world.change(CHANGES + 1).await;
    for mut subscriber in subscribers {
        assert_eq!(subscriber.entities(1).await, [CHANGES + 1], "and nothing twice");
    }
}

#[tokio::test]
async fn test_nothing_is_missed_while_a_transaction_is_open() {
    let world = World::create().await;
    let mut subscriber = world.subscribe("").await;
    let mut late = world.subscribe(START).await;
    let mut open = attune_common::db::begin(world.pool()).await.unwrap();
    record(&mut *open, "execution", 1).await;
    world.change(2).await;
    // The second change is there, and withheld: a subscriber that was given it could never be given the first.
    assert!(ChangeRepository::is_withholding(world.pool(), ChangeCursor::default()).await.unwrap());
    let mut begun_meanwhile = world.subscribe("").await;
    open.commit().await.unwrap();
    assert_eq!(subscriber.entities(2).await, [1, 2]);
    assert_eq!(late.entities(2).await, [1, 2]);
    assert_eq!(begun_meanwhile.entities(2).await, [1, 2]);
    in_time("the end of the withholding", async {
        while ChangeRepository::is_withholding(world.pool(), ChangeCursor::default()).await.unwrap() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn test_changes_are_filtered_by_type_and_entity() {
    let world = World::create().await;
    for (entity_type, entity) in [("execution", 1), ("inquiry", 1), ("execution", 2), ("inquiry", 2)] {
        record(world.pool(), entity_type, entity).await;
    }
    let mut of_type = world.subscribe("?after=0-0&entity_type=inquiry").await;
    let mut of_one = world.subscribe("?after=0-0&entity_type=execution&entity=2").await;
    assert_eq!(of_type.entities(2).await, [1, 2]);
    assert_eq!(of_one.entities(1).await, [2]);
    for (entity_type, entity) in [("inquiry", 2), ("execution", 3), ("execution", 2), ("inquiry", 3)] {
        record(world.pool(), entity_type, entity).await;
    }
    world.wake();
    assert_eq!(of_type.entities(2).await, [2, 3]);
    let change = of_one.next().await.unwrap();
    assert_eq!((change.entity_type.as_str(), change.entity), ("execution", 2));
}

#[tokio::test]
async fn test_a_change_without_a_signal_is_found_all_the_same() {
    let world = World::create().await;
    let mut subscriber = world.subscribe("").await;
    record(world.pool(), "execution", 1).await;
    assert_eq!(subscriber.entities(1).await, [1]);
}

#[tokio::test]
async fn test_a_slow_subscriber_is_disconnected_and_loses_nothing_by_that() {
    const FLOOD: i64 = 20_000;
    let world = World::create().await;
    let mut slow = world.subscribe("").await;
    world.change(-1).await;
    assert_eq!(slow.entities(1).await, [-1]);
    world.change(0).await;
    // This one it did not find in the past.
    let last_seen = slow.next().await.unwrap();
    let mut quick = world.subscribe(&format!("?entity={FLOOD}")).await;
    record_many(world.pool(), 1, FLOOD).await;
    world.wake();
    assert_eq!(quick.entities(1).await, [FLOOD]);
    assert!(slow.next().await.is_none(), "it missed more than is kept");
    let mut again = world.subscribe_with("", &[("last-event-id", &last_seen.cursor)]).await;
    assert!(again.entities(FLOOD as usize).await.into_iter().eq(1..=FLOOD));
}

#[tokio::test]
async fn test_the_feed_goes_on_after_the_database_was_away() {
    let world = World::create().await;
    let mut subscriber = world.subscribe("").await;
    world.change(1).await;
    assert_eq!(subscriber.entities(1).await, [1]);
    let ended: i64 = sqlx::query_scalar(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert!(ended >= 1, "{ended}");
    let recorded = async {
        // Every connection that broke fails once.
        while sqlx::query("insert into attune.change (entity_type, entities, ref, activity) values ('execution', '{2}', 'ops.page', 'running')")
            .execute(world.pool())
            .await
            .is_err()
        {}
    };
    tokio::time::timeout(PATIENCE, recorded).await.expect("a connection");
    assert_eq!(subscriber.entities(1).await, [2]);
}
