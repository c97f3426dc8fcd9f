-- The lanes in which executions are, each found by one step down the index: the price does not depend on how many wait.
with recursive occupied (id) as (
    (select lane from attune.admission where lane is not null order by lane limit 1)
    union all
    select (
        select admission.lane
        from attune.admission
        where admission.lane > occupied.id
        order by admission.lane
        limit 1
    )
    from occupied
    where occupied.id is not null
),
lane as materialized (
    select admission_lane.*
    from occupied
    join attune.admission_lane on admission_lane.id = occupied.id
),
limited as (
    select asked.action_ref, policy.id, policy.parameters
    from (select distinct action_ref from lane) asked
    join attune.policy on policy.action_ref = asked.action_ref
    where policy.enabled
    union all
    select asked.action_ref, policy.id, policy.parameters
    from (select distinct action_ref from lane) asked
    join attune.action on action.ref = asked.action_ref
    join attune.policy on policy.pack = action.pack and policy.action_ref is null
    where policy.enabled
),
current as materialized (
    select action_ref, string_agg(id || ':' || parameters::text, ' ' order by id) as shape
    from limited
    group by action_ref
)
select lane.id, lane.parts, lane.turn, lane.shape is distinct from current.shape as outdated,
       exists (
           select
           from attune.pause
           where num_nulls(pause.action_ref, pause.pack_ref) = 2
              or pause.action_ref = lane.action_ref
              or pause.pack_ref = split_part(lane.action_ref, '.', 1)
       ) as paused,
       head.priority
from lane
left join current on current.action_ref = lane.action_ref
left join lateral (
    select admission.priority
    from attune.admission
    where admission.lane = lane.id and admission.admitted is null
    order by admission.priority desc, admission.execution
    limit 1
) head on true
-- A lane that is new has its turn after those that have waited for theirs, lest ever new ones come first.
order by head.priority desc nulls last, coalesce(lane.turn, lane.created), lane.id
