-- The actions of which something was put aside, each found by one probe of the index, which no other index could give in this
-- order: of a planner that knows nothing of the table yet, another one would have it read every execution.
with recursive aside (action_ref) as (
    (
        select (case when paused then action_ref end)
        from attune.execution
        where paused
        order by (case when paused then action_ref end), id
        limit 1
    )
    union all
    select (
        select (case when paused then execution.action_ref end)
        from attune.execution
        where paused and (case when paused then execution.action_ref end) > aside.action_ref
        order by (case when paused then execution.action_ref end), execution.id
        limit 1
    )
    from aside
    where aside.action_ref is not null
),
resumed as materialized (
    select action_ref
    from aside
    where action_ref is not null
      and not exists (
          select
          from attune.pause
          where pause.action_ref = aside.action_ref or pause.pack_ref = split_part(aside.action_ref, '.', 1)
      )
),
freed as materialized (
    -- Each action's from the index, where they stand in the order of their ids; in an order of all, the planner would look for
    -- them along the primary key.
    select held.id
    from resumed
    cross join lateral (
        select execution.id
        from attune.execution
        where execution.paused and (case when execution.paused then execution.action_ref end) = resumed.action_ref
        limit $1
        for update of execution skip locked
    ) held
    limit $1
),
back as (
    update attune.execution set paused = false from freed where execution.id = freed.id returning execution.id
),
counted as materialized (
    select count(*) as executions from back
),
signal as materialized (
    select pg_notify('attune_execution', '') is null as execution from counted where counted.executions > 0
)
select counted.executions
from counted
left join signal on signal.execution is not null
