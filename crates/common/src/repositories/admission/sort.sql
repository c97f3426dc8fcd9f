-- Puts executions into lanes. Runs under the lock of the admission: nobody else makes lanes.
with page as materialized (
    -- Chosen before it is joined with anything: a join would be made of all that is unsorted.
    select execution, case when admitted is null then priority end as priority
    from attune.admission
    where lane is null
    order by execution
    limit $1
    for update skip locked
),
unsorted as materialized (
    select page.execution, page.priority, execution.action_ref, execution.config
    from page
    join attune.execution on execution.id = page.execution
),
limited as materialized (
    -- Two halves: each is found by an index, which one with an `or` is not.
    select asked.action_ref, policy.id, policy.parameters
    from (select distinct action_ref from unsorted) asked
    join attune.policy on policy.action_ref = asked.action_ref
    where policy.enabled
    union all
    select asked.action_ref, policy.id, policy.parameters
    from (select distinct action_ref from unsorted) asked
    join attune.action on action.ref = asked.action_ref
    join attune.policy on policy.pack = action.pack and policy.action_ref is null
    where policy.enabled
),
part as (
    select unsorted.execution, unsorted.priority, unsorted.action_ref, limited.id as policy, limited.parameters,
           encode(sha256(convert_to(coalesce(counted.by::text, ''), 'UTF8')), 'hex') as key
    from unsorted
    join limited on limited.action_ref = unsorted.action_ref
    cross join lateral (
        select jsonb_agg(unsorted.config -> name order by place) as by
        from unnest(limited.parameters) with ordinality as counted (name, place)
    ) counted
),
sorted as materialized (
    select execution, priority, action_ref,
           string_agg(policy || ':' || parameters::text, ' ' order by policy) as shape,
           jsonb_agg(jsonb_build_object('policy', policy, 'key', key) order by policy) as parts
    from part
    group by execution, priority, action_ref
),
printed as materialized (
    select execution, priority, action_ref, shape, parts,
           encode(sha256(convert_to(action_ref || ' ' || shape || ' ' || parts::text, 'UTF8')), 'hex') as fingerprint
    from sorted
),
-- From here on nothing is joined with what was read above: as long as the planner takes that for few, it compares each with each.
wanted as materialized (
    select distinct on (fingerprint) fingerprint, action_ref, shape, parts,
           -- What was admitted comes here too, when policies have changed; it waits for nothing.
           max(priority) over (partition by fingerprint) as priority
    from printed
    order by fingerprint
),
sought as materialized (
    select wanted.*, known.id, known.priority as noted
    from wanted
    left join lateral (
        select id, priority from attune.admission_lane where admission_lane.fingerprint = wanted.fingerprint limit 1
    ) known on true
),
made as (
    insert into attune.admission_lane (action_ref, shape, fingerprint, parts, priority)
    select action_ref, shape, fingerprint, parts, priority from sought where id is null order by fingerprint
    returning id, fingerprint
),
raised as (
    update attune.admission_lane
    set priority = sought.priority
    from sought
    where admission_lane.id = sought.id and sought.priority is not null
      and (sought.noted is null or sought.noted < sought.priority)
),
located as (
    select execution, max(id) over (partition by fingerprint) as lane
    from (
        select execution, fingerprint, null as id from printed
        union all
        select null, fingerprint, id from sought where id is not null
        union all
        select null, fingerprint, id from made
    ) together
),
placed as (
    update attune.admission
    set lane = located.lane
    from located
    where admission.execution = located.execution
    returning admission.execution
),
free as (
    -- The policies that held these back are gone.
    delete from attune.admission
    using (select execution from unsorted except select execution from sorted) held_by_nobody
    where admission.execution = held_by_nobody.execution
    returning admission.execution
),
scheduled as (
    update attune.execution
    set status = 'scheduled'
    from free
    where execution.id = free.execution and execution.status = 'requested'
    returning execution.id, execution.action_ref
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array[id], action_ref, 'scheduled' from scheduled order by id
),
signal as materialized (
    select pg_notify('attune_execution', '') is null as execution, pg_notify('attune_change', '') is null as change
    from (select from scheduled limit 1) any_scheduled
)
select (select count(*) from placed) as placed, (select count(*) from free) as freed
from (select count(*) from signal where signal.execution is not null and signal.change is not null) signalled
