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
-- On a connection that leaves foreign keys to its statements (`db::bulk`), what the events refer to is locked here, once for all of
-- them, as the key would lock it for each. Elsewhere nothing is read, and the key does it.
held_trigger as materialized (
    select id, ref
    from attune.trigger
    where attune.leaves_keys_to_statements() and id = any (array(select distinct trigger from given where trigger is not null))
    for key share
),
held_source as materialized (
    select id
    from attune.sensor
    where attune.leaves_keys_to_statements() and id = any (array(select distinct source from given where source is not null))
    for key share
),
held_original as materialized (
    select id
    from attune.event
    where attune.leaves_keys_to_statements()
      and id = any (array(select distinct replay_of from given where replay_of is not null))
    for key share
),
gone as materialized (
    select attune.refuse_reference('event', field, value)
    from (
        select 'trigger' as field, trigger as value from given where (trigger, trigger_ref) not in (select id, ref from held_trigger)
        union all
        select 'source', source from given where source not in (select id from held_source)
        union all
        select 'replay_of', replay_of from given where replay_of not in (select id from held_original)
    ) missing
    where attune.leaves_keys_to_statements() and value is not null
),
