-- Events without dedup keys: nothing is looked for, and no row is inserted on approval.
inserted as (
    insert into attune.event (
        id, batch, trigger, trigger_ref, config, payload, headers, source, source_ref, replay_of, trace_id, depth
    )
    overriding system value
    select id, (select min(id) from given), trigger, trigger_ref, config, payload, headers, source, source_ref, replay_of,
           trace_id, depth
    from given
    order by place
),
waiting as (
    insert into attune.event_batch (first_event, last_event, events)
    select min(id), max(id), count(*) from given
)
select id, false as duplicate from given where not exists (select from gone) order by place
