with oldest as materialized (
    -- Not locked: which of them somebody else holds is not known yet.
    select count(*) as batches, avg(events) as events, count(*) filter (where so_far <= $1) as fitting
    from (
        select events, sum(events) over (order by first_event) as so_far
        from (
            select first_event, events from attune.event_batch where matched is null order by first_event limit $1
        ) waiting
    ) counted
),
taken as materialized (
    -- As many as hold so many events, of what nobody holds: what is locked and not kept, nobody else can take meanwhile. Behind
    -- a large one, which somebody may hold, as many as do so on average.
    select first_event, last_event, events
    from attune.event_batch
    where matched is null
    order by first_event
    limit (
        select case when fitting > 1 then fitting else greatest(floor($1 / events), 1)::bigint end from oldest
    )
    for update skip locked
),
batch as materialized (
    -- As many as hold so many events, and one at least.
    select first_event, last_event, events
    from (select taken.*, sum(events) over (order by first_event) as so_far from taken) counted
    where so_far <= $1 or so_far = events
)
select batch.first_event as batch,
       oldest.batches > (select count(*) from batch) or oldest.batches = $1 as more,
       (select count(*) from taken) > (select count(*) from batch) as is_holding_more,
       -- Of the same moment as the events: whatever change of a rule was committed before an event was accepted counts for it.
       (select version from attune.rule_set) as rule_set_version,
       event.id, event.trigger_ref, event.config, event.payload, event.headers, event.source_ref, event.trace_id,
       event.created
from oldest
cross join batch
-- One by one along the primary key, whatever the statistics say of how many events have a batch.
left join lateral (
    select id, trigger_ref, config, payload, headers, source_ref, trace_id, created
    from attune.event
    where event.id between batch.first_event and batch.last_event and event.batch = batch.first_event
    order by event.id
    limit batch.events
) event on true
