with silent as materialized (
    -- The workers that are gone. Asked first: of what the others hold nothing is read, nor of what they held. Some stay on
    -- record, so what they hold is asked one by one.
    select id from attune.worker where lease_expires is null or lease_expires <= clock_timestamp()
),
held as materialized (
    select id, worker, attempt
    from (
        select id, worker, attempt from attune.execution where worker is null and status in ('running', 'canceling')
        union all
        select held_by.id, held_by.worker, held_by.attempt
        from silent
        cross join lateral (
            select execution.id, execution.worker, execution.attempt
            from attune.execution
            where execution.worker = silent.id and execution.status in ('running', 'canceling')
            order by execution.worker, execution.id
            limit $1
        ) held_by
    ) by_nobody
    order by id
    limit $1
),
lost as materialized (
    select execution.id, execution.status, coalesce(worker.name, execution.worker_name) as worker_name,
           coalesce(action.on_worker_loss = 'retry', false) as may_retry,
           -- Born with the worker, which had not read of it yet.
           coalesce(
               execution.native and execution.attempt = 1 and execution.started = execution.created
                   and execution.id > worker_offer.received,
               false
           ) as never_began,
           -- Lost so often, it may be what its workers die of. The attempts of an execution are few.
           (
               select count(*)
               from attune.execution_attempt former
               where former.execution = execution.id and former.status = 'abandoned'
           ) + 1 >= $2 as is_lost_too_often,
           -- Nobody is left to end it at its timeout. What may simply be run again is, unless it was past its timeout
           -- when its worker was last heard of: then that is how it ended.
           coalesce(
               execution.started + make_interval(secs => action.timeout_seconds) <= case
                   when action.on_worker_loss = 'retry' then worker.heartbeat
                   else clock_timestamp()
               end
               -- What waited for its environment had not begun.
               and not coalesce(
                   worker.preparing @> jsonb_build_array(jsonb_build_object('executions', jsonb_build_array(execution.id))),
                   false
               ),
               false
           ) as is_late,
           action.timeout_seconds, execution.attempt, coalesce(execution.retry, action.retry) as retry,
           case
               when worker.id is null then 'its worker was removed'
               else format('worker %s was lost: it did not renew its lease, which ran out at %s',
                           worker.name, coalesce(to_char(worker.lease_expires at time zone 'utc',
                                                         'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'its restart'))
           end as reason
    from held
    -- As it was seen: after a wait for its lock, another executor may have rescued it and a worker that is there may run it. The
    -- status is written so that the primary key alone serves.
    join attune.execution on execution.id = held.id and execution.attempt = held.attempt
        and execution.worker is not distinct from held.worker
    -- A cancellation meanwhile, likewise: in the change feed it would come after what becomes of it here.
    join attune.execution seen on seen.id = held.id and seen.status = execution.status
    left join attune.worker on worker.id = execution.worker
    left join attune.worker_offer on worker_offer.worker = execution.worker
    left join attune.action on action.id = execution.action
    where execution.status::text in ('running', 'canceling')
      and (worker.id is null or worker.lease_expires is null or worker.lease_expires <= clock_timestamp())
    order by execution.id
    for update of execution skip locked
),
judged as materialized (
    -- A cancellation wins over everything.
    select *,
           case
               when status = 'canceling' then 'cancelled'
               when is_late and not never_began then 'timeout'
               else 'abandoned'
           end::attune.execution_status as outcome,
           reason || case
               when status = 'canceling' then ''
               when never_began then '; it had not begun'
               when is_late then format('; its timeout of %s s is over', timeout_seconds)
               when may_retry and is_lost_too_often then format(
                   '; after %s losses it is not run again', $2
               )
               else ''
           end as explanation,
           case
               when status = 'canceling' then null
               when never_began then interval '0'
               when is_late then attune.retry_delay(retry, attempt, 'timeout')
               when may_retry and not is_lost_too_often then interval '0'
               else attune.retry_delay(retry, attempt, 'abandoned')
           end as delay
    from lost
),
ended as (
    update attune.execution
    set status = case when judged.delay is null then judged.outcome else 'scheduled' end,
        finished = case when judged.delay is null then clock_timestamp() end,
        not_before = case when judged.delay > interval '0' then clock_timestamp() + judged.delay end,
        worker = null, worker_name = judged.worker_name, error = judged.explanation,
        stdout_bytes = 0, stderr_bytes = 0, updated = clock_timestamp()
    from judged
    where execution.id = judged.id
    returning execution.id, execution.attempt, execution.action_ref, execution.status, execution.started
),
attempt as (
    insert into attune.execution_attempt (execution, attempt, status, worker_name, error, started)
    select ended.id, ended.attempt, judged.outcome, judged.worker_name,
           judged.explanation, ended.started
    from ended
    join judged on judged.id = ended.id
    -- One that another will follow; that of an end is in the row of its execution.
    where judged.delay is not null
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array[id], action_ref, status::text from ended order by id
),
signal as materialized (
    select pg_notify('attune_execution', '') is null as execution, pg_notify('attune_change', '') is null as change
    from (select from ended limit 1) any_ended
)
select ended.id, ended.attempt, ended.action_ref, judged.worker_name, ended.status
from ended
join judged on judged.id = ended.id
cross join signal
where signal.execution is not null and signal.change is not null
order by ended.id
