with given as materialized (
    select nextval((select pg_get_serial_sequence('attune.execution', 'id')::regclass)) as id, input.*
    from unnest(
        $1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
        $7::attune.execution_status[], $8::smallint[], $9::text[], $10::jsonb[], $11::bigint[]
    ) with ordinality as input (
        action, action_ref, enforcement, parent, original, identity, status, priority, trace_id, config, placement, place
    )
),
limited as (
    -- The actions under a policy. There are few, mostly none: asked once for the statement.
    select action_ref from attune.policy where enabled and action_ref is not null
    union all
    select action.ref
    from attune.policy
    join attune.action on action.pack = policy.pack
    where policy.enabled and policy.action_ref is null
),
execution as (
    insert into attune.execution (
        id, action, action_ref, enforcement, parent, original, identity, status, priority, trace_id, placement
    )
    overriding system value
    select given.id, given.action, given.action_ref, given.enforcement, given.parent, given.original, given.identity,
           case
               when given.status = 'scheduled' and given.action_ref in (select action_ref from limited) then 'requested'
               else given.status
           end,
           given.priority, given.trace_id, coalesce(given.placement, action.placement, 1)
    from given
    left join attune.action on action.id = given.action
    order by given.place
    returning id, action_ref, status, priority
),
admission as (
    insert into attune.admission (execution, priority)
    select id, priority from execution where status = 'requested'
    returning pg_notify('attune_admission', '')
),
config as (
    insert into attune.execution_config (execution, config) select id, config from given
),
change as (
    insert into attune.change (entity_type, entity, ref, activity)
    select 'execution', id, action_ref, status::text from execution order by id
),
signal as materialized (
    select pg_notify('attune_execution', '') is null as execution, pg_notify('attune_change', '') is null as change
)
select given.id
from given
cross join signal
where signal.execution is not null and signal.change is not null
order by given.place
