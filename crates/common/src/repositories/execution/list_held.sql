select execution.id, execution.attempt, execution.action_ref, execution.trace_id, config.config, config.keyed,
       action.entrypoint, runtime.native, runtime.interpreter, action.runtime_ref, action.parameter_delivery,
       action.parameter_format, action.output_format, action.timeout_seconds,
       action.out_schema, action.isolation, runtime.environment, runtime.version, pack.runtime_deps,
       pack.id as pack, pack.ref as pack_ref, pack.checksum as pack_checksum
from attune.execution
join attune.execution_config config on config.execution = execution.id
left join attune.action on action.id = execution.action
left join attune.runtime on runtime.id = action.runtime
left join attune.pack on pack.id = action.pack
where execution.worker = $1 and execution.status in ('running', 'canceling')
order by execution.id
