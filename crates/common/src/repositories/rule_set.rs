//! The version of the set of rules. Writes `attune.rule_set`, as do the statements that change rules, triggers, actions
//! or packs: each raises the version by itself, but for the `put` of triggers and actions, whose caller raises it once
//! for the whole pack. Raising it twice for one change does no harm.

use sqlx::PgExecutor;

use crate::error::Result;

/// Functions about `attune.rule_set`.
#[derive(Debug)]
pub struct RuleSetRepository;

impl RuleSetRepository {
    /// The version in force.
    pub async fn version(executor: impl PgExecutor<'_>) -> Result<i64> {
        let version = sqlx::query_scalar("select version from attune.rule_set").fetch_one(executor).await?;
        Ok(version)
    }

    /// Makes whoever holds rules, triggers or actions in memory read them again. Belongs into the transaction of the
    /// change.
    pub async fn raise_version(executor: impl PgExecutor<'_>) -> Result<i64> {
        let version = sqlx::query_scalar(
            "with raised as (
                 update attune.rule_set set version = version + 1 returning version
             )
             select version from raised where pg_notify('attune_definition', '') is not null",
        )
        .fetch_one(executor)
        .await?;
        Ok(version)
    }
}
