with changed as (
    insert into attune.rule (
        ref, pack, pack_ref, label, description, enabled, mode, trigger, trigger_ref, trigger_params, condition,
        conditions, action, action_ref, action_params, rule_window, retry, config
    )
    values (
        $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6,
        (select id from attune.trigger where ref = $7), $7, $8, $9, $10,
        (select id from attune.action where ref = $11), $11, $12, $13, $14, $15
    )
    on conflict on constraint rule_ref_key do update
    set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
        description = excluded.description, enabled = excluded.enabled, mode = excluded.mode,
        trigger = excluded.trigger, trigger_ref = excluded.trigger_ref, trigger_params = excluded.trigger_params,
        condition = excluded.condition, conditions = excluded.conditions, action = excluded.action,
        action_ref = excluded.action_ref, action_params = excluded.action_params,
        rule_window = excluded.rule_window, retry = excluded.retry, config = excluded.config,
        version = rule.version + 1
    -- Only what differs makes a version; of a rule that is so already, no row is given back.
    where (rule.pack, rule.label, rule.description, rule.enabled, rule.mode, rule.trigger, rule.trigger_ref,
           rule.trigger_params, rule.condition, rule.conditions, rule.action, rule.action_ref, rule.action_params,
           rule.rule_window, rule.retry, rule.config)
          is distinct from
          (excluded.pack, excluded.label, excluded.description, excluded.enabled, excluded.mode, excluded.trigger,
           excluded.trigger_ref, excluded.trigger_params, excluded.condition, excluded.conditions, excluded.action,
           excluded.action_ref, excluded.action_params, excluded.rule_window, excluded.retry, excluded.config)
    returning *
),
raised as (
    update attune.rule_set
    set version = version + 1
    where exists (select from changed)
    returning version, pg_notify('attune_definition', '')
),
version as (
    insert into attune.rule_version (rule, rule_ref, trigger_ref, version, rule_set_version, definition)
    select changed.id, changed.ref, changed.trigger_ref, changed.version, raised.version, to_jsonb(changed)
    from changed
    cross join raised
)
select * from changed
