with given as materialized (
    select nextval((select pg_get_serial_sequence('attune.execution', 'id')::regclass)) as id, input.*
    from unnest(
        $1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
        $7::attune.execution_status[], $8::smallint[], $9::text[], $10::jsonb[], $11::bigint[]
    ) with ordinality as input (
        action, action_ref, enforcement, parent, original, identity, status, priority, trace_id, config, placement, place
    )
),
limited as materialized (
    -- The actions under a policy. There are few, mostly none: asked once for the statement.
    select action_ref from attune.policy where enabled and action_ref is not null
    union all
    select action.ref
    from attune.policy
    join attune.action on action.pack = policy.pack
    where policy.enabled and policy.action_ref is null
),
-- What they refer to is kept from being removed until the commit, once for all of them.
acting as materialized (
    select action.id, action.placement, coalesce(runtime.native, false) as native
    from attune.action
    left join attune.runtime on runtime.id = action.runtime
    where action.id = any (array(select distinct action from given where action is not null))
    for key share of action
),
deciding as materialized (
    select id
    from attune.enforcement
    where id = any (array(select distinct enforcement from given where enforcement is not null))
    for key share
),
above as materialized (
    -- A cancellation of a parent that is under way is waited for: it does not see these.
    select id, status
    from attune.execution
    where id = any (array(select distinct parent from given where parent is not null))
    order by id
    for share
),
repeated as materialized (
    select id
    from attune.execution
    where id = any (array(select distinct original from given where original is not null))
    order by id
    for key share
),
acting_for as materialized (
    select id
    from attune.identity
    where id = any (array(select distinct identity from given where identity is not null))
    for key share
),
missing as materialized (
    select 'action' as field, action as id from given where action is not null and action not in (select id from acting)
    union all
    select 'enforcement', enforcement
    from given
    where enforcement is not null and enforcement not in (select id from deciding)
    union all
    select 'parent', parent from given where parent is not null and parent not in (select id from above)
    union all
    select 'original', original from given where original is not null and original not in (select id from repeated)
    union all
    select 'identity', identity from given where identity is not null and identity not in (select id from acting_for)
    limit 1
),
execution as (
    insert into attune.execution (
        id, action, action_ref, enforcement, parent, original, identity, status, priority, trace_id, placement, native,
        config, finished, error
    )
    overriding system value
    select given.id, given.action, given.action_ref, given.enforcement, given.parent, given.original, given.identity,
           case
               when above.status in ('canceling', 'cancelled') then 'cancelled'
               when given.status = 'scheduled' and given.action_ref in (select action_ref from limited) then 'requested'
               else given.status
           end,
           given.priority, given.trace_id, coalesce(given.placement, acting.placement, 1),
           coalesce(acting.native, false), given.config,
           case when above.status in ('canceling', 'cancelled') then clock_timestamp() end,
           case
               when above.status in ('canceling', 'cancelled') then format('its parent, execution %s, was cancelled', above.id)
           end
    from given
    left join acting on acting.id = given.action
    left join above on above.id = given.parent
    where not exists (select from missing)
    order by given.place
    returning id, action_ref, status, priority
),
admission as (
    insert into attune.admission (execution, priority)
    select id, priority from execution where status = 'requested'
    returning pg_notify('attune_admission', '')
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array[id], action_ref, status::text from execution order by id
),
signal as materialized (
    select pg_notify('attune_execution', '') is null as execution, pg_notify('attune_change', '') is null as change
)
select given.id, missing.field, missing.id as target
from given
left join missing on true
cross join signal
where signal.execution is not null and signal.change is not null
order by given.place
