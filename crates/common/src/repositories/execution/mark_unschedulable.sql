with recursive stuck as materialized (
    select execution.id, execution.parent, execution.enforcement, placement.selector, placement.tolerations
    from attune.placement
    cross join lateral (
        select waiting.id
        from attune.execution waiting
        where waiting.placement = placement.id and waiting.status = 'scheduled' and waiting.not_before is null
          and not waiting.paused and not waiting.unschedulable
        limit $2
    ) waiting
    join attune.execution on execution.id = waiting.id
    where placement.unserved_since <= clock_timestamp() - make_interval(secs => $1)
      and execution.status = 'scheduled' and not execution.unschedulable
    order by execution.id
    limit $2
    for update of execution skip locked
),
-- Up from each one to the one that a rule began: what was begun by an execution has its depth.
origin (execution, parent, enforcement, step) as (
    select id, parent, enforcement, 0 from stuck
    union all
    select origin.execution, execution.parent, execution.enforcement, origin.step + 1
    from origin
    join attune.execution on execution.id = origin.parent
    -- No workflow is nested so deep; a circle would be.
    where origin.enforcement is null and origin.step < 100
),
marked as (
    update attune.execution
    set unschedulable = true
    from stuck
    where execution.id = stuck.id
    returning execution.id, execution.action_ref, execution.trace_id, execution.created, stuck.selector,
              stuck.tolerations
)
select marked.*, coalesce(event.depth, 0::smallint) as depth
from marked
left join origin on origin.execution = marked.id and origin.enforcement is not null
left join attune.enforcement on enforcement.id = origin.enforcement
left join attune.event on event.id = enforcement.event
order by marked.id
