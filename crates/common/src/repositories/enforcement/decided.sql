with deciding as materialized (
    -- What the decisions of a rule share comes once for all of them.
    select *
    from unnest(
        $8::bigint[], $9::text[], $10::text[], $11::jsonb[], $12::text[], $13::jsonb[], $14::bigint[], $15::text[], $16::text[],
        $17::jsonb[]
    ) with ordinality as deciding (
        rule, rule_ref, trigger_ref, config, condition, conditions, action, action_ref, status, retry, number
    )
),
decision as materialized (
    -- With the ids that they get, in the order of the input: what follows finds them by these.
    select input.enforcement, input.place, input.event, input.parameters, input.error, input.trace_id, input.keyed,
           deciding.rule, deciding.rule_ref, deciding.trigger_ref, deciding.config, deciding.condition, deciding.conditions,
           deciding.status, deciding.retry, case when input.error is null then deciding.action end as action,
           deciding.action_ref
    from (
        select nextval((select pg_get_serial_sequence('attune.enforcement', 'id')::regclass)) as enforcement, input.*
        -- The planner takes ten rows for what it cannot know, and would compare each of them with each further down. The
        -- numbers, whose end it does not know either, it takes for a thousand. In a plan for these values alone it would know;
        -- such a plan looks better for a few rows, and would be made for each statement anew, which takes three times as long
        -- as the rest: the end comes from a query, and is hidden from it.
        from rows from (
            generate_series(1, (select $1::integer)), unnest($2::bigint[]), unnest($3::integer[]), unnest($4::jsonb[]),
            unnest($5::text[]), unnest($6::text[]), unnest($7::jsonb[])
        ) as input (place, event, number, parameters, error, trace_id, keyed)
    ) input
    join deciding on deciding.number = input.number
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
