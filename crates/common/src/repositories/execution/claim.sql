with recursive worker as materialized (
    select own.id, own.name, own.taints, own.capabilities || own.labels as facts
    from attune.worker own
    -- The same row as the snapshot has it: where it is another, something was paused that the snapshot does not know of.
    join attune.worker seen on seen.id = own.id and seen.pauses = own.pauses
    where own.id = $1 and own.instance = $2 and not own.cordoned and own.lease_expires > clock_timestamp()
    -- Claims wait for a take-over of the name, a cordon and a pause, and those for claims: else a claim under way would hand
    -- work to the former process after its work was rescued, or to anybody after the pause. A renewal of the lease waits for
    -- none of them.
    for key share of own
),
paused as materialized (
    select coalesce(bool_or(action_ref is null and pack_ref is null), false) as everything,
           coalesce(array_agg(action_ref) filter (where action_ref is not null), '{}') as actions,
           coalesce(array_agg(pack_ref) filter (where pack_ref is not null), '{}') as packs
    from attune.pause
),
-- The placements that work waits for, each found by one probe of the index. Few, whatever waits.
waiting (placement) as (
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
servable as materialized (
    select placement.id as placement
    from waiting
    join attune.placement on placement.id = waiting.placement
    join worker on worker.facts @> placement.selector and placement.tolerations @> worker.taints
    join paused on not paused.everything
),
kind (native, room) as (
    values (false, $3::bigint), (true, $4::bigint)
),
candidate as materialized (
    select candidate.id, candidate.priority, kind.native, kind.room
    from servable
    cross join paused
    cross join kind
    cross join lateral (
        -- As many of each placement as of all, to choose from; the locks of those that are not chosen fall at once.
        select execution.id, execution.priority
        from attune.execution
        where execution.placement = servable.placement and execution.native = kind.native
          and execution.status = 'scheduled' and execution.not_before is null and not execution.paused
          -- What was paused is put aside only a moment later.
          and execution.action_ref <> all (paused.actions)
          and split_part(execution.action_ref, '.', 1) <> all (paused.packs)
        order by execution.priority desc, execution.id
        limit kind.room
        for update skip locked
    ) candidate
    where kind.room > 0
),
next as materialized (
    select id
    from (
        select id, room, row_number() over (partition by native order by priority desc, id) as place from candidate
    ) ranked
    where place <= room
),
claimed as (
    update attune.execution
    set status = 'running', worker = $1, worker_name = (select name from worker), attempt = execution.attempt + 1,
        started = clock_timestamp(), updated = clock_timestamp(),
        -- The outcome of the attempt before is among the attempts.
        exit_code = null, signal = null, result = null, error = null, stdout_bytes = null, stderr_bytes = null
    from next
    where execution.id = next.id
    returning execution.id, execution.attempt, execution.action, execution.action_ref, execution.trace_id,
              execution.priority, execution.config, execution.keyed, execution.native
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array_agg(id order by id), action_ref, 'running'
    from claimed
    group by id >> 8, action_ref
    order by 2
)
-- How it is run is asked separately: it is the same for many, and wide.
select id, attempt, action, action_ref, trace_id, config, keyed, false as canceling, native as is_native
from claimed
order by priority desc, id
