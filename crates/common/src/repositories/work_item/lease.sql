with next as (
    select id
    from attune.work_item
    -- statement_timestamp() is one value for the whole statement, and so can be looked up in the index.
    where queue = $1 and status = 'ready' and not_before <= statement_timestamp()
    order by priority desc, id
    -- Nothing where there is no such queue; null would be no limit.
    limit coalesce((select batch_size * $3 from attune.work_queue where id = $1 and enabled), 0)
    for update skip locked
),
leased as (
    update attune.work_item
    set status = 'leased', attempts = attempts + 1, execution = null,
        lease_expires = clock_timestamp() + make_interval(secs => $2)
    from next
    where work_item.id = next.id
    returning work_item.*
)
select *
from leased
order by priority desc, id
