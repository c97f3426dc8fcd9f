-- What ended well while it ran needs no decision: one write of its row, found by its key. The conditions on worker and status are
-- written so that no other index serves them: the planner believes that hardly anything runs, and would compare every row that
-- does with every end. The caller gives the ends in the order of their ids.
with given as materialized (
    select *
    from unnest($2::bigint[], $3::integer[], $4::integer[], $5::jsonb[], $6::bigint[], $7::bigint[]) as input (
        execution, attempt, exit_code, result, stdout_bytes, stderr_bytes
    )
),
ended as (
    update attune.execution
    set status = 'completed', finished = clock_timestamp(), updated = clock_timestamp(), exit_code = given.exit_code,
        result = given.result, stdout_bytes = given.stdout_bytes, stderr_bytes = given.stderr_bytes
    from given
    where execution.id = given.execution and execution.attempt = given.attempt
      and execution.worker + 0 = $1 and execution.status::text = 'running'
    returning execution.id, execution.action_ref
),
change as (
    insert into attune.change (entity_type, entities, ref, activity)
    select 'execution', array_agg(id order by id), action_ref, 'completed'
    from ended
    group by id >> 8, action_ref
    order by 2
),
offer as (
    -- The room that these ends leave; absolute, so that a repetition changes nothing.
    update attune.worker_offer
    set offered = $9
    where worker = $1 and instance = $8 and offered < $9
)
select id from ended
