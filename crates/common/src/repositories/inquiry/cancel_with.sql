-- Of the execution and all that it began, however deep: what runs there is being cancelled and needs no answer any more.
with recursive tree as (
    select $1::bigint as id
    union
    select child.id from attune.execution child join tree on child.parent = tree.id
),
pending as materialized (
    -- In the order of the ids, so that two cancellations wait for each other instead of deadlocking.
    select inquiry.id, execution.action_ref
    from tree
    join attune.execution on execution.id = tree.id
    join attune.inquiry on inquiry.execution = tree.id
    where inquiry.status = 'pending' and (execution.finished is not null or execution.status = 'canceling')
    order by inquiry.id
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
