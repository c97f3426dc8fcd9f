with given as materialized (
    select *
    from unnest(
        $2::bigint[], $3::integer[], $4::attune.execution_status[], $5::integer[], $6::integer[], $7::jsonb[],
        $8::text[], $9::bigint[], $10::bigint[]
    ) as input (
        execution, attempt, status, exit_code, signal, result, error, stdout_bytes, stderr_bytes
    )
),
held as materialized (
    -- Locked in one order, so that a completion and a rescue that meet cannot lock each other out.
    select execution.id, execution.status
    from attune.execution
    join given on given.execution = execution.id and given.attempt = execution.attempt
    where execution.worker = $1 and execution.status in ('running', 'canceling')
    order by execution.id
    for update of execution
),
ended as (
    update attune.execution
    set status = case
            -- A cancellation wins over the loss of the run, here as in a rescue.
            when held.status = 'canceling' and given.status = 'abandoned' then 'cancelled'
            else given.status
        end,
        finished = clock_timestamp()
    from held
    join given on given.execution = held.id
    where execution.id = held.id
    returning execution.id, execution.attempt, execution.action_ref, execution.status, execution.worker,
              execution.started, execution.finished
),
attempt as (
    insert into attune.execution_attempt (
        execution, attempt, status, worker_name, exit_code, signal, result, error, stdout_bytes, stderr_bytes,
        started, finished
    )
    select ended.id, ended.attempt, ended.status, worker.name, given.exit_code, given.signal, given.result,
           given.error, given.stdout_bytes, given.stderr_bytes, ended.started, ended.finished
    from ended
    join given on given.execution = ended.id
    left join attune.worker on worker.id = ended.worker
),
change as (
    insert into attune.change (entity_type, entity, ref, activity)
    select 'execution', id, action_ref, status::text from ended order by id
)
select ended.id
from ended
order by ended.id
