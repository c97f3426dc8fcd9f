//! Builds policies.

use attune_common::error::Result;
use attune_common::models::action::Action;
use attune_common::models::pack::Pack;
use attune_common::models::policy::{NewPolicy, Policy, PolicyMethod};
use attune_common::repositories::PolicyRepository;
use sqlx::PgConnection;

use super::{unique_action_ref, unique_suffix};

/// A ref for a policy.
pub(crate) fn unique_policy_ref() -> String {
    format!("test.policy_{}", unique_suffix())
}

/// Builds a policy that admits one execution at a time.
#[derive(Debug, Clone)]
pub(crate) struct PolicyFixture {
    pub(crate) pack: Option<i64>,
    pub(crate) new: NewPolicy,
}

impl PolicyFixture {
    pub(crate) fn new(policy_ref: &str, action_ref: Option<&str>) -> Self {
        Self {
            pack: None,
            new: NewPolicy {
                r#ref: policy_ref.to_owned(),
                action_ref: action_ref.map(str::to_owned),
                enabled: true,
                concurrency: Some(1),
                parameters: Vec::new(),
                rate_count: None,
                rate_seconds: None,
                method: PolicyMethod::Enqueue,
            },
        }
    }

    /// A policy on its own, for an action that has no row.
    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_policy_ref(), Some(&unique_action_ref()))
    }

    /// A policy on its own, for this action.
    pub(crate) fn of_action(action: &Action) -> Self {
        Self::new(&unique_policy_ref(), Some(&action.r#ref))
    }

    /// A policy of a pack for all its actions.
    pub(crate) fn of_pack(pack: &Pack, name: &str) -> Self {
        Self { pack: Some(pack.id), ..Self::new(&format!("{}.{name}", pack.r#ref), None) }
    }

    pub(crate) fn with_action(mut self, action: &Action) -> Self {
        self.new.action_ref = Some(action.r#ref.clone());
        self
    }

    pub(crate) fn with_enabled(mut self, enabled: bool) -> Self {
        self.new.enabled = enabled;
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Policy> {
        PolicyRepository::create(connection, self.pack, &self.new).await
    }
}
