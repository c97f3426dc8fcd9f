-- What was assigned after the id that was read last. That it was read is committed before any of it begins.
with assigned as materialized (
    select execution.id, execution.attempt, execution.action, execution.action_ref, execution.trace_id, execution.config,
           execution.keyed, execution.status = 'canceling' as canceling, execution.native
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
select assigned.id, assigned.attempt, assigned.action_ref, assigned.trace_id, assigned.config, assigned.keyed,
       assigned.canceling, assigned.native as is_native, action.entrypoint, runtime.native, runtime.interpreter, action.runtime_ref,
       action.parameter_delivery, action.parameter_format, action.output_format, action.timeout_seconds,
       action.out_schema, action.isolation, runtime.environment, runtime.version, pack.runtime_deps,
       pack.id as pack, pack.ref as pack_ref, pack.checksum as pack_checksum,
       pack.conf_schema <> '{}' as has_settings
from assigned
-- Nothing for a process that was replaced.
cross join received
left join attune.action on action.id = assigned.action
left join attune.runtime on runtime.id = action.runtime
left join attune.pack on pack.id = action.pack
order by assigned.id
