with made as (
    insert into attune.notification (channel, entity_type, entity, activity, content, not_before)
    select channel, entity_type, entity, activity, content, coalesce(not_before, clock_timestamp())
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::timestamptz[])
        with ordinality as input (channel, entity_type, entity, activity, content, not_before, place)
    order by place
    returning *
)
select * from made order by id
