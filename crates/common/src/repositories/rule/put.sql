with changed as (
    insert into attune.rule (
        ref, pack, pack_ref, label, description, enabled, trigger, trigger_ref, trigger_params, condition, conditions,
        action, action_ref, action_params, retry
    )
    values (
        $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
        (select id from attune.trigger where ref = $6), $6, $7, $8, $9,
        (select id from attune.action where ref = $10), $10, $11, $12
    )
    on conflict on constraint rule_ref_key do update
    set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
        description = excluded.description, enabled = excluded.enabled, trigger = excluded.trigger,
        trigger_ref = excluded.trigger_ref, trigger_params = excluded.trigger_params, condition = excluded.condition,
        conditions = excluded.conditions, action = excluded.action, action_ref = excluded.action_ref,
        action_params = excluded.action_params, retry = excluded.retry, version = rule.version + 1
    -- Only what differs makes a version; of a rule that is so already, no row is given back.
    where (rule.pack, rule.label, rule.description, rule.enabled, rule.trigger, rule.trigger_ref, rule.trigger_params,
           rule.condition, rule.conditions, rule.action, rule.action_ref, rule.action_params, rule.retry)
          is distinct from
          (excluded.pack, excluded.label, excluded.description, excluded.enabled, excluded.trigger,
           excluded.trigger_ref, excluded.trigger_params, excluded.condition, excluded.conditions, excluded.action,
           excluded.action_ref, excluded.action_params, excluded.retry)
    returning *
),
version as (
    insert into attune.rule_version (rule, rule_ref, version, definition)
    select id, ref, version, to_jsonb(changed) from changed
),
raised as (
    update attune.rule_set
    set version = version + 1
    where exists (select from changed)
    returning pg_notify('attune_definition', '')
)
select * from changed
