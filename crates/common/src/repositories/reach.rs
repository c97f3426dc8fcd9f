//! Pages of history for callers whose grants reach only some of it: as the lists of everything, with what is out of reach left
//! out. Writes nothing. Apart from those, so that their plans stay what they are.

use sqlx::PgExecutor;

use crate::error::Result;
use crate::models::enforcement::{Enforcement, EnforcementFilter};
use crate::models::event::{Event, EventFilter};
use crate::models::execution::{Execution, ExecutionFilter};
use crate::models::grant::Reach;

/// Functions about what is within reach.
#[derive(Debug)]
pub struct ReachRepository;

impl ReachRepository {
    /// A page of executions of actions within reach, by descending id.
    pub async fn executions(
        executor: impl PgExecutor<'_>,
        filter: &ExecutionFilter,
        reach: &Reach,
    ) -> Result<Vec<Execution>> {
        let rows = sqlx::query_as(
            "select * from attune.execution where ($1::text is null or action_ref = $1)
               and ($2::attune.execution_status is null or status = $2)
               and ($3::bigint is null or id = any(
                       array(select id from attune.execution where enforcement = $3)))
               and ($4::bigint is null or id = any(
                       array(select id from attune.execution
                             where enforcement = any(
                                 array(select id from attune.enforcement where enforcement.event = $4
                                       union
                                       select enforcement from attune.enforcement_event where event = $4)))))
               and ($5::bigint is null or id < $5)
               and (action_ref like any($7) or action_ref like any($8) and (identity = $9 or parent = $10))
             order by id desc
             limit $6",
        )
        // Planned anew with its parameters, as the list of everything.
        .persistent(false)
        .bind(&filter.action_ref)
        .bind(filter.status)
        .bind(filter.enforcement)
        .bind(filter.event)
        .bind(filter.before)
        .bind(filter.limit)
        .bind(&reach.refs)
        .bind(&reach.own_refs)
        .bind(reach.owner.identity)
        .bind(reach.owner.execution)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// A page of events of triggers within reach, by descending id.
    pub async fn events(
        executor: impl PgExecutor<'_>,
        filter: &EventFilter,
        reach: &Reach,
    ) -> Result<Vec<Event>> {
        let rows = sqlx::query_as(
            "select * from attune.event
             where ($1::text is null or trigger_ref = $1)
               and ($2::bigint is null or id < $2)
               and trigger_ref like any($4)
             order by id desc
             limit $3",
        )
        .persistent(false)
        .bind(&filter.trigger_ref)
        .bind(filter.before)
        .bind(filter.limit)
        .bind(&reach.refs)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// A page of enforcements of rules within reach, by descending id.
    pub async fn enforcements(
        executor: impl PgExecutor<'_>,
        filter: &EnforcementFilter,
        reach: &Reach,
    ) -> Result<Vec<Enforcement>> {
        let rows = sqlx::query_as(
            "select * from attune.enforcement
             where ($1::text is null or rule_ref = $1)
               and ($2::bigint is null or id = any(
                       array(select id from attune.enforcement where event = $2
                             union
                             select enforcement from attune.enforcement_event where event = $2)))
               and ($3::attune.enforcement_status is null or status = $3)
               and ($4::bigint is null or id < $4)
               and rule_ref like any($6)
             order by id desc
             limit $5",
        )
        .persistent(false)
        .bind(&filter.rule_ref)
        .bind(filter.event)
        .bind(filter.status)
        .bind(filter.before)
        .bind(filter.limit)
        .bind(&reach.refs)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }
}
