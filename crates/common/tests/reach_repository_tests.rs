//! Lists of history, narrowed to what grants reach.

mod helpers;

use attune_common::models::enforcement::EnforcementFilter;
use attune_common::models::event::EventFilter;
use attune_common::models::execution::ExecutionFilter;
use attune_common::models::grant::{Owner, Reach};
use attune_common::models::inquiry::InquiryFilter;
use attune_common::repositories::{InquiryRepository, ReachRepository};
use attune_testkit::transaction;
use helpers::inquiry::InquiryFixture;
use helpers::*;
use sqlx::PgConnection;

fn reach(refs: &[&str]) -> Reach {
    Reach { refs: refs.iter().map(|&r#ref| r#ref.to_owned()).collect(), ..Reach::default() }
}

async fn executions(connection: &mut PgConnection, filter: ExecutionFilter, reach: &Reach) -> Vec<i64> {
    let filter = ExecutionFilter { limit: 10, ..filter };
    let found = ReachRepository::executions(connection, &filter, reach).await.expect("they are found");
    found.iter().map(|execution| execution.id).collect()
}

#[tokio::test]
async fn test_executions_of_actions_within_reach() {
    let mut tx = transaction().await;
    let mut made = Vec::new();
    for action_ref in ["ops.page_one", "ops.pageXone", "net.scan", "ops.page_one"] {
        let mut fixture = ExecutionFixture::new_unique();
        fixture.new.action = None;
        fixture.new.action_ref = action_ref.to_owned();
        made.push(fixture.create(&mut tx).await.unwrap().id);
    }
    let any = ExecutionFilter::default;
    assert_eq!(executions(&mut tx, any(), &reach(&["ops.%"])).await, [made[3], made[1], made[0]]);
    assert_eq!(executions(&mut tx, any(), &reach(&[r"ops.page\_one"])).await, [made[3], made[0]]);
    assert_eq!(
        executions(&mut tx, any(), &reach(&["net.scan", r"%\_one"])).await,
        [made[3], made[2], made[0]]
    );
    assert_eq!(executions(&mut tx, any(), &reach(&[])).await, [0; 0]);
    let of_action = ExecutionFilter { action_ref: Some("ops.page_one".to_owned()), ..any() };
    assert_eq!(executions(&mut tx, of_action.clone(), &reach(&["net.%"])).await, [0; 0]);
    let before = ExecutionFilter { before: Some(made[3]), ..of_action };
    assert_eq!(executions(&mut tx, before, &reach(&["ops.%"])).await, [made[0]]);
}

#[tokio::test]
async fn test_executions_that_the_caller_began() {
    let mut tx = transaction().await;
    let (ada, grace) = (
        IdentityFixture::new_unique().create(&mut tx).await.unwrap().id,
        IdentityFixture::new_unique().create(&mut tx).await.unwrap().id,
    );
    let mut made = Vec::new();
    for (identity, parent) in [(Some(ada), None), (Some(grace), None), (None, Some(0)), (None, None)] {
        let mut fixture = ExecutionFixture::new_unique();
        fixture.new.identity = identity;
        fixture.new.parent = parent.map(|at: usize| made[at]);
        made.push(fixture.create(&mut tx).await.unwrap().id);
    }
    let own = |owner: Owner| Reach { own_refs: vec!["%".to_owned()], owner, ..Reach::default() };
    let of_ada = own(Owner { identity: Some(ada), execution: None });
    assert_eq!(executions(&mut tx, ExecutionFilter::default(), &of_ada).await, [made[0]]);
    let of_run = own(Owner { identity: None, execution: Some(made[0]) });
    assert_eq!(executions(&mut tx, ExecutionFilter::default(), &of_run).await, [made[2]]);
    let elsewhere = Reach { own_refs: vec!["none.%".to_owned()], ..of_ada };
    assert_eq!(executions(&mut tx, ExecutionFilter::default(), &elsewhere).await, [0; 0]);
}

#[tokio::test]
async fn test_events_and_enforcements_within_reach() {
    let mut tx = transaction().await;
    let (event, other) = (
        EventFixture::new_unique().create(&mut tx).await.unwrap(),
        EventFixture::new_unique().create(&mut tx).await.unwrap(),
    );
    let within = reach(&[&event.trigger_ref.replace('_', r"\_")]);
    let filter = EventFilter { limit: 10, ..EventFilter::default() };
    let found = ReachRepository::events(&mut *tx, &filter, &within).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&event));
    let of_other = EventFilter { trigger_ref: Some(other.trigger_ref), ..filter };
    assert_eq!(ReachRepository::events(&mut *tx, &of_other, &within).await.unwrap(), []);
    let mut made = Vec::new();
    for rule_ref in ["ops.page", "net.page"] {
        let id: i64 = sqlx::query_scalar(
            "insert into attune.enforcement (rule_ref, trigger_ref, event, config, payload, condition, conditions)
             values ($1, $2, $3, '{}', '{}', 'all', '[]')
             returning id",
        )
        .bind(rule_ref)
        .bind(&event.trigger_ref)
        .bind(event.id)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        made.push(id);
    }
    for filter in [
        EnforcementFilter { limit: 10, ..EnforcementFilter::default() },
        EnforcementFilter { event: Some(event.id), limit: 10, ..EnforcementFilter::default() },
    ] {
        let found = ReachRepository::enforcements(&mut *tx, &filter, &reach(&["net.%"])).await.unwrap();
        assert_eq!(found.iter().map(|enforcement| enforcement.id).collect::<Vec<_>>(), [made[1]]);
    }
}

#[tokio::test]
async fn test_inquiries_of_actions_within_reach() {
    let mut tx = transaction().await;
    let mut fixture = ExecutionFixture::new_unique();
    fixture.new.action = None;
    fixture.new.action_ref = "ops.deploy".to_owned();
    let asking = fixture.create(&mut tx).await.unwrap();
    let other = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let asked = InquiryFixture::new(&asking).create(&mut tx).await.unwrap();
    InquiryFixture::new(&other).create(&mut tx).await.unwrap();
    let filter = InquiryFilter { reach: Some(reach(&["ops.de%"])), limit: 10, ..InquiryFilter::default() };
    assert_eq!(InquiryRepository::search(&mut *tx, &filter).await.unwrap(), [asked]);
}
