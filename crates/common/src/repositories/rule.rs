//! Rules and their past versions. Writes `attune.rule` and `attune.rule_version`.
//!
//! Whoever changes a rule also raises the version of the rule set
//! ([`RuleSetRepository::raise_version`](super::RuleSetRepository::raise_version)) in the same transaction; the functions
//! here do so themselves.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use super::{RuleSetRepository, by_id, by_ref, owned_by_pack, updates};
use crate::error::{Result, StoreError};
use crate::models::Timestamp;
use crate::models::rule::{ListeningRule, LiveChanges, LiveRule, NewRule, Rule, RuleUpdate, RuleVersion};

/// From this many changes on, reading all rules is as good.
const CHANGES_LIMIT: i64 = 1_000;

/// The rules that can fire; all of them and a few are two statements, as one plan would not do for both.
macro_rules! select_live {
    ($which:literal) => {
        concat!(
            "select rule_set.version as rule_set_version, rule.id, rule.ref, rule.label, rule.pack_ref, rule.version,
                    rule.mode, rule.trigger_ref, rule.trigger_params, rule.condition, rule.conditions, rule.action,
                    rule.action_ref, rule.action_params, rule.rule_window, rule.config, rule.retry,
                    action.enabled as action_enabled,
                    action.param_schema as action_param_schema
             from attune.rule_set
             cross join attune.rule
             join attune.trigger on trigger.id = rule.trigger
             left join attune.action on action.id = rule.action
             where rule.enabled and trigger.enabled ",
            $which,
            " order by rule.id"
        )
    };
}

/// Functions about `attune.rule`.
#[derive(Debug)]
pub struct RuleRepository;

by_id!(read RuleRepository, Rule, "rule", "attune.rule", order "ref");
updates!(RuleRepository, Rule, "rule");
by_ref!(RuleRepository, Rule, "rule", "attune.rule");
owned_by_pack!(read RuleRepository, Rule, "attune.rule");

impl RuleRepository {
    /// Makes a rule, of a pack or on its own. Trigger and action are found by their refs; what does not exist (yet) is
    /// left open, and such a rule fires only once it does.
    pub async fn create(connection: &mut PgConnection, pack: Option<i64>, new: &NewRule) -> Result<Rule> {
        let row = sqlx::query_as(include_str!("rule/create.sql"))
            .bind(&new.r#ref)
            .bind(pack)
            .bind(&new.label)
            .bind(&new.description)
            .bind(new.enabled)
            .bind(new.mode)
            .bind(&new.trigger_ref)
            .bind(&new.trigger_params)
            .bind(new.condition)
            .bind(&new.conditions)
            .bind(&new.action_ref)
            .bind(&new.action_params)
            .bind(&new.window)
            .bind(&new.retry)
            .bind(&new.config)
            .fetch_one(connection)
            .await
            .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Makes a rule of a pack or brings it to this definition; its id stays, and its version grows only by a change.
    pub async fn put(connection: &mut PgConnection, pack: i64, new: &NewRule) -> Result<Rule> {
        let changed = sqlx::query_as(include_str!("rule/put.sql"))
            .bind(&new.r#ref)
            .bind(pack)
            .bind(&new.label)
            .bind(&new.description)
            .bind(new.enabled)
            .bind(new.mode)
            .bind(&new.trigger_ref)
            .bind(&new.trigger_params)
            .bind(new.condition)
            .bind(&new.conditions)
            .bind(&new.action_ref)
            .bind(&new.action_params)
            .bind(&new.window)
            .bind(&new.retry)
            .bind(&new.config)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| StoreError::about(error, new))?;
        match changed {
            Some(row) => Ok(row),
            None => Self::get_by_ref(connection, &new.r#ref).await,
        }
    }

    /// Changes a rule; None leaves a column as it is, and so are the settings that it keeps. What a rule says already makes
    /// no version of it, and does not raise that of the rule set.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &RuleUpdate) -> Result<Rule> {
        let changed = sqlx::query_as(include_str!("rule/update.sql"))
            .bind(id)
            .bind(&update.label)
            .bind(&update.description)
            .bind(update.enabled)
            .bind(update.mode)
            .bind(&update.trigger_params)
            .bind(update.condition)
            .bind(&update.conditions)
            .bind(&update.action_params)
            .bind(update.unchanged_since)
            .bind(&update.window)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// The rule with this ref, which nobody else changes before the transaction ends; NotFound without one.
    pub async fn take_by_ref(connection: &mut PgConnection, rule_ref: &str) -> Result<Rule> {
        let row = sqlx::query_as("select * from attune.rule where ref = $1 for update")
            .bind(rule_ref)
            .fetch_optional(connection)
            .await?;
        row.ok_or_else(|| StoreError::not_found("rule", rule_ref))
    }

    /// The rules of a pack, by ref, which nobody else changes before the transaction ends.
    pub async fn take_of_pack(connection: &mut PgConnection, pack: i64) -> Result<Vec<Rule>> {
        let rows = sqlx::query_as("select * from attune.rule where pack = $1 order by ref for update")
            .bind(pack)
            .fetch_all(connection)
            .await?;
        Ok(rows)
    }

    /// The rules that are not disabled and name one of these triggers or actions, by ref.
    pub async fn list_using(
        executor: impl PgExecutor<'_>,
        triggers: &[String],
        actions: &[String],
    ) -> Result<Vec<Rule>> {
        let rows = sqlx::query_as(
            "select *
             from attune.rule
             where enabled and (trigger_ref = any($1) or action_ref = any($2))
             order by ref",
        )
        .bind(triggers)
        .bind(actions)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Makes the rule what this definition says, its ref excepted; every member counts, also those that are None. What the
    /// rule says already makes no version of it. With `unchanged_since`, a row that was changed since is left alone, and
    /// the result is a Conflict.
    pub async fn replace(
        connection: &mut PgConnection,
        id: i64,
        new: &NewRule,
        unchanged_since: Option<Timestamp>,
    ) -> Result<Rule> {
        let changed = sqlx::query_as(include_str!("rule/replace.sql"))
            .bind(id)
            .bind(&new.label)
            .bind(&new.description)
            .bind(new.enabled)
            .bind(new.mode)
            .bind(&new.trigger_ref)
            .bind(&new.trigger_params)
            .bind(new.condition)
            .bind(&new.conditions)
            .bind(&new.action_ref)
            .bind(&new.action_params)
            .bind(unchanged_since)
            .bind(&new.window)
            .bind(&new.retry)
            .bind(&new.config)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| StoreError::about(error, new))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// Gives rules the values of the settings that they use (None: a rule uses none); gives back how many had others. Each
    /// of these has another version.
    pub async fn set_config(connection: &mut PgConnection, rules: &[(i64, Option<Value>)]) -> Result<u64> {
        let (ids, values): (Vec<i64>, Vec<Option<&Value>>) =
            rules.iter().map(|(id, values)| (*id, values.as_ref())).unzip();
        let changed: i64 = sqlx::query_scalar(include_str!("rule/set_config.sql"))
            .bind(ids)
            .bind(values)
            .fetch_one(connection)
            .await?;
        Ok(changed.unsigned_abs())
    }

    /// Removes the rule; false when there was none. Its versions stay, and the removal is the last of them.
    pub async fn delete(connection: &mut PgConnection, id: i64) -> Result<bool> {
        let removed: i64 =
            sqlx::query_scalar(include_str!("rule/delete.sql")).bind(id).fetch_one(connection).await?;
        Ok(removed > 0)
    }

    /// Removes the rules that the pack owned and no longer contains; gives back how many. Their versions stay.
    pub async fn remove_others(connection: &mut PgConnection, pack: i64, kept: &[String]) -> Result<u64> {
        let removed: i64 = sqlx::query_scalar(include_str!("rule/remove_others.sql"))
            .bind(pack)
            .bind(kept)
            .fetch_one(connection)
            .await?;
        Ok(removed.unsigned_abs())
    }

    /// Removes a pack with its rules, whose removal is kept as their last version; false when there was none. What
    /// [`PackRepository::delete`](super::PackRepository::delete) does.
    pub(super) async fn remove_with_pack(executor: impl PgExecutor<'_>, pack: i64) -> Result<bool> {
        let removed: i64 = sqlx::query_scalar(include_str!("rule/remove_with_pack.sql"))
            .bind(pack)
            .fetch_one(executor)
            .await?;
        Ok(removed > 0)
    }

    /// Gives rules that were left open the trigger and the action of their refs, where these exist now; gives back how
    /// many. What a rule says does not change by that, so no version is made.
    pub async fn relink(connection: &mut PgConnection) -> Result<u64> {
        let done = sqlx::query(
            "update attune.rule
             set trigger = coalesce(rule.trigger, found.trigger), action = coalesce(rule.action, found.action)
             from (
                 select open.id, trigger.id as trigger, action.id as action
                 from attune.rule open
                 left join attune.trigger on trigger.ref = open.trigger_ref
                 left join attune.action on action.ref = open.action_ref
                 where (open.trigger is null and trigger.id is not null)
                    or (open.action is null and action.id is not null)
             ) found
             where rule.id = found.id",
        )
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() > 0 {
            RuleSetRepository::raise_version(connection).await?;
        }
        Ok(done.rows_affected())
    }

    /// The versions of the rule of this name, the first one first; a removal is one too. A rule that was made again
    /// under the name of a removed one begins with 1 again.
    pub async fn list_versions(executor: impl PgExecutor<'_>, rule_ref: &str) -> Result<Vec<RuleVersion>> {
        let rows =
            sqlx::query_as("select * from attune.rule_version where rule_ref = $1 order by id limit 1000")
                .bind(rule_ref)
                .fetch_all(executor)
                .await?;
        Ok(rows)
    }

    /// A page of the versions of the rule of this name, the latest first: those with a smaller id than `before`.
    pub async fn search_versions(
        executor: impl PgExecutor<'_>,
        rule_ref: &str,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<RuleVersion>> {
        let rows = sqlx::query_as(
            "select *
             from attune.rule_version
             where rule_ref = $1 and ($2::bigint is null or id < $2)
             order by id desc
             limit $3",
        )
        .bind(rule_ref)
        .bind(before)
        .bind(limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The version of this number of the rule of this name (the latest rule of it that has one), if it was ever made.
    pub async fn find_version(
        executor: impl PgExecutor<'_>,
        rule_ref: &str,
        version: i32,
    ) -> Result<Option<RuleVersion>> {
        let row = sqlx::query_as(
            "select *
             from attune.rule_version
             where rule_ref = $1 and version = $2 and not removed
             order by id desc
             limit 1",
        )
        .bind(rule_ref)
        .bind(version)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// The version of this number of the rule of this name; NotFound without one.
    pub async fn get_version(
        executor: impl PgExecutor<'_>,
        rule_ref: &str,
        version: i32,
    ) -> Result<RuleVersion> {
        Self::find_version(executor, rule_ref, version)
            .await?
            .ok_or_else(|| StoreError::not_found("rule version", format!("{rule_ref} {version}")))
    }

    /// The rule of this name as it was at that time; None where it was not made yet, or was removed. For an event that was
    /// judged, [`RuleRepository::version_in_force`] is exact.
    pub async fn version_at(
        executor: impl PgExecutor<'_>,
        rule_ref: &str,
        time: Timestamp,
    ) -> Result<Option<RuleVersion>> {
        let row: Option<RuleVersion> = sqlx::query_as(
            "select *
             from attune.rule_version
             where rule_ref = $1 and created <= $2
             order by id desc
             limit 1",
        )
        .bind(rule_ref)
        .bind(time)
        .fetch_optional(executor)
        .await?;
        Ok(row.filter(|version| !version.removed))
    }

    /// The latest version of the rule of this name at a version of the rule set: what it was judged by, or its removal.
    /// None where it was not made yet.
    pub async fn version_in_force(
        executor: impl PgExecutor<'_>,
        rule_ref: &str,
        rule_set_version: i64,
    ) -> Result<Option<RuleVersion>> {
        let row = sqlx::query_as(
            "select *
             from attune.rule_version
             where rule_ref = $1 and rule_set_version <= $2
             order by id desc
             limit 1",
        )
        .bind(rule_ref)
        .bind(rule_set_version)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// The rules that listened to a trigger at a version of the rule set, each as it was then, by ref; also those that were
    /// disabled, and those that are gone now. Only refs after `after`, at most `limit`.
    pub async fn list_in_force(
        executor: impl PgExecutor<'_>,
        trigger_ref: &str,
        rule_set_version: i64,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<RuleVersion>> {
        let rows = sqlx::query_as(include_str!("rule/list_in_force.sql"))
            .bind(trigger_ref)
            .bind(rule_set_version)
            .bind(after)
            .bind(limit)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Rules of an action by its name.
    pub async fn list_by_action_ref(executor: impl PgExecutor<'_>, action_ref: &str) -> Result<Vec<Rule>> {
        let rows = sqlx::query_as("select * from attune.rule where action_ref = $1 order by ref limit 1000")
            .bind(action_ref)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Rules of a trigger by its name.
    pub async fn list_by_trigger_ref(executor: impl PgExecutor<'_>, trigger_ref: &str) -> Result<Vec<Rule>> {
        let rows = sqlx::query_as("select * from attune.rule where trigger_ref = $1 order by ref limit 1000")
            .bind(trigger_ref)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// The enabled rules of a trigger, by ref: all of them.
    pub async fn list_listening(executor: impl PgExecutor<'_>, trigger: i64) -> Result<Vec<ListeningRule>> {
        let rows = sqlx::query_as(
            "select ref, pack, trigger_params from attune.rule where trigger = $1 and enabled order by ref",
        )
        .bind(trigger)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Every rule that can fire, with what the matching pass needs of its action, and the version of the rule set that
    /// this is: all from one snapshot.
    pub async fn live(connection: &mut PgConnection) -> Result<(i64, Vec<LiveRule>)> {
        let rows: Vec<LiveRow> = sqlx::query_as(select_live!("")).fetch_all(&mut *connection).await?;
        match rows.first() {
            Some(row) => Ok((row.rule_set_version, rows.into_iter().map(|row| row.rule).collect())),
            // Without rules the version comes alone; an older version than the rules' would be seen and read again.
            None => Ok((RuleSetRepository::version(connection).await?, Vec::new())),
        }
    }

    /// How the rules that can fire differ from those of an earlier version of the rule set. None where that cannot be told
    /// rule by rule, and all have to be read: a trigger, an action or a pack has changed, or very many rules have.
    pub async fn live_since(connection: &mut PgConnection, version: i64) -> Result<Option<LiveChanges>> {
        #[derive(sqlx::FromRow)]
        struct Row {
            rule_set_version: i64,
            changed_in: Option<i64>,
            rule_ref: Option<String>,
            with_pack: Option<bool>,
        }
        let rows: Vec<Row> = sqlx::query_as(include_str!("rule/changed_since.sql"))
            .bind(version)
            .bind(CHANGES_LIMIT)
            .fetch_all(&mut *connection)
            .await?;
        let Some(now) = rows.first().map(|row| row.rule_set_version) else { return Ok(None) };
        // Every change raises the version by one. What no version of a rule stands for changed something else.
        let told: BTreeSet<i64> = rows.iter().filter_map(|row| row.changed_in).collect();
        let is_complete = (rows.len() as i64) < CHANGES_LIMIT && told.len() as i64 == now - version;
        if !is_complete || rows.iter().any(|row| row.with_pack == Some(true)) {
            return Ok(None);
        }
        let changed: BTreeSet<String> = rows.into_iter().filter_map(|row| row.rule_ref).collect();
        let changed: Vec<String> = changed.into_iter().collect();
        // Read after `now`: what changes in between is newer than that version and is seen again at the next one.
        let rules: Vec<LiveRow> = sqlx::query_as(select_live!("and rule.ref = any($1)"))
            .bind(&changed)
            .fetch_all(connection)
            .await?;
        Ok(Some(LiveChanges {
            version: now,
            changed,
            rules: rules.into_iter().map(|row| row.rule).collect(),
        }))
    }
}

#[derive(sqlx::FromRow)]
struct LiveRow {
    rule_set_version: i64,
    #[sqlx(flatten)]
    rule: LiveRule,
}
