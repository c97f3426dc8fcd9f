with given as materialized (
    select *
    from unnest($1::bigint[], $2::bigint[], $3::double precision[]) as input (execution, lane, counted_for)
),
waiting as materialized (
    -- Locked in one order. A cancellation that came first has changed the status, and wins.
    select execution.id
    from attune.execution
    where execution.id = any($1) and execution.status = 'requested'
    order by execution.id
    for update
),
scheduled as (
    update attune.execution
    set status = 'scheduled'
    from waiting
    where execution.id = waiting.id
    returning execution.id, execution.action_ref
),
admitted as (
    update attune.admission
    set admitted = clock_timestamp(),
        counted_until = clock_timestamp() + make_interval(secs => given.counted_for)
    from scheduled
    join given on given.execution = scheduled.id
    where admission.execution = scheduled.id
    returning admission.lane
),
turn as (
    update attune.admission_lane
    set turn = clock_timestamp()
    where id in (select lane from admitted)
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array[id], action_ref, 'scheduled' from scheduled order by id
),
signal as materialized (
    select pg_notify('attune_execution', '') is null as execution, pg_notify('attune_change', '') is null as change
    from (select from scheduled limit 1) any_scheduled
)
select count(*)
from scheduled
left join signal on signal.execution is not null and signal.change is not null
