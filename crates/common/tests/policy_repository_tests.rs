//! The policy repository: `attune.policy`.

mod helpers;

use attune_common::models::policy::{NewPolicy, Policy, PolicyMethod, PolicyUpdate};
use attune_common::repositories::{ActionRepository, PackRepository, PolicyRepository};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::policy::*;
use helpers::*;

fn full(policy_ref: &str) -> NewPolicy {
    NewPolicy {
        r#ref: policy_ref.to_owned(),
        action_ref: Some("ops.deploy".to_owned()),
        enabled: false,
        concurrency: Some(3),
        parameters: vec!["host".to_owned(), "service".to_owned()],
        rate_count: Some(10),
        rate_seconds: Some(0.5),
        method: PolicyMethod::Cancel,
    }
}

fn expected(row: &Policy, new: NewPolicy) -> Policy {
    Policy {
        id: row.id,
        r#ref: new.r#ref,
        pack: None,
        pack_ref: None,
        action_ref: new.action_ref,
        enabled: new.enabled,
        concurrency: new.concurrency,
        parameters: new.parameters,
        rate_count: new.rate_count,
        rate_seconds: new.rate_seconds,
        method: new.method,
        created: row.created,
        updated: row.updated,
    }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(PolicyRepository::table_name(), "attune.policy");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let new = PolicyFixture::new_unique().new;
    let policy = PolicyRepository::create(&mut *tx, None, &new).await.unwrap();
    assert_eq!(policy, expected(&policy, new));
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.limit", pack.r#ref));
    let policy = PolicyRepository::create(&mut *tx, Some(pack.id), &new).await.unwrap();
    let expected = Policy { pack: Some(pack.id), pack_ref: Some(pack.r#ref), ..expected(&policy, new) };
    assert_eq!(policy, expected);
}

#[tokio::test]
async fn test_create_with_a_rate_only() {
    let mut tx = transaction().await;
    let new = NewPolicy {
        concurrency: None,
        rate_count: Some(1),
        rate_seconds: Some(60.0),
        ..PolicyFixture::new_unique().new
    };
    let policy = PolicyRepository::create(&mut *tx, None, &new).await.unwrap();
    assert_eq!((policy.concurrency, policy.rate_count, policy.rate_seconds), (None, Some(1), Some(60.0)));
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let policy = PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    let again = PolicyFixture::new(&policy.r#ref, Some("ops.page")).create(&mut tx).await;
    assert_already_exists(again, "policy", "ref", &policy.r#ref);
}

#[tokio::test]
async fn test_create_invalid_ref() {
    for policy_ref in ["", "limit", "ops.", ".limit", "Ops.limit"] {
        let mut tx = transaction().await;
        let created = PolicyFixture::new(policy_ref, Some("ops.page")).create(&mut tx).await;
        assert_refused_value(created, "policy", "ref", policy_ref);
    }
}

#[tokio::test]
async fn test_create_invalid_pack() {
    let mut tx = transaction().await;
    let new = PolicyFixture::new_unique().new;
    let created = PolicyRepository::create(&mut *tx, Some(NO_SUCH_ID), &new).await;
    assert_invalid_reference(created, "policy", "pack");
}

/// Makes the policy, which is to be refused by this constraint.
async fn check_refused(new: NewPolicy, constraint: &str) {
    let mut tx = transaction().await;
    let created = PolicyRepository::create(&mut *tx, None, &new).await;
    assert_invalid_value(created, "policy", constraint);
}

#[tokio::test]
async fn test_create_without_effect() {
    let new = || PolicyFixture::new_unique().new;
    let without_limit = NewPolicy { concurrency: None, ..new() };
    check_refused(without_limit, "policy_has_limit").await;
    check_refused(NewPolicy { action_ref: None, ..new() }, "policy_has_scope").await;
    let parameters_of_nothing = NewPolicy {
        concurrency: None,
        parameters: vec!["host".to_owned()],
        rate_count: Some(1),
        rate_seconds: Some(1.0),
        ..new()
    };
    check_refused(parameters_of_nothing, "policy_parameters_of_concurrency").await;
}

#[tokio::test]
async fn test_create_with_half_a_rate() {
    let new = || PolicyFixture::new_unique().new;
    check_refused(NewPolicy { rate_count: Some(1), ..new() }, "policy_rate_complete").await;
    check_refused(NewPolicy { rate_seconds: Some(1.0), ..new() }, "policy_rate_complete").await;
}

#[tokio::test]
async fn test_create_with_limits_of_nothing() {
    for (field, value) in [("concurrency", "0"), ("rate_count", "-1"), ("rate_seconds", "0.0")] {
        let mut tx = transaction().await;
        let mut new = full(&unique_policy_ref());
        match field {
            "concurrency" => new.concurrency = Some(0),
            "rate_count" => new.rate_count = Some(-1),
            _ => new.rate_seconds = Some(0.0),
        }
        let created = PolicyRepository::create(&mut *tx, None, &new).await;
        assert_refused_value(created, "policy", field, value);
    }
}

#[tokio::test]
async fn test_create_with_a_rate_in_no_time_at_all() {
    for seconds in [f64::NAN, f64::INFINITY] {
        let new =
            NewPolicy { rate_count: Some(1), rate_seconds: Some(seconds), ..PolicyFixture::new_unique().new };
        check_refused(new, "policy_rate_seconds_positive").await;
    }
}

#[tokio::test]
async fn test_put_makes_a_policy() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.limit", pack.r#ref));
    let policy = PolicyRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    let expected = Policy { pack: Some(pack.id), pack_ref: Some(pack.r#ref), ..expected(&policy, new) };
    assert_eq!(policy, expected);
}

#[tokio::test]
async fn test_put_brings_a_policy_to_the_definition() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let policy_ref = format!("{}.limit", pack.r#ref);
    let before = PolicyRepository::put(&mut *tx, pack.id, &full(&policy_ref)).await.unwrap();
    let new = PolicyFixture::new(&policy_ref, None).new;
    let after = PolicyRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    assert_eq!((after.id, after.created), (before.id, before.created));
    let expected = Policy { pack: Some(pack.id), pack_ref: Some(pack.r#ref), ..expected(&after, new) };
    assert_eq!(after, expected);
}

#[tokio::test]
async fn test_put_the_same_changes_nothing() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.limit", pack.r#ref));
    let before = PolicyRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    assert_eq!(PolicyRepository::put(&mut *tx, pack.id, &new).await.unwrap(), before);
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let policy = PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(PolicyRepository::find_by_id(&mut *tx, policy.id).await.unwrap(), Some(policy));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(PolicyRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(PolicyRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "policy", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_find_by_ref() {
    let mut tx = transaction().await;
    let policy = PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(PolicyRepository::find_by_ref(&mut *tx, &policy.r#ref).await.unwrap(), Some(policy));
    assert_not_found(PolicyRepository::get_by_ref(&mut *tx, "test.none").await, "policy", "test.none");
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(PolicyRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let prefix = unique_policy_ref();
    let second = PolicyFixture::new(&format!("{prefix}.b"), Some("ops.a")).create(&mut tx).await.unwrap();
    let first = PolicyFixture::new(&format!("{prefix}.a"), Some("ops.b")).create(&mut tx).await.unwrap();
    assert_eq!(PolicyRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_list_of_pack() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let second = PolicyFixture::of_pack(&pack, "b").create(&mut tx).await.unwrap();
    let first = PolicyFixture::of_pack(&pack, "a").create(&mut tx).await.unwrap();
    PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(PolicyRepository::list_of_pack(&mut *tx, pack.id).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_remove_others_keeps_what_the_pack_contains() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = PolicyFixture::of_pack(&pack, "kept").create(&mut tx).await.unwrap();
    PolicyFixture::of_pack(&pack, "old").create(&mut tx).await.unwrap();
    let foreign = PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    let kept_refs = std::slice::from_ref(&kept.r#ref);
    assert_eq!(PolicyRepository::remove_others(&mut *tx, pack.id, kept_refs).await.unwrap(), 1);
    let mut expected = [kept, foreign];
    expected.sort_by(|a, b| a.r#ref.cmp(&b.r#ref));
    assert_eq!(PolicyRepository::list(&mut *tx).await.unwrap(), expected);
}

#[tokio::test]
async fn test_update_each_column() {
    let mut tx = transaction().await;
    let new = PolicyFixture::new_unique().new;
    let mut policy = PolicyRepository::create(&mut *tx, None, &new).await.unwrap();
    let nothing = PolicyUpdate::default;
    for (update, change) in [
        (
            PolicyUpdate { enabled: Some(false), ..nothing() },
            (|policy| policy.enabled = false) as fn(&mut Policy),
        ),
        (PolicyUpdate { concurrency: Some(7), ..nothing() }, |policy| policy.concurrency = Some(7)),
        (PolicyUpdate { parameters: Some(vec!["host".to_owned()]), ..nothing() }, |policy| {
            policy.parameters = vec!["host".to_owned()];
        }),
        (PolicyUpdate { rate_count: Some(5), rate_seconds: Some(60.0), ..nothing() }, |policy| {
            (policy.rate_count, policy.rate_seconds) = (Some(5), Some(60.0));
        }),
        (PolicyUpdate { method: Some(PolicyMethod::Cancel), ..nothing() }, |policy| {
            policy.method = PolicyMethod::Cancel;
        }),
    ] {
        let updated = PolicyRepository::update(&mut tx, policy.id, &update).await.unwrap();
        assert!(updated.updated > policy.updated, "{update:?}");
        policy.updated = updated.updated;
        change(&mut policy);
        assert_eq!(updated, policy, "{update:?}");
    }
}

#[tokio::test]
async fn test_update_refused_value() {
    let mut tx = transaction().await;
    let policy = PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    let update = PolicyUpdate { concurrency: Some(0), ..PolicyUpdate::default() };
    let updated = PolicyRepository::update(&mut tx, policy.id, &update).await;
    assert_refused_value(updated, "policy", "concurrency", "0");
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let policy = PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    let updated = PolicyRepository::update(&mut tx, policy.id, &PolicyUpdate::default()).await;
    assert_eq!(updated.unwrap(), policy);
}

#[tokio::test]
async fn test_update_of_another_version() {
    let mut tx = transaction().await;
    let policy = PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    let update = PolicyUpdate {
        enabled: Some(false),
        unchanged_since: Some(policy.updated),
        ..PolicyUpdate::default()
    };
    let updated = PolicyRepository::update(&mut tx, policy.id, &update).await.unwrap();
    let again = PolicyUpdate { enabled: Some(true), ..update };
    assert_conflict(PolicyRepository::update(&mut tx, policy.id, &again).await, "policy", &policy.id);
    assert_eq!(PolicyRepository::get_by_id(&mut *tx, policy.id).await.unwrap(), updated);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let updated = PolicyRepository::update(&mut tx, NO_SUCH_ID, &PolicyUpdate::default()).await;
    assert_not_found(updated, "policy", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_delete() {
    let mut tx = transaction().await;
    let kept = PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    let policy = PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(PolicyRepository::delete(&mut *tx, policy.id).await.unwrap());
    assert!(!PolicyRepository::delete(&mut *tx, policy.id).await.unwrap());
    assert_eq!(PolicyRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_of_the_pack_removes_its_policies() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    PolicyFixture::of_pack(&pack, "limit").create(&mut tx).await.unwrap();
    let kept = PolicyFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(PackRepository::delete(&mut *tx, pack.id).await.unwrap());
    assert_eq!(PolicyRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_for_action_its_own_and_those_of_its_pack() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let other_pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().with_pack(&pack, "deploy").create(&mut tx).await.unwrap();
    let other = ActionFixture::new_unique().with_pack(&pack, "page").create(&mut tx).await.unwrap();
    let of_pack = PolicyFixture::of_pack(&pack, "a_limit").create(&mut tx).await.unwrap();
    let own = PolicyFixture::of_pack(&pack, "z_limit").with_action(&action).create(&mut tx).await.unwrap();
    PolicyFixture::of_pack(&pack, "b_limit").with_action(&other).create(&mut tx).await.unwrap();
    PolicyFixture::of_pack(&other_pack, "limit").create(&mut tx).await.unwrap();
    let policies = PolicyRepository::for_action(&mut *tx, action.id).await.unwrap();
    assert_eq!(policies, [own, of_pack]);
}

#[tokio::test]
async fn test_for_action_those_of_others_about_it() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    // Of another pack and of none; a policy of another pack does not reach that pack's own actions.
    let of_pack = PolicyFixture::of_pack(&pack, "limit").with_action(&action).create(&mut tx).await.unwrap();
    let alone = PolicyFixture::of_action(&action).create(&mut tx).await.unwrap();
    let own = ActionFixture::new_unique().with_pack(&pack, "page").create(&mut tx).await.unwrap();
    let policies = PolicyRepository::for_action(&mut *tx, action.id).await.unwrap();
    assert_eq!(policies, [of_pack, alone]);
    assert_eq!(PolicyRepository::for_action(&mut *tx, own.id).await.unwrap(), []);
}

#[tokio::test]
async fn test_for_action_enabled_only() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().with_pack(&pack, "deploy").create(&mut tx).await.unwrap();
    PolicyFixture::of_action(&action).with_enabled(false).create(&mut tx).await.unwrap();
    PolicyFixture::of_pack(&pack, "limit").with_enabled(false).create(&mut tx).await.unwrap();
    assert_eq!(PolicyRepository::for_action(&mut *tx, action.id).await.unwrap(), []);
}

#[tokio::test]
async fn test_for_action_that_was_removed_and_came_back() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let policy = PolicyFixture::of_action(&action).create(&mut tx).await.unwrap();
    assert!(ActionRepository::delete(&mut *tx, action.id).await.unwrap());
    assert_eq!(PolicyRepository::for_action(&mut *tx, action.id).await.unwrap(), []);
    let again = ActionFixture::new(&action.r#ref).create(&mut tx).await.unwrap();
    assert_eq!(PolicyRepository::for_action(&mut *tx, again.id).await.unwrap(), [policy]);
}

#[tokio::test]
async fn test_for_actions_tells_which_applies_to_which() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let first = ActionFixture::new_unique().with_pack(&pack, "a").create(&mut tx).await.unwrap();
    let second = ActionFixture::new_unique().with_pack(&pack, "b").create(&mut tx).await.unwrap();
    let free = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let of_pack = PolicyFixture::of_pack(&pack, "limit").create(&mut tx).await.unwrap();
    let own = PolicyFixture::of_action(&second).create(&mut tx).await.unwrap();
    let actions = [second.id, free.id, first.id];
    let applied = PolicyRepository::for_actions(&mut *tx, &actions).await.unwrap();
    let found: Vec<_> = applied.into_iter().map(|row| (row.limited_action, row.policy)).collect();
    assert_eq!(found, [(first.id, of_pack.clone()), (second.id, own), (second.id, of_pack)]);
}
