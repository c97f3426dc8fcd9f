with former as materialized (
    select id, updated from attune.rule where id = $1 for update
),
changed as (
    update attune.rule
    set label = $2, description = $3, enabled = $4, mode = $5,
        -- The link of a ref that stays is kept, whatever it leads to.
        trigger = case when trigger_ref = $6 then trigger else (select id from attune.trigger where ref = $6) end,
        trigger_ref = $6, trigger_params = $7, condition = $8, conditions = $9,
        action = case when action_ref = $10 then action else (select id from attune.action where ref = $10) end,
        action_ref = $10, action_params = $11, rule_window = $13, retry = $14, config = $15,
        -- Only what differs makes a version.
        version = version + case
            when (label, description, enabled, mode, trigger_ref, trigger_params, condition, conditions, action_ref,
                  action_params, rule_window, retry, config)
                 is distinct from ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $13::jsonb, $14::jsonb, $15::jsonb)
            then 1
            else 0
        end
    from former
    where rule.id = former.id and ($12::timestamptz is null or former.updated = $12)
    returning rule.*, rule.updated <> former.updated as differs
),
raised as (
    update attune.rule_set
    set version = version + 1
    where exists (select from changed where differs)
    returning version, pg_notify('attune_definition', '')
),
version as (
    insert into attune.rule_version (rule, rule_ref, trigger_ref, version, rule_set_version, definition)
    select changed.id, changed.ref, changed.trigger_ref, changed.version, raised.version,
           to_jsonb(changed) - 'differs'
    from changed
    cross join raised
)
select * from changed
