-- What was assigned after the id that was read last. That it was read is committed before any of it begins. How it is run is asked
-- separately: it is the same for many, and wide.
with assigned as materialized (
    select execution.id, execution.attempt, execution.action, execution.action_ref, execution.trace_id, execution.config,
           execution.keyed, execution.status = 'canceling' as canceling, execution.native as is_native
    from attune.execution
    where execution.worker = $1 and execution.status in ('running', 'canceling') and execution.id > $3
    order by execution.id
),
received as (
    update attune.worker_offer
    set received = greatest(received, (select max(id) from assigned))
    from attune.worker
    where worker_offer.worker = $1 and worker.id = $1 and worker.instance = $2 and exists (select from assigned)
    returning worker_offer.worker
)
select assigned.*
from assigned
-- Nothing for a process that was replaced.
cross join received
order by assigned.id
