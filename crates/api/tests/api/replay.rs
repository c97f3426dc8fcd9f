//! Recorded events once more.

use attune_client::types::{EventRequest, ReplayItem, ReplayRequest, ReplayView};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::app::{TestApp, pointers, problem};
use crate::demo;

async fn record(app: &TestApp, count: i64) -> Vec<i64> {
    let mut ids = Vec::new();
    for n in 0..count {
        let event = EventRequest {
            trigger: "demo.alert".to_owned(),
            payload: json!({ "n": n }),
            dedup_key: None,
            config: Some(json!({"team": "ops"})),
        };
        ids.push(app.admin.create_event(&event).await.unwrap().event);
    }
    ids
}

fn of_span(run: &str, since: DateTime<Utc>) -> ReplayRequest {
    ReplayRequest {
        run: run.to_owned(),
        trigger: Some("demo.alert".to_owned()),
        since: Some(since),
        ..ReplayRequest::default()
    }
}

fn of_items(run: &str, items: &[(i64, Option<Value>)]) -> ReplayRequest {
    let item =
        |(event, payload): &(i64, Option<Value>)| ReplayItem { event: *event, payload: payload.clone() };
    let events = Some(items.iter().map(item).collect());
    ReplayRequest { run: run.to_owned(), events, ..ReplayRequest::default() }
}

fn originals(view: &ReplayView) -> Vec<i64> {
    view.replayed.iter().map(|replayed| replayed.replay_of).collect()
}

#[tokio::test]
async fn test_a_span_is_replayed_in_order_batch_by_batch_and_never_twice() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let since = Utc::now() - TimeDelta::minutes(1);
    let ids = record(&app, 5).await;
    let mut request = ReplayRequest { limit: Some(2), ..of_span("first", since) };
    let (mut seen, mut batches) = (Vec::new(), Vec::new());
    loop {
        let view = app.admin.replay_events(&request).await.unwrap();
        // The answer is lost and the batch is sent again: the same events, none of them new.
        let again = app.admin.replay_events(&request).await.unwrap();
        assert_eq!(originals(&again), originals(&view));
        assert!(again.replayed.iter().all(|replayed| replayed.duplicate));
        let pairs = |view: &ReplayView| view.replayed.iter().map(|new| new.event).collect::<Vec<_>>();
        assert_eq!(pairs(&again), pairs(&view));
        seen.extend(originals(&view));
        batches.push(view.replayed.len());
        request.cursor = view.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    assert_eq!((&seen, &batches), (&ids, &vec![2, 2, 1]));
    assert_eq!(app.count("event").await, 10);
    // Begun anew under its name, it records nothing; under another one, the originals once more and no replays.
    let resumed = app.admin.replay_events(&of_span("first", since)).await.unwrap();
    assert!(originals(&resumed) == ids && resumed.replayed.iter().all(|replayed| replayed.duplicate));
    let second = app.admin.replay_events(&of_span("second", since)).await.unwrap();
    assert!(originals(&second) == ids && second.replayed.iter().all(|replayed| !replayed.duplicate));
    assert_eq!(app.count("event").await, 15);
    // All of them wait to be matched.
    assert_eq!(
        app.count("event join attune.event_batch on first_event = batch where matched is null").await,
        15
    );
    app.stop().await;
}

#[tokio::test]
async fn test_a_replay_is_the_event_again_and_says_so() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let id = record(&app, 1).await[0];
    sqlx::query("update attune.event set headers = '{\"x-kind\": \"a\"}', source_ref = 'demo.sensor'")
        .execute(app.pool())
        .await
        .unwrap();
    let view = app.admin.replay_events(&of_items("r", &[(id, None)])).await.unwrap();
    let original = app.admin.event(id).await.unwrap().event;
    let shown = app.admin.event(view.replayed[0].event).await.unwrap().event;
    assert_eq!((original.replay_of, shown.replay_of), (None, Some(id)));
    assert_eq!(
        (&shown.payload, &shown.config, &shown.headers),
        (&original.payload, &original.config, &original.headers)
    );
    assert_eq!((shown.trigger, shown.source), (original.trigger, Some("demo.sensor".to_owned())));
    assert_eq!(shown.dedup_key, Some(format!("replay:r:{id}")));
    assert_ne!(shown.trace_id, original.trace_id);
    // A replay can be replayed by its own id.
    let again = app.admin.replay_events(&of_items("r2", &[(shown.id, None)])).await.unwrap();
    assert_eq!(app.admin.event(again.replayed[0].event).await.unwrap().event.replay_of, Some(shown.id));
    app.stop().await;
}

#[tokio::test]
async fn test_payloads_can_be_changed() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let ids = record(&app, 2).await;
    // In the order of the events, whatever the order of the request.
    let items = [(ids[1], Some(json!({"n": "changed"}))), (ids[0], None)];
    let view = app.admin.replay_events(&of_items("r", &items)).await.unwrap();
    assert_eq!(originals(&view), ids);
    let mut payloads = Vec::new();
    for replayed in &view.replayed {
        payloads.push(app.admin.event(replayed.event).await.unwrap().event.payload);
    }
    assert_eq!(payloads, [json!({"n": 0}), json!({"n": "changed"})]);
    app.stop().await;
}

#[tokio::test]
async fn test_a_dry_run_records_nothing() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let since = Utc::now() - TimeDelta::minutes(1);
    let ids = record(&app, 3).await;
    let request = ReplayRequest { dry_run: true, limit: Some(2), ..of_span("r", since) };
    let view = app.admin.replay_events(&request).await.unwrap();
    let shown: Vec<_> = view.would_replay.unwrap().iter().map(|event| event.id).collect();
    assert_eq!((view.count, shown, view.replayed.len()), (Some(3), ids[..2].to_vec(), 0));
    let next = ReplayRequest { cursor: view.next_cursor, ..request };
    let next = app.admin.replay_events(&next).await.unwrap();
    assert_eq!((next.count, next.would_replay.unwrap()[0].id, next.next_cursor), (None, ids[2], None));
    assert_eq!(app.count("event").await, 3);
    app.stop().await;
}

#[tokio::test]
async fn test_what_is_wrong_is_refused_and_nothing_is_replayed() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let since = Utc::now() - TimeDelta::minutes(1);
    let id = record(&app, 1).await[0];
    let check = async |request: ReplayRequest, status: u16, expected: &[&str]| {
        let refused = problem(app.admin.replay_events(&request).await);
        assert_eq!((refused.status, pointers(&refused).as_slice()), (status, expected), "{refused:?}");
    };
    let span = || of_span("r", since);
    check(ReplayRequest { run: "a b".to_owned(), ..span() }, 422, &["/run"]).await;
    check(ReplayRequest { trigger: Some("demo.alrt".to_owned()), ..span() }, 422, &["/trigger"]).await;
    check(ReplayRequest { trigger: None, ..span() }, 422, &["/trigger"]).await;
    check(ReplayRequest { since: None, ..span() }, 422, &["/since"]).await;
    check(ReplayRequest { until: Some(since), ..span() }, 422, &["/since"]).await;
    check(ReplayRequest { limit: Some(1001), ..span() }, 422, &["/limit"]).await;
    check(ReplayRequest { cursor: Some("x".to_owned()), ..span() }, 422, &["/cursor"]).await;
    check(ReplayRequest { limit: Some(1), ..of_items("r", &[(id, None)]) }, 422, &["/limit"]).await;
    check(of_items("r", &[]), 422, &["/events"]).await;
    check(of_items("r", &[(id, None), (id, None)]), 422, &["/events/1"]).await;
    check(of_items("r", &[(id, None), (id + 1000, None)]), 404, &[]).await;
    check(of_items("r", &[(id, Some(json!({"a": "\u{0}"})))]), 400, &[]).await;
    let large = json!({"a": "x".repeat(crate::app::MAX_WEBHOOK)});
    check(of_items("r", &[(id, Some(large))]), 422, &["/events/0/payload"]).await;
    sqlx::query("update attune.trigger set enabled = false").execute(app.pool()).await.unwrap();
    check(span(), 409, &[]).await;
    check(of_items("r", &[(id, None)]), 409, &[]).await;
    assert_eq!(app.count("event").await, 1);
    app.stop().await;
}
