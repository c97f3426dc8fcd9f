with failure as (
    select * from unnest($1::bigint[], $2::integer[], $3::text[], $4::double precision[])
        as failure (item, attempt, error, delay)
),
held as (
    select work_item.id, failure.error, failure.delay, work_item.attempts >= work_queue.max_attempts as was_last
    from attune.work_item
    join failure on failure.item = work_item.id and failure.attempt = work_item.attempts
    join attune.work_queue on work_queue.id = work_item.queue
    where work_item.status = 'leased'
    order by work_item.id
    for update of work_item
),
failed as (
    update attune.work_item
    set status = (case when was_last then 'dead' else 'ready' end)::attune.work_item_status,
        lease_expires = null,
        error = held.error,
        not_before = case
            when was_last then not_before
            else clock_timestamp() + make_interval(secs => held.delay)
        end
    from held
    where work_item.id = held.id
    returning work_item.id, work_item.queue, work_item.attempts, work_item.status
)
select *
from failed
order by id
