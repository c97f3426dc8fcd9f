-- The execution and all that it began, however deep; not what one that had ended before began. Who makes a child locks its parent
-- and sees what became of that; one that was made while this waited for such a lock is found by a repetition ($2).
with recursive tree as (
    select id from attune.execution
    where id = $1 and ($2 or status in ('requested', 'scheduling', 'scheduled', 'running', 'canceling'))
    union
    select child.id from attune.execution child join tree on child.parent = tree.id
),
target as materialized (
    -- In the order of the ids, so that two cancellations wait for each other instead of deadlocking.
    select id, status
    from attune.execution
    where id = any (array(select id from tree union select $1))
    order by id
    for update
),
cancelled as (
    update attune.execution
    set status = case when target.status = 'running' then 'canceling' else 'cancelled' end::attune.execution_status,
        finished = case when target.status = 'running' then null else clock_timestamp() end,
        not_before = null, paused = false
    from target
    where execution.id = target.id and target.status in ('requested', 'scheduling', 'scheduled', 'running')
    returning execution.id, execution.action_ref, execution.status
),
unplaced as (
    -- It holds up nobody and counts no more. What the admission has just locked, it forgets by itself: to wait for it here would
    -- be to wait for each other.
    select waiting.execution
    from cancelled
    cross join lateral (
        -- One by one: few are cancelled, and many may wait.
        select admission.execution
        from attune.admission
        where admission.execution = cancelled.id and admission.admitted is null
        limit 1
        for update skip locked
    ) waiting
),
gone as (
    delete from attune.admission where execution = any (array(select execution from unplaced))
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array[id], action_ref, status::text from cancelled order by id
),
signal as materialized (
    select pg_notify('attune_cancel', '') is null as cancel, pg_notify('attune_change', '') is null as change
    where not $2 or exists (select from cancelled)
)
select coalesce(cancelled.status, target.status) as status, (select count(*) from cancelled) as executions
from target
left join cancelled on cancelled.id = target.id
left join signal on signal.cancel is not null and signal.change is not null
where target.id = $1
