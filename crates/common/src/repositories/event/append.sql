-- Ids are drawn first, so that each result can be told its place in the input. The sequence is looked up once: a lookup for
-- each row is a good part of the price of the whole statement.
with given as materialized (
    select nextval((select pg_get_serial_sequence('attune.event', 'id')::regclass)) as id, input.*
    from unnest(
        $1::bigint[], $2::text[], $3::jsonb[], $4::jsonb[], $5::jsonb[], $6::bigint[], $7::text[], $8::text[],
        $9::bigint[], $10::text[], $11::smallint[]
    ) with ordinality as input (
        trigger, trigger_ref, config, payload, headers, source, source_ref, dedup_key, replay_of, trace_id, depth, place
    )
),
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
order by given.place
