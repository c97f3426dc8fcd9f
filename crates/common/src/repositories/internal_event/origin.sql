-- Up from the execution to the one that a rule began: what was begun by an execution has its rule and its depth.
with recursive origin (parent, enforcement, step) as (
    select parent, enforcement, 0
    from attune.execution
    where id = $1
    union all
    select execution.parent, execution.enforcement, origin.step + 1
    from origin
    join attune.execution on execution.id = origin.parent
    -- No workflow is nested so deep; a circle would be.
    where origin.enforcement is null and origin.step < 100
)
select enforcement.rule_ref, coalesce(event.depth, 0::smallint) as depth
from origin
join attune.enforcement on enforcement.id = origin.enforcement
left join attune.event on event.id = enforcement.event
