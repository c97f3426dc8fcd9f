-- The row's lock makes two steps take turns; the second one finds another revision than it was decided by, and neither
-- the state nor a task is changed.
with advanced as (
    update attune.workflow_state
    set state = $3, revision = workflow_state.revision + 1
    where execution = $1 and revision = $2
    returning *
),
task as (
    insert into attune.workflow_task (execution, seq, item, task, route, child, result)
    select advanced.execution, given.*
    from advanced
    cross join unnest($4::integer[], $5::integer[], $6::text[], $7::integer[], $8::bigint[], $9::jsonb[]) as given
    on conflict on constraint workflow_task_seq_key do update
    set child = coalesce(excluded.child, workflow_task.child),
        result = coalesce(excluded.result, workflow_task.result)
)
select * from advanced
