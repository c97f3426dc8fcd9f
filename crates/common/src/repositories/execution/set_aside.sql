-- Of what stands at the front of each queue, takes away what is paused: only there is it in the way of a claim. Where
-- everything is paused no claim looks, and nothing is in its way.
with recursive waiting (placement) as (
    (
        select placement
        from attune.execution
        where status = 'scheduled' and not_before is null and not paused
        order by placement
        limit 1
    )
    union all
    select (
        select execution.placement
        from attune.execution
        where status = 'scheduled' and not_before is null and not paused and execution.placement > waiting.placement
        order by execution.placement
        limit 1
    )
    from waiting
    where waiting.placement is not null
),
hidden as materialized (
    select front.id
    from waiting
    cross join lateral (
        select id, action_ref
        from attune.execution
        where execution.placement = waiting.placement
          and execution.status = 'scheduled' and execution.not_before is null and not execution.paused
        order by execution.priority desc, execution.id
        limit $1
    ) front
    where exists (
        select
        from attune.pause
        where pause.action_ref = front.action_ref or pause.pack_ref = split_part(front.action_ref, '.', 1)
    )
),
held as materialized (
    select execution.id
    from attune.execution
    join hidden on hidden.id = execution.id
    where execution.status = 'scheduled' and execution.not_before is null and not execution.paused
    order by execution.id
    for update of execution skip locked
)
update attune.execution set paused = true from held where execution.id = held.id
