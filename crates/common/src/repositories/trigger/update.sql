with former as materialized (
    select id, updated from attune.trigger where id = $1 for update
),
changed as (
    update attune.trigger
    set label = coalesce($2, label), description = coalesce($3, description), enabled = coalesce($4, enabled),
        param_schema = coalesce($5, param_schema), out_schema = coalesce($6, out_schema),
        webhook = coalesce($7, webhook),
        webhook_key = case when $7 is null then webhook_key else coalesce(webhook_key, $8) end
    from former
    where trigger.id = former.id and ($9::timestamptz is null or former.updated = $9)
    returning trigger.*, trigger.updated <> former.updated as differs
),
raised as (
    update attune.rule_set
    set version = version + 1
    where exists (select from changed where differs)
    returning pg_notify('attune_definition', '')
)
select * from changed
