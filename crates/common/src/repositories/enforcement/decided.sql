with decision as materialized (
    -- With the ids that they get: what follows finds them by these.
    select nextval((select pg_get_serial_sequence('attune.enforcement', 'id')::regclass)) as enforcement, input.*
    -- The planner takes ten rows for what it cannot know, and would compare each of them with each further down. The numbers,
    -- whose end it does not know either, it takes for a thousand. In a plan for these values alone it would know; such a plan
    -- looks better for a few rows, and would be made for each statement anew, which takes three times as long as the rest: the end
    -- comes from a query, and is hidden from it.
    from rows from (
        generate_series(1, (select $15::integer)), unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::text[]), unnest($4::text[]),
        unnest($5::jsonb[]), unnest($6::jsonb[]), unnest($7::text[]), unnest($8::jsonb[]), unnest($9::bigint[]),
        unnest($10::text[]), unnest($11::text[]), unnest($12::text[]), unnest($13::text[]), unnest($14::jsonb[]),
        unnest($16::jsonb[])
    ) as input (
        place, event, rule, rule_ref, trigger_ref, config, parameters, condition, conditions, action, action_ref, error,
        trace_id, status, keyed, retry
    )
),
enforcement as (
    insert into attune.enforcement (
        id, rule, rule_ref, trigger_ref, config, event, status, payload, condition, conditions, error
    )
    overriding system value
    select enforcement, rule, rule_ref, trigger_ref, config, event, status::attune.enforcement_status, parameters, condition,
           conditions, error
    from decision
    order by place
