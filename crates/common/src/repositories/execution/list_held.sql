select execution.id, execution.attempt, execution.action_ref, execution.trace_id, execution.config,
       execution.keyed, execution.status = 'canceling' as canceling,
       execution.native as is_native,
       action.entrypoint, runtime.native, runtime.interpreter, action.runtime_ref, action.parameter_delivery,
       action.parameter_format, action.output_format, action.timeout_seconds,
       action.out_schema, action.isolation, runtime.environment, runtime.version, pack.runtime_deps,
       pack.id as pack, pack.ref as pack_ref, pack.checksum as pack_checksum,
       pack.conf_schema <> '{}' as has_settings,
       case when jsonb_path_exists(action.param_schema, '$.**.secret ? (@ == true)') then action.param_schema
       end as secret_schema,
       nullif(action.keys, '[]') as keys
from attune.execution
left join attune.action on action.id = execution.action
left join attune.runtime on runtime.id = action.runtime
left join attune.pack on pack.id = action.pack
where execution.worker = $1 and execution.status in ('running', 'canceling')
order by execution.id
