-- Up from each execution that asks to the one that a rule began: what was begun by an execution has its depth.
with recursive origin (inquiry, parent, enforcement, step) as (
    select inquiry.id, execution.parent, execution.enforcement, 0
    from attune.inquiry
    join attune.execution on execution.id = inquiry.execution
    where inquiry.id = any($1)
    union all
    select origin.inquiry, execution.parent, execution.enforcement, origin.step + 1
    from origin
    join attune.execution on execution.id = origin.parent
    -- Nothing is begun so deep; a circle would be.
    where origin.enforcement is null and origin.step < 100
)
select inquiry.id, inquiry.execution, execution.action_ref, inquiry.prompt, inquiry.response_schema,
       asked.login as assigned_to, inquiry.assigned_role, inquiry.timeout_at, inquiry.response,
       responder.login as responded_by, inquiry.responded_at, inquiry.created, execution.trace_id,
       coalesce(event.depth, 0::smallint) as depth
from attune.inquiry
join attune.execution on execution.id = inquiry.execution
left join attune.identity asked on asked.id = inquiry.assigned_to
left join attune.identity responder on responder.id = inquiry.responded_by
left join origin on origin.inquiry = inquiry.id and origin.enforcement is not null
left join attune.enforcement on enforcement.id = origin.enforcement
left join attune.event on event.id = enforcement.event
where inquiry.id = any($1)
order by inquiry.id
