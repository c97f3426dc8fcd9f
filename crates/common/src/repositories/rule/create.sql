-- Not named as a column of the rule: else that, and not the row, would be kept.
with made as (
    insert into attune.rule (
        ref, pack, pack_ref, label, description, enabled, mode, trigger, trigger_ref, trigger_params, condition,
        conditions, action, action_ref, action_params, rule_window, retry, config
    )
    values (
        $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6,
        (select id from attune.trigger where ref = $7), $7, $8, $9, $10,
        (select id from attune.action where ref = $11), $11, $12, $13, $14, $15
    )
    returning *
),
raised as (
    update attune.rule_set
    set version = version + 1
    where exists (select from made)
    returning version, pg_notify('attune_definition', '')
),
version as (
    insert into attune.rule_version (rule, rule_ref, trigger_ref, version, rule_set_version, definition)
    select made.id, made.ref, made.trigger_ref, made.version, raised.version, to_jsonb(made)
    from made
    cross join raised
)
select * from made
