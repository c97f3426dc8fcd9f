with orphan as materialized (
    select inquiry.id
    from attune.inquiry
    join attune.execution on execution.id = inquiry.execution
    where inquiry.status = 'pending'
      and (
          -- An execution has a time of its end exactly when its status is terminal.
          execution.finished is not null or execution.status = 'canceling'
          -- What an attempt asks ends with the attempt.
          or inquiry.attempt is not null and (execution.attempt, execution.status) <> (inquiry.attempt, 'running')
      )
    order by inquiry.id
    limit $1
    for update of inquiry skip locked
),
cancelled as (
    update attune.inquiry
    set status = 'cancelled'
    from orphan
    where inquiry.id = orphan.id
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
