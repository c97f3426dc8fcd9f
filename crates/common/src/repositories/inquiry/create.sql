with inquiry as (
    insert into attune.inquiry (
        execution, prompt, response_schema, assigned_to, assigned_role, allow_self_approval, timeout_at
    )
    values ($1, $2, coalesce($3, '{}'), $4, $5, $6, clock_timestamp() + make_interval(secs => $7))
    returning *
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'inquiry', array[inquiry.id], execution.action_ref, inquiry.status::text
    from inquiry
    join attune.execution on execution.id = inquiry.execution
),
signal as materialized (
    select pg_notify('attune_change', '') is null as change
)
select inquiry.*
from inquiry
cross join signal
where signal.change is not null
