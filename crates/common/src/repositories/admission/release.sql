-- Frees the slots of executions that have ended, and forgets starts that no rate counts any more.
with ended as materialized (
    -- What was admitted comes from the index of it, and its executions one by one along theirs: in a join, the planner would
    -- read everything that waits beside them.
    select admission.execution, admission.counted_until
    from attune.admission
    where admission.admitted is not null and not admission.ended
      and (select finished is not null from attune.execution where execution.id = admission.execution)
    order by admission.admitted
    for update of admission skip locked
),
kept as (
    update attune.admission
    set ended = true
    from ended
    where admission.execution = ended.execution and ended.counted_until > clock_timestamp()
    returning admission.execution
),
gone as (
    delete from attune.admission
    using ended
    where admission.execution = ended.execution
      and (ended.counted_until is null or ended.counted_until <= clock_timestamp())
    returning admission.execution
),
expired as (
    delete from attune.admission
    where admitted is not null and ended and (counted_until is null or counted_until <= clock_timestamp())
    returning execution
)
select (select count(*) from kept) + (select count(*) from gone) as released from (select count(*) from expired) forgotten
