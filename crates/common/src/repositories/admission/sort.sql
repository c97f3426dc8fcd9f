-- Puts executions into lanes. Runs under the lock of the admission: nobody else makes lanes.
with page as materialized (
    -- Chosen before it is joined with anything: a join would be made of all that is unsorted.
    select execution
    from attune.admission
    where lane is null
    order by execution
    limit $1
    for update skip locked
),
unsorted as materialized (
    select page.execution, execution.action_ref, execution.config
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
    select unsorted.execution, limited.id as policy, limited.parameters,
           encode(sha256(convert_to(coalesce(counted.by::text, ''), 'UTF8')), 'hex') as key
    from unsorted
    join limited on limited.action_ref = unsorted.action_ref
    cross join lateral (
        select jsonb_agg(unsorted.config -> name order by place) as by
        from unnest(limited.parameters) with ordinality as counted (name, place)
    ) counted
),
sorted as materialized (
    select unsorted.execution, unsorted.action_ref,
           string_agg(part.policy || ':' || part.parameters::text, ' ' order by part.policy) as shape,
           jsonb_agg(jsonb_build_object('policy', part.policy, 'key', part.key) order by part.policy) as parts
    from unsorted
    join part on part.execution = unsorted.execution
    group by unsorted.execution, unsorted.action_ref
),
printed as materialized (
    select execution, action_ref, shape, parts,
           encode(sha256(convert_to(action_ref || ' ' || shape || ' ' || parts::text, 'UTF8')), 'hex') as fingerprint
    from sorted
),
made as (
    insert into attune.admission_lane (action_ref, shape, fingerprint, parts)
    select distinct on (fingerprint) action_ref, shape, fingerprint, parts
    from printed
    where not exists (select from attune.admission_lane known where known.fingerprint = printed.fingerprint)
    order by fingerprint
    returning id, fingerprint
),
lane as (
    select id, fingerprint from made
    union all
    select known.id, known.fingerprint
    from attune.admission_lane known
    where known.fingerprint in (select fingerprint from printed)
),
placed as (
    update attune.admission
    set lane = lane.id
    from printed
    join lane on lane.fingerprint = printed.fingerprint
    where admission.execution = printed.execution
    returning admission.execution
),
free as (
    -- The policies that held these back are gone.
    delete from attune.admission
    using unsorted
    where admission.execution = unsorted.execution
      and not exists (select from sorted where sorted.execution = unsorted.execution)
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
