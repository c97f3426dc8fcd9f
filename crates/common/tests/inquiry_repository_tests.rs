//! The inquiry repository: `attune.inquiry`. Answers and other ends have a file each.

mod helpers;

mod inquiry {
    mod ask;
    mod end;
    mod respond;
}

use std::time::Duration;

use attune_common::models::inquiry::{Inquiry, InquiryFilter, InquiryStatus, InquiryUpdate, NewInquiry};
use attune_common::repositories::{ExecutionRepository, IdentityRepository, InquiryRepository};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::inquiry::*;
use helpers::*;
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3600);

fn filter() -> InquiryFilter {
    InquiryFilter { limit: 10, ..InquiryFilter::default() }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(InquiryRepository::table_name(), "attune.inquiry");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let execution = execution(&mut tx).await;
    let inquiry = InquiryRepository::create(&mut *tx, &NewInquiry::of(execution.id, "Go?")).await.unwrap();
    let expected = Inquiry {
        id: inquiry.id,
        execution: execution.id,
        attempt: None,
        dedup_key: None,
        prompt: "Go?".to_owned(),
        response_schema: json!({}),
        assigned_to: None,
        assigned_role: None,
        allow_self_approval: true,
        status: InquiryStatus::Pending,
        response: None,
        responded_by: None,
        responded_at: None,
        timeout_at: None,
        created: inquiry.created,
        updated: inquiry.updated,
    };
    assert_eq!(inquiry, expected);
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let (execution, identity) = (execution(&mut tx).await, identity(&mut tx).await);
    let schema = json!({"type": "object", "required": ["approved"]});
    let new = NewInquiry {
        execution: execution.id,
        prompt: "Go?".to_owned(),
        response_schema: Some(schema.clone()),
        assigned_to: Some(identity.id),
        assigned_role: Some("ops.approver".to_owned()),
        allow_self_approval: false,
        timeout: Some(Duration::from_millis(2500)),
    };
    let inquiry = InquiryRepository::create(&mut *tx, &new).await.unwrap();
    assert_eq!((&inquiry.response_schema, inquiry.assigned_to), (&schema, Some(identity.id)));
    assert_eq!(
        (inquiry.assigned_role.as_deref(), inquiry.allow_self_approval),
        (Some("ops.approver"), false)
    );
    let waits = inquiry.timeout_at.unwrap() - inquiry.created;
    assert!((2400..=2600).contains(&waits.num_milliseconds()), "{waits}");
}

#[tokio::test]
async fn test_create_without_prompt() {
    let mut tx = transaction().await;
    let execution = execution(&mut tx).await;
    let created = InquiryRepository::create(&mut *tx, &NewInquiry::of(execution.id, "")).await;
    assert_refused_value(created, "inquiry", "prompt", "");
}

#[tokio::test]
async fn test_create_invalid_execution() {
    let mut tx = transaction().await;
    let created = InquiryRepository::create(&mut *tx, &NewInquiry::of(NO_SUCH_ID, "Go?")).await;
    assert_invalid_reference(created, "inquiry", "execution");
}

#[tokio::test]
async fn test_create_invalid_assignee() {
    let mut tx = transaction().await;
    let mut fixture = InquiryFixture::new(&execution(&mut tx).await);
    fixture.new.assigned_to = Some(NO_SUCH_ID);
    assert_invalid_reference(fixture.create(&mut tx).await, "inquiry", "assigned_to");
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let execution = execution(&mut tx).await;
    let inquiry = InquiryFixture::new(&execution).create(&mut tx).await.unwrap();
    InquiryFixture::new(&execution).create(&mut tx).await.unwrap();
    assert_eq!(InquiryRepository::find_by_id(&mut *tx, inquiry.id).await.unwrap(), Some(inquiry));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(InquiryRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(InquiryRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "inquiry", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(InquiryRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_newest_first() {
    let mut tx = transaction().await;
    let first = inquiry_in(&mut tx, InquiryStatus::Pending).await;
    let second = inquiry_in(&mut tx, InquiryStatus::Responded).await;
    assert_eq!(InquiryRepository::list(&mut *tx).await.unwrap(), [second, first]);
}

#[tokio::test]
async fn test_update_who_is_asked() {
    let mut tx = transaction().await;
    let inquiry = inquiry_in(&mut tx, InquiryStatus::Pending).await;
    let deputy = identity(&mut tx).await;
    let update = InquiryUpdate {
        assigned_to: Some(deputy.id),
        assigned_role: Some("ops.deputy".to_owned()),
        ..InquiryUpdate::default()
    };
    let updated = InquiryRepository::update(&mut tx, inquiry.id, &update).await.unwrap();
    let expected = Inquiry {
        assigned_to: Some(deputy.id),
        assigned_role: Some("ops.deputy".to_owned()),
        updated: updated.updated,
        ..inquiry
    };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_gives_more_time() {
    let mut tx = transaction().await;
    let (execution, somebody) = (execution(&mut tx).await, identity(&mut tx).await);
    let inquiry = InquiryFixture::new(&execution).with_timeout(Duration::ZERO).create(&mut tx).await.unwrap();
    let update = InquiryUpdate { timeout: Some(HOUR), ..InquiryUpdate::default() };
    let updated = InquiryRepository::update(&mut tx, inquiry.id, &update).await.unwrap();
    assert!(updated.timeout_at > inquiry.timeout_at, "{updated:?}");
    assert_eq!(InquiryRepository::expire(&mut *tx, 10).await.unwrap(), []);
    InquiryRepository::respond(&mut *tx, inquiry.id, &answer(&somebody, json!(1))).await.unwrap();
}

#[tokio::test]
async fn test_update_only_what_waits() {
    let mut tx = transaction().await;
    for &status in InquiryStatus::ALL {
        let inquiry = inquiry_in(&mut tx, status).await;
        let nobody = identity(&mut tx).await.id;
        for update in [
            InquiryUpdate { assigned_to: Some(nobody), ..InquiryUpdate::default() },
            InquiryUpdate { assigned_role: Some("ops.other".to_owned()), ..InquiryUpdate::default() },
            InquiryUpdate { timeout: Some(HOUR), ..InquiryUpdate::default() },
        ] {
            let updated = InquiryRepository::update(&mut tx, inquiry.id, &update).await;
            if status.is_terminal() {
                assert_conflict(updated, "inquiry", &inquiry.id);
                let kept = InquiryRepository::get_by_id(&mut *tx, inquiry.id).await.unwrap();
                assert_eq!(kept, inquiry);
            } else {
                assert!(updated.unwrap().updated > inquiry.updated, "{update:?}");
            }
        }
    }
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    for &status in InquiryStatus::ALL {
        let inquiry = inquiry_in(&mut tx, status).await;
        let updated = InquiryRepository::update(&mut tx, inquiry.id, &InquiryUpdate::default()).await;
        assert_eq!(updated.unwrap(), inquiry);
    }
}

#[tokio::test]
async fn test_update_of_another_version() {
    let mut tx = transaction().await;
    let inquiry = inquiry_in(&mut tx, InquiryStatus::Pending).await;
    let update = InquiryUpdate {
        timeout: Some(HOUR),
        unchanged_since: Some(inquiry.updated),
        ..InquiryUpdate::default()
    };
    InquiryRepository::update(&mut tx, inquiry.id, &update).await.unwrap();
    let again = InquiryRepository::update(&mut tx, inquiry.id, &update).await;
    assert_conflict(again, "inquiry", &inquiry.id);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let updated = InquiryRepository::update(&mut tx, NO_SUCH_ID, &InquiryUpdate::default()).await;
    assert_not_found(updated, "inquiry", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_list_waiting_for_an_identity_and_its_roles() {
    let mut tx = transaction().await;
    let execution = execution(&mut tx).await;
    let (asked, other) = (identity(&mut tx).await, identity(&mut tx).await);
    let fixture = || InquiryFixture::new(&execution);
    let by_role = fixture().with_assigned_role("ops.approver").create(&mut tx).await.unwrap();
    fixture().with_assigned_role("ops.other").create(&mut tx).await.unwrap();
    fixture().with_assigned_to(&other).create(&mut tx).await.unwrap();
    fixture().create(&mut tx).await.unwrap();
    let both = fixture().with_assigned_role("ops.approver").with_assigned_to(&asked);
    let both = both.create(&mut tx).await.unwrap();
    let by_name = fixture().with_assigned_to(&asked).with_timeout(HOUR).create(&mut tx).await.unwrap();
    let roles = ["ops.approver".to_owned(), "ops.none".to_owned()];
    let waiting = InquiryRepository::list_waiting_for(&mut *tx, asked.id, &roles).await.unwrap();
    assert_eq!(waiting, [by_role, both.clone(), by_name.clone()]);
    let waiting = InquiryRepository::list_waiting_for(&mut *tx, asked.id, &[]).await.unwrap();
    assert_eq!(waiting, [both, by_name]);
}

#[tokio::test]
async fn test_list_waiting_for_leaves_out_what_cannot_be_answered() {
    let mut tx = transaction().await;
    let (asked, other) = (identity(&mut tx).await, identity(&mut tx).await);
    let execution = execution_of(&mut tx, &asked).await;
    let fixture = || InquiryFixture::new(&execution).with_assigned_role("ops.approver");
    let answered = fixture().create(&mut tx).await.unwrap();
    InquiryRepository::respond(&mut *tx, answered.id, &answer(&other, json!(1))).await.unwrap();
    fixture().with_timeout(Duration::ZERO).create(&mut tx).await.unwrap();
    let not_by_oneself = fixture().without_self_approval().create(&mut tx).await.unwrap();
    let roles = ["ops.approver".to_owned()];
    let waiting = InquiryRepository::list_waiting_for(&mut *tx, asked.id, &roles).await.unwrap();
    assert_eq!(waiting, []);
    let waiting = InquiryRepository::list_waiting_for(&mut *tx, other.id, &roles).await.unwrap();
    assert_eq!(waiting, [not_by_oneself]);
}

#[tokio::test]
async fn test_list_by_execution() {
    let mut tx = transaction().await;
    let execution = execution(&mut tx).await;
    let first = InquiryFixture::new(&execution).create(&mut tx).await.unwrap();
    inquiry_in(&mut tx, InquiryStatus::Pending).await;
    let second = InquiryFixture::new(&execution).create(&mut tx).await.unwrap();
    let listed = InquiryRepository::list_by_execution(&mut *tx, execution.id).await.unwrap();
    assert_eq!(listed, [first, second]);
}

#[tokio::test]
async fn test_list_by_status() {
    let mut tx = transaction().await;
    let first = inquiry_in(&mut tx, InquiryStatus::Cancelled).await;
    inquiry_in(&mut tx, InquiryStatus::Pending).await;
    let second = inquiry_in(&mut tx, InquiryStatus::Cancelled).await;
    let listed = InquiryRepository::list_by_status(&mut *tx, InquiryStatus::Cancelled).await.unwrap();
    assert_eq!(listed, [second, first]);
    assert_eq!(InquiryRepository::list_by_status(&mut *tx, InquiryStatus::Timeout).await.unwrap(), []);
}

#[tokio::test]
async fn test_search_by_each_filter() {
    let mut tx = transaction().await;
    let (execution, asked) = (execution(&mut tx).await, identity(&mut tx).await);
    let wanted = InquiryFixture::new(&execution)
        .with_assigned_to(&asked)
        .with_assigned_role("ops.approver")
        .create(&mut tx)
        .await
        .unwrap();
    let other = inquiry_in(&mut tx, InquiryStatus::Responded).await;
    for filter in [
        InquiryFilter { execution: Some(execution.id), ..filter() },
        InquiryFilter { status: Some(InquiryStatus::Pending), ..filter() },
        InquiryFilter { assigned_to: Some(asked.id), ..filter() },
        InquiryFilter { assigned_role: Some("ops.approver".to_owned()), ..filter() },
    ] {
        let found = InquiryRepository::search(&mut *tx, &filter).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&wanted), "{filter:?}");
    }
    assert_eq!(InquiryRepository::search(&mut *tx, &filter()).await.unwrap(), [other, wanted]);
}

#[tokio::test]
async fn test_search_page_after_page() {
    let mut tx = transaction().await;
    let execution = execution(&mut tx).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(InquiryFixture::new(&execution).create(&mut tx).await.unwrap());
    }
    made.reverse();
    let mut filter = InquiryFilter { limit: 2, ..InquiryFilter::default() };
    let mut read = Vec::new();
    loop {
        let page = InquiryRepository::search(&mut *tx, &filter).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        filter.before = Some(last.id);
        read.extend(page);
    }
    assert_eq!(read, made);
}

#[tokio::test]
async fn test_delete() {
    let mut tx = transaction().await;
    let kept = inquiry_in(&mut tx, InquiryStatus::Pending).await;
    let inquiry = inquiry_in(&mut tx, InquiryStatus::Pending).await;
    assert!(InquiryRepository::delete(&mut *tx, inquiry.id).await.unwrap());
    assert!(!InquiryRepository::delete(&mut *tx, inquiry.id).await.unwrap());
    assert_eq!(InquiryRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_of_the_execution_removes_its_inquiries() {
    let mut tx = transaction().await;
    let kept = inquiry_in(&mut tx, InquiryStatus::Pending).await;
    let inquiry = inquiry_in(&mut tx, InquiryStatus::Responded).await;
    assert!(ExecutionRepository::delete(&mut *tx, inquiry.execution).await.unwrap());
    assert_eq!(InquiryRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_of_the_identity_keeps_its_answers() {
    let mut tx = transaction().await;
    let (execution, somebody) = (execution(&mut tx).await, identity(&mut tx).await);
    let inquiry = InquiryFixture::new(&execution).with_assigned_to(&somebody).create(&mut tx).await.unwrap();
    let given = answer(&somebody, json!(1));
    let answered = InquiryRepository::respond(&mut *tx, inquiry.id, &given).await.unwrap();
    assert!(IdentityRepository::delete(&mut *tx, somebody.id).await.unwrap());
    let kept = InquiryRepository::get_by_id(&mut *tx, inquiry.id).await.unwrap();
    let expected = Inquiry { assigned_to: None, responded_by: None, updated: kept.updated, ..answered };
    assert_eq!(kept, expected);
}
