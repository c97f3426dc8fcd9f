-- The actions of which something waits, each found by one step down the index, and those of what was admitted: the price does
-- not depend on how many executions wait, or in how many lanes.
with recursive waiting (action_ref) as (
    (select action_ref from attune.admission_lane where priority is not null order by action_ref limit 1)
    union all
    select (
        select lane.action_ref
        from attune.admission_lane lane
        where lane.priority is not null and lane.action_ref > waiting.action_ref
        order by lane.action_ref
        limit 1
    )
    from waiting
    where waiting.action_ref is not null
),
held as materialized (
    select distinct lane.action_ref, lane.shape
    from attune.admission
    join attune.admission_lane lane on lane.id = admission.lane
    where admission.admitted is not null
),
asked as materialized (
    select action_ref from waiting where action_ref is not null
    union
    select action_ref from held
),
limited as materialized (
    select asked.action_ref, policy.id, policy.parameters
    from asked
    join attune.policy on policy.action_ref = asked.action_ref
    where policy.enabled
    union all
    select asked.action_ref, policy.id, policy.parameters
    from asked
    join attune.action on action.ref = asked.action_ref
    join attune.policy on policy.pack = action.pack and policy.action_ref is null
    where policy.enabled
),
current as materialized (
    select action_ref, string_agg(id || ':' || parameters::text, ' ' order by id) as shape,
           array_agg(id order by id) as policies,
           coalesce(array_agg(id order by id) filter (where parameters = '{}'), '{}') as whole
    from limited
    group by action_ref
)
select asked.action_ref, current.shape, coalesce(current.policies, '{}') as policies,
       coalesce(current.whole, '{}') as whole,
       exists (
           select from held where held.action_ref = asked.action_ref and held.shape is distinct from current.shape
       )
       -- Two steps down the index: whether there is any other than that of now.
       or exists (
           select
           from attune.admission_lane lane
           where lane.priority is not null and lane.action_ref = asked.action_ref
             and md5(lane.shape) < md5(coalesce(current.shape, ''))
       )
       or exists (
           select
           from attune.admission_lane lane
           where lane.priority is not null and lane.action_ref = asked.action_ref
             and md5(lane.shape) > md5(coalesce(current.shape, ''))
       ) as outdated,
       exists (
           select
           from attune.pause
           where num_nulls(pause.action_ref, pause.pack_ref) = 2
              or pause.action_ref = asked.action_ref
              or pause.pack_ref = split_part(asked.action_ref, '.', 1)
       ) as paused
from asked
left join current on current.action_ref = asked.action_ref
order by asked.action_ref
