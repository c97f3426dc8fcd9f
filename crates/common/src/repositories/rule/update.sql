with changed as (
    update attune.rule
    set label = coalesce($2, label), description = coalesce($3, description), enabled = coalesce($4, enabled),
        trigger_params = coalesce($5, trigger_params), condition = coalesce($6, condition),
        conditions = coalesce($7, conditions), action_params = coalesce($8, action_params),
        -- JSON null takes the window away.
        rule_window = nullif(coalesce($10, rule_window), 'null'),
        -- Only what differs makes a version.
        version = version + case
            when (label, description, enabled, trigger_params, condition, conditions, action_params, rule_window)
                 is distinct from
                 (coalesce($2, label), coalesce($3, description), coalesce($4, enabled),
                  coalesce($5, trigger_params), coalesce($6, condition), coalesce($7, conditions),
                  coalesce($8, action_params), nullif(coalesce($10, rule_window), 'null'))
            then 1
            else 0
        end
    where id = $1 and ($9::timestamptz is null or updated = $9)
    returning *
),
version as (
    insert into attune.rule_version (rule, rule_ref, version, definition)
    select id, ref, version, to_jsonb(changed) from changed
    -- The version that is there already: nothing differs.
    on conflict on constraint rule_version_key do nothing
    returning version
),
raised as (
    update attune.rule_set
    set version = version + 1
    where exists (select from version)
    returning pg_notify('attune_definition', '')
)
select * from changed
