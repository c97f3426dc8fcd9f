    returning id
),
-- On a connection that leaves foreign keys to its statements (`db::bulk`), what the decisions refer to is locked here, once for all
-- of them, as the keys would lock it for each. Elsewhere nothing is read, and the keys do it.
held_rule as materialized (
    select id, ref
    from attune.rule
    where attune.leaves_keys_to_statements() and id = any (array(select distinct rule from decision))
    for key share
),
held_event as materialized (
    select id
    from attune.event
    where attune.leaves_keys_to_statements() and id = any (array(select event from decision))
    for key share
),
limited as materialized (
    -- The actions under a policy. There are few, mostly none: asked once for the statement.
    select action_ref from attune.policy where enabled and action_ref is not null
    union all
    select action.ref
    from attune.policy
    join attune.action on action.pack = policy.pack
    where policy.enabled and policy.action_ref is null
),
acting as materialized (
    -- Kept from being removed until the commit: once for all executions of an action.
    select action.id, action.placement, coalesce(runtime.native, false) as native
    from attune.action
    left join attune.runtime on runtime.id = action.runtime
    where action.id = any (array(select distinct action from decision where action is not null))
    for key share of action
),
born as materialized (
    -- What is wide comes with the rows that are inserted, and is not handed from step to step.
    select decision.place, decision.action_ref, acting.placement, acting.native,
           decision.action_ref in (select action_ref from limited) as is_limited
    from enforcement
    join decision on decision.enforcement = enforcement.id
    join acting on acting.id = decision.action
),
paused as materialized (
    select coalesce(bool_or(action_ref is null and pack_ref is null), false) as everything,
           coalesce(array_agg(action_ref) filter (where action_ref is not null), '{}') as actions,
           coalesce(array_agg(pack_ref) filter (where pack_ref is not null), '{}') as packs
    from attune.pause
),
offer as materialized (
    -- Workers with room for native actions. Who assigns holds the row until the commit, so that no room is given twice and a
    -- worker is given ids in their order. Others wait for it, when most of their statement is done: to leave executions to be
    -- claimed would cost more. Who cordons the worker or takes its name over waits for the commit, and so does a renewal of its
    -- lease.
    select worker.id, worker.name, worker.taints, worker.capabilities || worker.labels as facts,
           worker_offer.offered - worker_assigned.assigned as room
    from attune.worker_assigned
    -- The same row as the snapshot has it, which may be older than the one that is locked.
    join attune.worker_assigned seen on seen.worker = worker_assigned.worker and seen.pauses = worker_assigned.pauses
    join attune.worker_offer on worker_offer.worker = worker_assigned.worker
    join attune.worker on worker.id = worker_assigned.worker
    where worker_offer.offered > worker_assigned.assigned and worker_offer.instance = worker.instance
      and not worker.cordoned and worker.lease_expires > clock_timestamp()
      -- It reads of what it is given: it need not have died to be of no use.
      and (
          worker_offer.received >= worker_assigned.newest
          or worker_offer.received > worker_assigned.received
          or worker_assigned.since > clock_timestamp() - interval '1 second'
      )
    order by worker_assigned.worker
    for update of worker_assigned
    for share of worker skip locked
),
seat as materialized (
    -- The room of each worker, shared out among the placements that ask for it; the workers of a placement in one row.
    select placement, id as worker, name as worker_name,
           sum(room) over (partition by placement order by room desc, id) - room as after,
           sum(room) over (partition by placement order by room desc, id) as upto
    from (
        select asked.placement, offer.id, offer.name, offer.room / count(*) over (partition by offer.id) as room
        from (select distinct placement from born where native and not is_limited) asked
        join attune.placement on placement.id = asked.placement
        join offer on offer.facts @> placement.selector and placement.tolerations @> offer.taints
        join paused on not paused.everything
        -- What has waited goes first: it is claimed.
        where not exists (
            select
            from attune.execution
            where execution.placement = asked.placement and execution.native
              and execution.status = 'scheduled' and execution.not_before is null and not execution.paused
        )
    ) shared
),
standing as materialized (
    -- Their ids are drawn in their order, and while the row of the worker is held.
    select nextval((select pg_get_serial_sequence('attune.execution', 'id')::regclass)) as id, clock_timestamp() as moment,
           ordered.*
    from (
        select numbered.*, seat.worker, seat.worker_name
        from (
            select born.*,
                   -- Its place among those that may be given to a worker; null: it may not.
                   case when is_free then row_number() over (partition by placement, is_free order by place) end as number
            from (
                select born.*,
                       born.native and not born.is_limited and born.action_ref <> all (paused.actions)
                           and split_part(born.action_ref, '.', 1) <> all (paused.packs) as is_free
                from born
                cross join paused
            ) born
        ) numbered
        left join seat
            on seat.placement = numbered.placement and numbered.number > seat.after and numbered.number <= seat.upto
        order by numbered.place
    ) ordered
),
execution as (
    insert into attune.execution (
        id, action, action_ref, enforcement, status, trace_id, placement, native, config, retry, keyed, worker, worker_name,
        attempt, started, created, updated
    )
    overriding system value
    select standing.id, decision.action, decision.action_ref, decision.enforcement,
           case
               when standing.is_limited then 'requested'
               when standing.worker is not null then 'running'
               else 'scheduled'
           end::attune.execution_status,
           decision.trace_id, standing.placement, standing.native, decision.parameters, decision.retry, decision.keyed,
           standing.worker, standing.worker_name, case when standing.worker is null then 0 else 1 end,
           case when standing.worker is not null then moment end, moment, moment
    from decision
    join standing on standing.place = decision.place
    returning id, action_ref, status, priority, worker
),
assigned as (
    update attune.worker_assigned
    set assigned = worker_assigned.assigned + given.executions, newest = given.newest, received = worker_offer.received,
        since = case
            when worker_offer.received >= worker_assigned.newest or worker_offer.received > worker_assigned.received
                then clock_timestamp()
            else worker_assigned.since
        end
    from (
        select worker, count(*) as executions, max(id) as newest from execution where worker is not null group by worker
    ) given
    join attune.worker_offer on worker_offer.worker = given.worker
    where worker_assigned.worker = given.worker
),
admission as (
    insert into attune.admission (execution, priority)
    select id, priority from execution where status = 'requested'
    returning pg_notify('attune_admission', '')
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array_agg(id order by id), action_ref, status::text
    from execution
    group by id >> 8, action_ref, status
    union all
    select 'enforcement', array_agg(enforcement.id order by enforcement.id), decision.rule_ref, 'failed'
    from decision
    join enforcement on enforcement.id = decision.enforcement
    where decision.error is not null
    group by enforcement.id >> 8, decision.rule_ref
    order by 1 desc, 2
)
select count(*) as executions,
       count(*) filter (where status = 'running') as assigned,
       -- In this order: where nothing may be given to a worker, no worker is locked.
       case
           when exists (select from standing where number is not null)
           then (select count(*) from standing where number is not null) > least(
               count(*) filter (where status = 'running'),
               (select coalesce(sum(room), 0) from offer) - count(*) filter (where status = 'running')
           )
           else false
       end as is_crowded,
       -- What was removed since the rules and events were read.
       (select min(action) from decision where action is not null and action not in (select id from acting)) as gone_action,
       (
           select min(rule)
           from decision
           where attune.leaves_keys_to_statements() and (rule, rule_ref) not in (select id, ref from held_rule)
       ) as gone_rule,
       (
           select min(event)
           from decision
           where attune.leaves_keys_to_statements() and event not in (select id from held_event)
       ) as gone_event
from execution
