with former as materialized (
    select id, updated from attune.rule where id = $1 for update
),
changed as (
    update attune.rule
    set label = coalesce($2, label), description = coalesce($3, description), enabled = coalesce($4, enabled),
        mode = coalesce($5, mode), trigger_params = coalesce($6, trigger_params),
        condition = coalesce($7, condition), conditions = coalesce($8, conditions),
        action_params = coalesce($9, action_params),
        -- JSON null takes the window away.
        rule_window = nullif(coalesce($11, rule_window), 'null'),
        -- Only what differs makes a version.
        version = version + case
            when (label, description, enabled, mode, trigger_params, condition, conditions, action_params, rule_window)
                 is distinct from
                 (coalesce($2, label), coalesce($3, description), coalesce($4, enabled), coalesce($5, mode),
                  coalesce($6, trigger_params), coalesce($7, condition), coalesce($8, conditions),
                  coalesce($9, action_params), nullif(coalesce($11, rule_window), 'null'))
            then 1
            else 0
        end
    from former
    where rule.id = former.id and ($10::timestamptz is null or former.updated = $10)
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
