with due as materialized (
    select id
    from attune.inquiry
    -- The time of the statement, which is one for all rows, lets the index find what is due.
    where status = 'pending' and timeout_at <= statement_timestamp()
    order by timeout_at, id
    limit $1
    for update skip locked
),
expired as (
    update attune.inquiry
    set status = 'timeout'
    from due
    where inquiry.id = due.id
    returning inquiry.*
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'inquiry', array[expired.id], execution.action_ref, expired.status::text
    from expired
    join attune.execution on execution.id = expired.execution
    order by expired.id
),
signal as materialized (
    select pg_notify('attune_change', '') is null as change from (select from expired limit 1) any_expired
)
select expired.*
from expired
cross join signal
where signal.change is not null
order by expired.id
