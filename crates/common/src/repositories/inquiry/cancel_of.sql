-- In the order of the ids, so that two cancellations wait for each other instead of deadlocking.
with pending as materialized (
    select id from attune.inquiry where execution = $1 and status = 'pending' order by id for update
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
    select 'inquiry', array[cancelled.id], execution.action_ref, cancelled.status::text
    from cancelled
    join attune.execution on execution.id = cancelled.execution
    order by cancelled.id
),
signal as materialized (
    select pg_notify('attune_change', '') is null as change from (select from cancelled limit 1) any_cancelled
)
select cancelled.*
from cancelled
cross join signal
where signal.change is not null
order by cancelled.id
