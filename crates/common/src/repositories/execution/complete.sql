-- Ends of every kind. What ended well, as nearly all, goes by complete_well.sql.
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
    select execution.id,
           -- A cancellation wins over the loss of the run, here as in a rescue, and over another attempt.
           case
               when execution.status = 'canceling' and given.status = 'abandoned' then 'cancelled'
               else given.status
           end as outcome,
           given.exit_code, given.signal, given.result, given.error, given.stdout_bytes, given.stderr_bytes,
           case
               when execution.status = 'running' then attune.retry_delay(
                   coalesce(execution.retry, action.retry), execution.attempt, given.status
               )
           end as delay
    from given
    join attune.execution on execution.id = given.execution and execution.attempt = given.attempt
    -- What was cancelled while another row was locked is left to a statement that begins later: in the change feed, this one has
    -- its place from its first row on, and would be told of before the cancellation.
    join attune.execution seen on seen.id = execution.id and seen.status = execution.status
    left join attune.action on action.id = execution.action
    where execution.worker = $1 and execution.status in ('running', 'canceling')
    order by execution.id
    for update of execution
),
ended as (
    update attune.execution
    set status = case when held.delay is null then held.outcome else 'scheduled' end,
        finished = case when held.delay is null then clock_timestamp() end,
        not_before = case when held.delay > interval '0' then clock_timestamp() + held.delay end,
        worker = case when held.delay is null then execution.worker end,
        exit_code = held.exit_code, signal = held.signal, result = held.result, error = held.error,
        stdout_bytes = held.stdout_bytes, stderr_bytes = held.stderr_bytes, updated = clock_timestamp()
    from held
    where execution.id = held.id
    returning execution.id, execution.attempt, execution.action_ref, execution.status, execution.started,
              execution.worker_name, held.delay, held.outcome
),
attempt as (
    insert into attune.execution_attempt (
        execution, attempt, status, worker_name, exit_code, signal, result, error, stdout_bytes, stderr_bytes,
        started, finished
    )
    select ended.id, ended.attempt, ended.outcome, ended.worker_name, held.exit_code, held.signal, held.result,
           held.error, held.stdout_bytes, held.stderr_bytes, ended.started, clock_timestamp()
    from ended
    join held on held.id = ended.id
    -- One that another will follow; that of an end is in the row of its execution.
    where ended.delay is not null
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array[id], action_ref, status::text from ended order by id
),
again as materialized (
    select count(pg_notify('attune_execution', '')) as signals
    from (select from ended where status = 'scheduled' limit 1) any_again
)
select ended.id
from ended
cross join again
where again.signals >= 0
order by ended.id
