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
