with given as materialized (
    select * from unnest($1::bigint[], $2::text[]) as input (execution, reason)
),
waiting as materialized (
    select execution.id
    from attune.execution
    where execution.id = any($1) and execution.status = 'requested'
    order by execution.id
    for update
),
cancelled as (
    update attune.execution
    set status = 'cancelled', finished = clock_timestamp(), error = given.reason, stdout_bytes = 0, stderr_bytes = 0
    from waiting
    join given on given.execution = waiting.id
    where execution.id = waiting.id
    returning execution.id, execution.action_ref
),
gone as (
    delete from attune.admission using cancelled where admission.execution = cancelled.id
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array[id], action_ref, 'cancelled' from cancelled order by id
),
signal as materialized (
    select pg_notify('attune_change', '') is null as change from (select from cancelled limit 1) any_cancelled
)
select count(*) from cancelled left join signal on signal.change is not null
