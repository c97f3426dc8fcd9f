with removed as (
    delete from attune.rule where pack = $1 and ref <> all($2) returning *
),
raised as (
    update attune.rule_set
    set version = version + 1
    where exists (select from removed)
    returning version, pg_notify('attune_definition', '')
),
-- The removal is the last version of a rule.
version as (
    insert into attune.rule_version (rule_ref, trigger_ref, version, rule_set_version, removed, definition)
    select removed.ref, removed.trigger_ref, removed.version + 1, raised.version, true, to_jsonb(removed)
    from removed
    cross join raised
)
select count(*) from removed
