-- Takes executions out of lanes that were made under other policies of their action than there are now.
with outdated as materialized (
    select admission.execution
    from unnest($1::text[], $2::text[]) as asked (action_ref, shape)
    join attune.admission_lane lane
        on lane.action_ref = asked.action_ref and lane.shape is distinct from asked.shape
    join attune.admission on admission.lane = lane.id
    limit $3
)
update attune.admission set lane = null from outdated where admission.execution = outdated.execution
