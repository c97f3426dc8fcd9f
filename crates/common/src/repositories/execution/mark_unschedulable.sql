with stuck as materialized (
    select execution.id, placement.selector, placement.tolerations
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
marked as (
    update attune.execution
    set unschedulable = true
    from stuck
    where execution.id = stuck.id
    returning execution.id, execution.action_ref, execution.trace_id, execution.created, stuck.selector,
              stuck.tolerations
)
select * from marked order by id
