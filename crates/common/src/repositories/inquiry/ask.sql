-- Locked until the commit: a cancellation or an end of the attempt either came before, and then nothing is asked, or waits and
-- finds the question.
with asking as materialized (
    select id, attempt, action_ref
    from attune.execution
    where id = $1 and attempt = $2 and status = 'running'
    for share
),
asked as (
    insert into attune.inquiry as inquiry (
        execution, attempt, dedup_key, prompt, response_schema, assigned_to, assigned_role, allow_self_approval, timeout_at
    )
    select id, attempt, $3, $4, coalesce($5, '{}'), $6, $7, $8, clock_timestamp() + make_interval(secs => $9)
    from asking
    on conflict on constraint inquiry_dedup_key do update
    -- The same again: only so is an existing row given back.
    set execution = excluded.execution
    returning inquiry.*, xmax = 0 as is_new
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'inquiry', array[asked.id], asking.action_ref, asked.status::text
    from asked
    join asking on asking.id = asked.execution
    where asked.is_new
),
signal as materialized (
    select pg_notify('attune_change', '') is null as change from (select from asked where is_new) any_asked
)
select asked.*
from asked
left join signal on signal.change is not null
