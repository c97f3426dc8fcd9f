with worker as (
    select id
    from attune.worker
    where id = $1 and instance = $2 and not cordoned and lease_expires > clock_timestamp()
    -- Claims and a take-over of the name wait for each other: else a claim under way would hand work to the former
    -- process after its work was rescued. A renewal of the lease waits for neither.
    for key share
),
next as materialized (
    select execution.id
    from attune.execution
    where execution.status = 'scheduled' and exists (select from worker)
    order by execution.priority desc, execution.id
    limit $3
    for update skip locked
),
claimed as (
    update attune.execution
    set status = 'running', worker = $1, attempt = execution.attempt + 1, started = clock_timestamp()
    from next
    where execution.id = next.id
    returning execution.id, execution.attempt, execution.action, execution.action_ref, execution.trace_id,
              execution.priority
),
change as (
    insert into attune.change (entity_type, entity, ref, activity)
    select 'execution', id, action_ref, 'running' from claimed order by id
)
select claimed.id, claimed.attempt, claimed.action_ref, claimed.trace_id, config.config,
       action.entrypoint, runtime.native, runtime.interpreter, action.runtime_ref, action.parameter_delivery,
       action.parameter_format, action.output_format, action.timeout_seconds,
       pack.id as pack, pack.ref as pack_ref, pack.checksum as pack_checksum
from claimed
join attune.execution_config config on config.execution = claimed.id
-- The definition may be gone; the execution is the worker's all the same, to be ended with that reason.
left join attune.action on action.id = claimed.action
left join attune.runtime on runtime.id = action.runtime
left join attune.pack on pack.id = action.pack
order by claimed.priority desc, claimed.id
