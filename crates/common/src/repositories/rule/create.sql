-- Not named as a column of the rule: else that, and not the row, would be kept.
with made as (
    insert into attune.rule (
        ref, pack, pack_ref, label, description, enabled, trigger, trigger_ref, trigger_params, condition, conditions,
        action, action_ref, action_params, retry
    )
    values (
        $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
        (select id from attune.trigger where ref = $6), $6, $7, $8, $9,
        (select id from attune.action where ref = $10), $10, $11, $12
    )
    returning *
),
version as (
    insert into attune.rule_version (rule, rule_ref, version, definition)
    select id, ref, version, to_jsonb(made) from made
),
raised as (
    update attune.rule_set
    set version = version + 1
    where exists (select from made)
    returning pg_notify('attune_definition', '')
)
select * from made
