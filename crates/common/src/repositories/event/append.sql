inserted as (
    insert into attune.event (
        id, batch, trigger, trigger_ref, config, payload, headers, source, source_ref, dedup_key, replay_of, trace_id,
        depth
    )
    overriding system value
    select id, (select min(id) from given), trigger, trigger_ref, config, payload, headers, source, source_ref, dedup_key,
           replay_of, trace_id, depth
    from given
    order by place
    on conflict (trigger_ref, dedup_key) where dedup_key is not null do nothing
    returning id, batch
),
waiting as (
    insert into attune.event_batch (first_event, last_event, events)
    select batch, max(id), count(*) from inserted group by batch
)
select
    -- Looked up only where it is known: a join would be planned for all, and for a small table that has long grown.
    case
        when inserted.id is not null then inserted.id
        else (
            select known.id
            from attune.event known
            where known.trigger_ref = given.trigger_ref and known.dedup_key = given.dedup_key
        )
    end as id,
    inserted.id is null as duplicate
from given
left join inserted on inserted.id = given.id
where not exists (select from gone)
order by given.place
