with former as materialized (
    select id, status, updated from attune.execution where id = $1 for update
),
changed as (
    update attune.execution
    set status = coalesce($2, former.status), priority = coalesce($3, priority)
    from former
    where execution.id = former.id
      and ($4::timestamptz is null or former.updated = $4)
      -- What a worker has, or nobody will have again, is not for the caller to change.
      and (former.status in ('requested', 'scheduling', 'scheduled') or num_nulls($2, $3) = 2)
      and (
          $2 is null
          or former.status = $2
          or (former.status = 'requested' and $2 in ('scheduling', 'scheduled'))
          or (former.status = 'scheduling' and $2 = 'scheduled')
      )
    returning execution.id, execution.action_ref, execution.status, execution.status <> former.status as advanced
),
place as (
    -- Its place among those that wait for a policy, if it does: it is sorted anew. The lane itself is the admission's to change.
    update attune.admission
    set priority = $3, lane = case when admitted is not null then lane end
    from changed
    where admission.execution = changed.id and $3 is not null
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array[id], action_ref, status::text from changed where advanced
    returning pg_notify('attune_change', '')
),
claimable as materialized (
    select pg_notify('attune_execution', '') is null as signal from changed where advanced and status = 'scheduled'
)
select id from changed where (select count(signal) from claimable) >= 0
