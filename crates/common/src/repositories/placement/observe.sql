-- The placements that work waits for, each found by one probe of the index.
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
unserved as materialized (
    select placement.id
    from waiting
    join attune.placement on placement.id = waiting.placement
    where not exists (
        select
        from attune.worker
        where not worker.cordoned and worker.lease_expires > clock_timestamp()
          and worker.capabilities || worker.labels @> placement.selector
          and placement.tolerations @> worker.taints
    )
)
update attune.placement
set unserved_since = case when placement.unserved_since is null then clock_timestamp() end
where (placement.unserved_since is not null) <> (placement.id in (select id from unserved))
