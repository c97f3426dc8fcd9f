with lost as materialized (
    select execution.id, execution.status, worker.name as worker_name,
           coalesce(action.on_worker_loss = 'retry', false) as may_retry,
           case
               when worker.id is null then 'its worker was removed'
               else format('worker %s was lost: it did not renew its lease, which ran out at %s',
                           worker.name, coalesce(to_char(worker.lease_expires at time zone 'utc',
                                                         'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'its restart'))
           end as reason
    from attune.execution
    left join attune.worker on worker.id = execution.worker
    left join attune.action on action.id = execution.action
    where execution.status in ('running', 'canceling')
      and (worker.id is null or worker.lease_expires is null or worker.lease_expires <= clock_timestamp())
    order by execution.id
    limit $1
    for update of execution skip locked
),
ended as (
    update attune.execution
    set status = case
            when lost.status = 'canceling' then 'cancelled'
            when lost.may_retry then 'scheduled'
            else 'abandoned'
        end::attune.execution_status,
        finished = case when lost.status = 'canceling' or not lost.may_retry then clock_timestamp() end,
        worker = null
    from lost
    where execution.id = lost.id
    returning execution.id, execution.attempt, execution.action_ref, execution.status, execution.started
),
attempt as (
    insert into attune.execution_attempt (execution, attempt, status, worker_name, error, started)
    select ended.id, ended.attempt,
           case when ended.status = 'cancelled' then 'cancelled' else 'abandoned' end::attune.execution_status,
           lost.worker_name, lost.reason, ended.started
    from ended
    join lost on lost.id = ended.id
),
change as (
    insert into attune.change (entity_type, entity, ref, activity)
    select 'execution', id, action_ref, status::text from ended order by id
),
signal as materialized (
    select pg_notify('attune_execution', '') is null as execution, pg_notify('attune_change', '') is null as change
    from (select from ended limit 1) any_ended
)
select ended.id, ended.attempt, ended.action_ref, lost.worker_name, ended.status
from ended
join lost on lost.id = ended.id
cross join signal
where signal.execution is not null and signal.change is not null
order by ended.id
