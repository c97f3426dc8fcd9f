with dead as materialized (
    select id, item, priority
    from attune.work_item
    where queue = $1 and status = 'dead' and ($2::bigint[] is null or id = any($2))
    order by id
    limit $3
    for update skip locked
),
-- Drawn first, so that each new item can be told from which it came.
successor as materialized (
    select dead.*, nextval((select pg_get_serial_sequence('attune.work_item', 'id')::regclass)) as next from dead
),
gone as (
    delete from attune.work_item using successor where work_item.id = successor.id
),
back as (
    insert into attune.work_item (id, queue, item, priority, not_before)
    overriding system value
    select next, $1, item, priority, statement_timestamp() from successor order by id
),
signal as materialized (
    select pg_notify('attune_work', '') is null as sent
)
select successor.id, successor.next
from successor
cross join signal
where signal.sent is not null
order by successor.id
