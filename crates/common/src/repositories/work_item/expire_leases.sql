with expired as (
    select work_item.id, work_item.attempts >= work_queue.max_attempts as was_last
    from attune.work_item
    join attune.work_queue on work_queue.id = work_item.queue
    where work_item.status = 'leased' and work_item.lease_expires < clock_timestamp()
      -- An execution that is there says itself what becomes of its items, also when that is heard late.
      and not exists (select from attune.execution where execution.id = work_item.execution)
    order by work_item.lease_expires
    limit $1
    -- Whoever has it locked is just completing or prolonging it.
    for update of work_item skip locked
),
ended as (
    update attune.work_item
    set status = (case when was_last then 'dead' else 'ready' end)::attune.work_item_status,
        lease_expires = null,
        error = 'the lease ran out'
    from expired
    where work_item.id = expired.id
    returning work_item.id, work_item.queue, work_item.attempts, work_item.status
)
select *
from ended
order by id
