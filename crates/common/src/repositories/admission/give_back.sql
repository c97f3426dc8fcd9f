-- Takes back the admission of what is paused before it began: it waits again, and others may have the slot. What waits for
-- its next attempt keeps its slot, as does what runs.
with paused as materialized (
    select execution.id
    from attune.admission
    join attune.execution on execution.id = admission.execution
    where admission.admitted is not null and not admission.ended
      and execution.status = 'scheduled' and execution.not_before is null
      and exists (
          select
          from attune.pause
          where num_nulls(pause.action_ref, pause.pack_ref) = 2
             or pause.action_ref = execution.action_ref
             or pause.pack_ref = split_part(execution.action_ref, '.', 1)
      )
    order by execution.id
    for update of execution skip locked
),
waiting as (
    update attune.execution
    set status = 'requested', paused = false
    from paused
    where execution.id = paused.id
    returning execution.id, execution.action_ref
),
given_back as (
    update attune.admission
    set admitted = null, counted_until = null
    from waiting
    where admission.execution = waiting.id
    returning admission.lane, admission.priority
),
raised as (
    update attune.admission_lane
    set priority = greatest(admission_lane.priority, first.priority)
    from (select lane, max(priority) as priority from given_back group by lane) first
    where admission_lane.id = first.lane
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array[id], action_ref, 'requested' from waiting order by id
),
signal as materialized (
    select pg_notify('attune_change', '') is null as change from (select from waiting limit 1) any_waiting
)
select count(*) from waiting left join signal on signal.change is not null
