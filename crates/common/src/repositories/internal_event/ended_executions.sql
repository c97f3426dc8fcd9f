-- Up from each execution to the one that a rule began: what was begun by an execution has its depth.
with recursive origin (execution, parent, enforcement, step) as (
    select id, parent, enforcement, 0
    from attune.execution
    where id = any($1)
    union all
    select origin.execution, execution.parent, execution.enforcement, origin.step + 1
    from origin
    join attune.execution on execution.id = origin.parent
    -- No workflow is nested so deep; a circle would be.
    where origin.enforcement is null and origin.step < 100
)
select execution.id, execution.action_ref, execution.status, execution.attempt, execution.error, execution.exit_code,
       execution.parent, origin.enforcement, enforcement.rule_ref, enforcement.event, execution.trace_id,
       coalesce(event.depth, 0::smallint) as depth, execution.created, execution.started, execution.finished
from attune.execution
left join origin on origin.execution = execution.id and origin.enforcement is not null
left join attune.enforcement on enforcement.id = origin.enforcement
left join attune.event on event.id = enforcement.event
where execution.id = any($1) and execution.finished is not null
order by execution.id
