-- The lock makes answers wait for each other, for a cancellation and for the timeout; what is read here is what these
-- have left.
with recursive above (parent, identity, step) as (
    -- What an execution begins belongs to whom the execution belongs to.
    select execution.parent, execution.identity, 0
    from attune.inquiry
    join attune.execution on execution.id = inquiry.execution
    where inquiry.id = $1
    union all
    select execution.parent, execution.identity, above.step + 1
    from above
    join attune.execution on execution.id = above.parent
    -- Nothing is begun so deep; a circle would be.
    where above.step < 100
),
target as materialized (
    select inquiry.id, inquiry.status, execution.action_ref,
           not inquiry.allow_self_approval and $2 in (select identity from above where identity is not null) as is_own,
           inquiry.status = 'timeout'
               or (inquiry.status = 'pending' and coalesce(inquiry.timeout_at <= clock_timestamp(), false)) as is_late
    from attune.inquiry
    join attune.execution on execution.id = inquiry.execution
    where inquiry.id = $1
    for update of inquiry
),
answered as (
    update attune.inquiry
    set status = 'responded', response = $3, responded_by = $2, responded_at = clock_timestamp()
    from target
    where inquiry.id = target.id and target.status = 'pending' and not target.is_own and not target.is_late
    returning inquiry.*
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'inquiry', array[answered.id], target.action_ref, answered.status::text
    from answered
    join target on target.id = answered.id
),
signal as materialized (
    select pg_notify('attune_change', '') is null as change from (select from answered limit 1) any_answered
)
-- Why it was refused, where it was; then all columns of the inquiry are null.
select target.is_own, target.is_late, answered.*
from target
left join (answered cross join signal) on signal.change is not null
