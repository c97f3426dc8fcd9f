with target as materialized (
    select id, status from attune.execution where id = $1 for update
),
cancelled as (
    update attune.execution
    set status = case when target.status = 'running' then 'canceling' else 'cancelled' end::attune.execution_status,
        finished = case when target.status = 'running' then null else clock_timestamp() end
    from target
    where execution.id = target.id and target.status in ('requested', 'scheduling', 'scheduled', 'running')
    returning execution.id, execution.action_ref, execution.status
),
change as (
    insert into attune.change (entity_type, entity, ref, activity)
    select 'execution', id, action_ref, status::text from cancelled
),
signal as materialized (
    select pg_notify('attune_cancel', '') is null as cancel, pg_notify('attune_change', '') is null as change
)
select coalesce(cancelled.status, target.status)
from target
left join cancelled on cancelled.id = target.id
cross join signal
where signal.cancel is not null and signal.change is not null
