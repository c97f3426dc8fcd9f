with pending as materialized (
    select inquiry.id, execution.action_ref
    from attune.inquiry
    join attune.execution on execution.id = inquiry.execution
    where inquiry.id = $1 and inquiry.status = 'pending'
    for update of inquiry
),
cancelled as (
    update attune.inquiry
    set status = 'cancelled'
    from pending
    where inquiry.id = pending.id
    returning inquiry.*
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'inquiry', array[cancelled.id], pending.action_ref, cancelled.status::text
    from cancelled
    join pending on pending.id = cancelled.id
),
signal as materialized (
    select pg_notify('attune_change', '') is null as change from (select from cancelled) any_cancelled
)
select cancelled.*
from cancelled
cross join signal
where signal.change is not null
