with former as materialized (
    -- What refers to it, such as a new execution, does not wait for that.
    select id, updated from attune.action where id = $1 for no key update
),
changed as (
    update attune.action
    set label = coalesce($2, label), description = coalesce($3, description), enabled = coalesce($4, enabled),
        runtime = case
            when $5 is null then runtime
            else (select runtime.id from attune.runtime where runtime.ref = $5)
        end,
        runtime_ref = coalesce($5, runtime_ref), entrypoint = coalesce($6, entrypoint),
        param_schema = coalesce($7, param_schema), out_schema = coalesce($8, out_schema),
        timeout_seconds = coalesce($9, timeout_seconds), retry = coalesce($10, retry),
        on_worker_loss = coalesce($11, on_worker_loss)
    from former
    where action.id = former.id and ($12::timestamptz is null or former.updated = $12)
    returning action.*, action.updated <> former.updated as differs
),
raised as (
    update attune.rule_set
    set version = version + 1
    where exists (select from changed where differs)
    returning pg_notify('attune_definition', '')
)
select * from changed
