with given as (
    select * from unnest($1::bigint[], $2::jsonb[]) as given (rule, config)
),
changed as (
    update attune.rule
    set config = given.config, version = rule.version + 1
    from given
    -- Only what differs makes a version.
    where rule.id = given.rule and rule.config is distinct from given.config
    returning rule.*
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
select count(*) from changed
