with due as materialized (
    select id
    from attune.execution
    where not_before <= clock_timestamp()
    order by not_before
    limit $1
    for update skip locked
),
released as (
    update attune.execution set not_before = null from due where execution.id = due.id returning execution.id
),
counted as materialized (
    select count(*) as executions from released
),
signal as materialized (
    select pg_notify('attune_execution', '') is null as execution from counted where counted.executions > 0
)
select counted.executions
from counted
left join signal on signal.execution is not null
