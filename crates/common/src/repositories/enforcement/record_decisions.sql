with decision as materialized (
    -- The same decision twice in one batch is one decision too: the first.
    select distinct on (rule, event) *
    from unnest(
        $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::jsonb[], $7::text[], $8::jsonb[],
        $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[], $14::jsonb[]
    ) with ordinality as input (
        event, rule, rule_ref, trigger_ref, config, parameters, condition, conditions, action, action_ref, error,
        trace_id, status, keyed, place
    )
    order by rule, event, place
),
enforcement as (
    insert into attune.enforcement (
        rule, rule_ref, trigger_ref, config, event, status, payload, condition, conditions, error
    )
    select rule, rule_ref, trigger_ref, config, event, status::attune.enforcement_status, parameters, condition, conditions, error
    from decision
    order by place
    -- The guard of "once": whatever brought the same event here again, the first decision stands.
    on conflict on constraint enforcement_rule_event_key do nothing
    returning id, rule, event, rule_ref, error
),
limited as (
    -- The actions under a policy. There are few, mostly none: asked once for the statement.
    select action_ref from attune.policy where enabled and action_ref is not null
    union all
    select action.ref
    from attune.policy
    join attune.action on action.pack = policy.pack
    where policy.enabled and policy.action_ref is null
),
execution as (
    insert into attune.execution (action, action_ref, enforcement, status, trace_id, placement)
    select decision.action, decision.action_ref, enforcement.id,
           case
               when decision.action_ref in (select action_ref from limited) then 'requested'
               else 'scheduled'
           end::attune.execution_status,
           decision.trace_id, coalesce(action.placement, 1)
    from enforcement
    join decision on decision.rule = enforcement.rule and decision.event = enforcement.event
    -- One that is gone is refused by the foreign key.
    left join attune.action on action.id = decision.action
    where decision.action is not null
    order by decision.place
    returning id, enforcement, action_ref, status, priority
),
admission as (
    insert into attune.admission (execution, priority)
    select id, priority from execution where status = 'requested'
    returning pg_notify('attune_admission', '')
),
config as (
    insert into attune.execution_config (execution, config, retry, keyed)
    select execution.id, decision.parameters, rule.retry, decision.keyed
    from execution
    join enforcement on enforcement.id = execution.enforcement
    join decision on decision.rule = enforcement.rule and decision.event = enforcement.event
    join attune.rule on rule.id = decision.rule
),
change as (
    insert into attune.change (entity_type, entity, ref, activity)
    select 'execution', id, action_ref, status::text
    from execution
    union all
    select 'enforcement', id, rule_ref, 'failed' from enforcement where error is not null
    order by 1 desc, 2
)
select count(*) as executions from execution
