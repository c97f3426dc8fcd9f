-- The actions of which something was put aside, each found by one probe of the index. Ordered by all of that index: of what a
-- planner that knows nothing of the table yet takes for as good, another one has every execution.
with recursive aside (action_ref) as (
    (
        select action_ref from attune.execution where paused order by action_ref, id limit 1
    )
    union all
    select (
        select execution.action_ref
        from attune.execution
        where paused and execution.action_ref > aside.action_ref
        order by execution.action_ref, execution.id
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
    select execution.id
    from attune.execution
    join resumed on resumed.action_ref = execution.action_ref
    where execution.paused
    order by execution.id
    limit $1
    for update of execution skip locked
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
