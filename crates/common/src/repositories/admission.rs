//! Executions under policies. Writes `attune.admission` and `attune.admission_lane`. (The statements that make executions
//! enter those that are under a policy; what is admitted is scheduled, and what is refused cancelled, in one statement.)
//!
//! One executor admits at a time: whoever holds [`AdmissionRepository::take_turn`]. It counts what is running from the rows
//! themselves, so no limit is ever passed and no slot is ever lost, whatever dies when.

use std::collections::HashMap;

use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use crate::error::Result;
use crate::models::admission::{
    Admittance, AskedAction, LaneHead, LanePart, PolicyLimits, PolicyLoad, PolicyUse, Refusal, Sorted,
    Waiting, WaitingAction, WaitingFor, WaitingLane,
};

/// Functions about `attune.admission`.
#[derive(Debug)]
pub struct AdmissionRepository;

impl AdmissionRepository {
    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.admission"
    }

    /// Whether any execution is under a policy: whether there is anything to do at all.
    pub async fn is_needed(executor: impl PgExecutor<'_>) -> Result<bool> {
        let any =
            sqlx::query_scalar("select exists (select from attune.admission)").fetch_one(executor).await?;
        Ok(any)
    }

    /// Whether an execution has come, or one that took up a slot has ended: what only that can let go may go now.
    pub async fn has_news(executor: impl PgExecutor<'_>) -> Result<bool> {
        let any = sqlx::query_scalar(
            // What was admitted comes from the index of it, and its executions one by one along theirs: in a join, the planner
            // would read everything that waits beside them.
            "with held as materialized (
                 select execution from attune.admission where admitted is not null and not ended order by admitted
             )
             select exists (select from attune.admission where lane is null)
                 or exists (
                     select
                     from held
                     where (select finished is not null from attune.execution where execution.id = held.execution)
                 )",
        )
        .fetch_one(executor)
        .await?;
        Ok(any)
    }

    /// Takes the right to admit for the rest of the transaction; false when another executor has it. What that one
    /// committed before is seen by the statements that follow.
    pub async fn take_turn(transaction: &mut PgConnection) -> Result<bool> {
        let taken = sqlx::query_scalar("select pg_try_advisory_xact_lock(hashtext('attune.admission'))")
            .fetch_one(transaction)
            .await?;
        Ok(taken)
    }

    /// Puts up to `limit` executions that are new, or whose policies have changed, into lanes. Those that no policy
    /// applies to any more are scheduled.
    pub async fn sort(transaction: &mut PgConnection, limit: i64) -> Result<Sorted> {
        let sorted =
            sqlx::query_as(include_str!("admission/sort.sql")).bind(limit).fetch_one(transaction).await?;
        Ok(sorted)
    }

    /// Whether an execution that was admitted is in no lane, and so counts for no policy until it is sorted.
    pub async fn is_incomplete(transaction: &mut PgConnection) -> Result<bool> {
        let any = sqlx::query_scalar(
            "select exists (select from attune.admission where lane is null and admitted is not null)",
        )
        .fetch_one(transaction)
        .await?;
        Ok(any)
    }

    /// Takes up to `limit` executions of these actions out of lanes that are no longer right, to be sorted anew.
    pub async fn unsort(
        transaction: &mut PgConnection,
        actions: &[&WaitingAction],
        limit: i64,
    ) -> Result<()> {
        let refs: Vec<&str> = actions.iter().map(|action| action.action_ref.as_str()).collect();
        let shapes: Vec<Option<&str>> = actions.iter().map(|action| action.shape.as_deref()).collect();
        sqlx::query(include_str!("admission/unsort.sql"))
            .bind(&refs)
            .bind(&shapes)
            .bind(limit)
            .execute(&mut *transaction)
            .await?;
        // Those that are empty now, or have been for long, are no reason to do this again.
        sqlx::query(
            "update attune.admission_lane lane
             set priority = null
             from unnest($1::text[], $2::text[]) as asked (action_ref, shape)
             where lane.action_ref = asked.action_ref and lane.shape is distinct from asked.shape
               and lane.priority is not null
               and not exists (
                   select from attune.admission where admission.lane = lane.id and admission.admitted is null
               )",
        )
        .bind(&refs)
        .bind(&shapes)
        .execute(transaction)
        .await?;
        Ok(())
    }

    /// Notes of these lanes what is first in them now.
    pub async fn refresh(transaction: &mut PgConnection, lanes: &[i64]) -> Result<()> {
        if lanes.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "with first as materialized (
                 select asked.lane, (
                     select priority
                     from attune.admission
                     where admission.lane = asked.lane and admission.admitted is null
                     order by priority desc, execution
                     limit 1
                 ) as priority
                 from unnest($1::bigint[]) as asked (lane)
             )
             update attune.admission_lane
             set priority = first.priority
             from first
             where admission_lane.id = first.lane and admission_lane.priority is distinct from first.priority",
        )
        .bind(lanes)
        .execute(transaction)
        .await?;
        Ok(())
    }

    /// Frees the slots of executions that have ended; gives back how many.
    pub async fn release(transaction: &mut PgConnection) -> Result<i64> {
        let released =
            sqlx::query_scalar(include_str!("admission/release.sql")).fetch_one(transaction).await?;
        Ok(released)
    }

    /// Takes back the admission of executions that were paused before they began; gives back how many.
    pub async fn give_back(transaction: &mut PgConnection) -> Result<i64> {
        let count =
            sqlx::query_scalar(include_str!("admission/give_back.sql")).fetch_one(transaction).await?;
        Ok(count)
    }

    /// The actions that executions in lanes are of.
    pub async fn actions(executor: impl PgExecutor<'_>) -> Result<Vec<WaitingAction>> {
        let rows = sqlx::query_as(include_str!("admission/actions.sql")).fetch_all(executor).await?;
        Ok(rows)
    }

    /// Up to `limit` lanes of these actions in which executions wait, by the priority of the first that waits and then in the
    /// order of their turns. Those are left out that are under something of which all is `taken`, unless that is refused.
    pub async fn lanes(
        executor: impl PgExecutor<'_>,
        actions: &[AskedAction],
        taken: &[LanePart],
        limit: i64,
    ) -> Result<Vec<WaitingLane>> {
        let rows = sqlx::query_as(include_str!("admission/lanes.sql"))
            .bind(actions.iter().map(|action| action.action_ref.as_str()).collect::<Vec<_>>())
            .bind(actions.iter().map(|action| action.refuses).collect::<Vec<_>>())
            .bind(taken.iter().map(|part| part.policy).collect::<Vec<_>>())
            .bind(taken.iter().map(|part| part.key.as_str()).collect::<Vec<_>>())
            .bind(limit)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// The limits of all enabled policies.
    pub async fn limits(executor: impl PgExecutor<'_>) -> Result<Vec<PolicyLimits>> {
        let rows = sqlx::query_as(
            "select id, ref, concurrency, rate_count, rate_seconds, method from attune.policy where enabled",
        )
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// What is taken of the policies.
    pub async fn uses(executor: impl PgExecutor<'_>) -> Result<Vec<PolicyUse>> {
        let rows = sqlx::query_as(include_str!("admission/use.sql")).fetch_all(executor).await?;
        Ok(rows)
    }

    /// The first executions of lanes, up to `most` of each, lane by lane in their order.
    pub async fn heads(executor: impl PgExecutor<'_>, lanes: &[i64], most: &[i64]) -> Result<Vec<LaneHead>> {
        let rows = sqlx::query_as(
            "select lane.id as lane, head.execution, head.priority, execution.status
             from unnest($1::bigint[], $2::bigint[]) with ordinality as lane (id, most, place)
             cross join lateral (
                 select admission.execution, admission.priority
                 from attune.admission
                 where admission.lane = lane.id and admission.admitted is null
                 order by admission.priority desc, admission.execution
                 limit lane.most
             ) head
             join attune.execution on execution.id = head.execution
             order by lane.place, head.priority desc, head.execution",
        )
        .bind(lanes)
        .bind(most)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Schedules executions; gives back how many still waited.
    pub async fn admit(transaction: &mut PgConnection, admitted: &[Admittance]) -> Result<i64> {
        let count = sqlx::query_scalar(include_str!("admission/admit.sql"))
            .bind(admitted.iter().map(|a| a.execution).collect::<Vec<_>>())
            .bind(admitted.iter().map(|a| a.lane).collect::<Vec<_>>())
            .bind(admitted.iter().map(|a| a.counted_for).collect::<Vec<_>>())
            .fetch_one(transaction)
            .await?;
        Ok(count)
    }

    /// Cancels executions that a policy does not let wait; gives back how many still waited.
    pub async fn refuse(transaction: &mut PgConnection, refused: &[Refusal]) -> Result<i64> {
        let count = sqlx::query_scalar(include_str!("admission/refuse.sql"))
            .bind(refused.iter().map(|r| r.execution).collect::<Vec<_>>())
            .bind(refused.iter().map(|r| r.reason.as_str()).collect::<Vec<_>>())
            .fetch_one(transaction)
            .await?;
        Ok(count)
    }

    /// Forgets executions that no longer wait, because somebody cancelled them, and counts those that somebody scheduled
    /// by hand as admitted.
    pub async fn settle(transaction: &mut PgConnection, executions: &[i64]) -> Result<()> {
        sqlx::query(
            "with standing as (
                 select id, finished is not null as ended
                 from attune.execution
                 where id = any($1) and status <> 'requested'
             ),
             gone as (
                 delete from attune.admission
                 using standing
                 where admission.execution = standing.id and standing.ended
             )
             update attune.admission
             set admitted = clock_timestamp()
             from standing
             where admission.execution = standing.id and not standing.ended and admission.admitted is null",
        )
        .bind(executions)
        .execute(transaction)
        .await?;
        Ok(())
    }

    /// Removes up to `limit` lanes that nobody is in any more; gives back how many.
    pub async fn remove_empty_lanes(executor: impl PgExecutor<'_>, limit: i64) -> Result<u64> {
        let done = sqlx::query(
            "delete from attune.admission_lane
             where id in (
                 select id
                 from attune.admission_lane lane
                 where not exists (select from attune.admission where admission.lane = lane.id)
                   and coalesce(lane.turn, lane.created) < clock_timestamp() - interval '1 hour'
                 limit $1
                 for update skip locked
             )",
        )
        .bind(limit)
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }

    /// What an execution waits for; None when it does not wait for policies.
    pub async fn waiting(connection: &mut PgConnection, execution: i64) -> Result<Option<Waiting>> {
        let place: Option<Place> = sqlx::query_as(
            "select admission.lane, lane.parts, (
                 select count(*)
                 from attune.admission ahead
                 where ahead.lane = admission.lane and ahead.admitted is null
                   and ahead.priority > admission.priority
             ) + (
                 select count(*)
                 from attune.admission ahead
                 where ahead.lane = admission.lane and ahead.admitted is null
                   and ahead.priority = admission.priority and ahead.execution < admission.execution
             ) + 1 as position
             from attune.admission
             join attune.execution on execution.id = admission.execution and execution.status = 'requested'
             left join attune.admission_lane lane on lane.id = admission.lane
             where admission.execution = $1 and admission.admitted is null",
        )
        .bind(execution)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(Place { lane, parts, position }) = place else { return Ok(None) };
        let limits = Self::limits(&mut *connection).await?;
        let taken = Taken::of(Self::uses(connection).await?);
        let parts = parts.map(|parts| parts.0).unwrap_or_default();
        let mut policies: Vec<WaitingFor> = parts
            .iter()
            .filter_map(|part| {
                let policy = limits.iter().find(|policy| policy.id == part.policy)?;
                Some(WaitingFor { policy_ref: policy.r#ref.clone(), has_room: taken.room(policy, part) > 0 })
            })
            .collect();
        policies.sort_by_key(|policy| policy.has_room);
        Ok(Some(Waiting { policies, position: lane.map(|_| position) }))
    }

    /// How much each policy is used; one that is not used is left out.
    pub async fn loads(executor: impl PgExecutor<'_>) -> Result<Vec<PolicyLoad>> {
        let rows = sqlx::query_as(
            "with lane as (
                 select admission.lane as id,
                        count(*) filter (where admission.admitted is null) as waiting,
                        count(*) filter (where admission.admitted is not null and not admission.ended) as running
                 from attune.admission
                 where admission.lane is not null
                 group by admission.lane
             )
             select part.policy, sum(lane.running)::bigint as running, sum(lane.waiting)::bigint as waiting
             from lane
             join attune.admission_lane on admission_lane.id = lane.id
             cross join lateral jsonb_to_recordset(admission_lane.parts) as part (policy bigint, key text)
             group by part.policy",
        )
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }
}

/// Where an execution waits.
#[derive(sqlx::FromRow)]
struct Place {
    lane: Option<i64>,
    parts: Option<Json<Vec<LanePart>>>,
    position: i64,
}

/// What is taken of all policies, to be asked for the room that is left.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    running: HashMap<LanePart, i64>,
    /// A rate is the policy's, whatever it counts concurrency by.
    recent: HashMap<i64, i64>,
}

impl Taken {
    /// From what [`AdmissionRepository::uses`] gives.
    pub fn of(uses: Vec<PolicyUse>) -> Self {
        let mut taken = Self::default();
        for PolicyUse { policy, key, running, recent } in uses {
            *taken.recent.entry(policy).or_default() += recent;
            *taken.running.entry(LanePart { policy, key }).or_default() += running;
        }
        taken
    }

    /// How many more this policy admits for this part.
    pub fn room(&self, policy: &PolicyLimits, part: &LanePart) -> i64 {
        let left = |limit: Option<i32>, taken: Option<&i64>| {
            limit.map_or(i64::MAX, |limit| (i64::from(limit) - taken.copied().unwrap_or_default()).max(0))
        };
        left(policy.concurrency, self.running.get(part))
            .min(left(policy.rate_count, self.recent.get(&part.policy)))
    }

    /// What has no room left for one more with the same values.
    pub fn full<'t>(
        &'t self,
        limits: &'t HashMap<i64, PolicyLimits>,
    ) -> impl Iterator<Item = &'t LanePart> + 't {
        self.running
            .keys()
            .filter(|part| limits.get(&part.policy).is_some_and(|policy| self.room(policy, part) == 0))
    }

    /// Whether the policy admits nothing more whatever the values are.
    pub fn is_over(&self, policy: &PolicyLimits) -> bool {
        policy
            .rate_count
            .is_some_and(|limit| self.recent.get(&policy.id).copied().unwrap_or_default() >= i64::from(limit))
    }

    /// Counts one more.
    pub fn take(&mut self, part: &LanePart) {
        *self.running.entry(part.clone()).or_default() += 1;
        *self.recent.entry(part.policy).or_default() += 1;
    }
}
