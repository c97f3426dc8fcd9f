with fitting as (
    -- As many of the oldest batches as hold so many events, and one at least. Not locked yet: no more than these shall be.
    select count(*) filter (where so_far <= $1 or so_far = events) as batches, count(*) as looked_at
    from (
        select events, sum(events) over (order by first_event) as so_far
        from (
            select first_event, events
            from attune.event_batch
            where matched is null
            order by first_event
            limit $1
        ) oldest
    ) counted
),
taken as materialized (
    select first_event, last_event, events
    from attune.event_batch
    where matched is null
    order by first_event
    limit (select batches from fitting)
    for update skip locked
),
batch as materialized (
    -- Where others hold the oldest, these may be larger ones.
    select first_event, last_event, events
    from (select taken.*, sum(events) over (order by first_event) as so_far from taken) counted
    where so_far <= $1 or so_far = events
)
select batch.first_event as batch, fitting.looked_at > fitting.batches or fitting.looked_at = $1 as more,
       -- Of the same moment as the events: whatever change of a rule was committed before an event was accepted counts for it.
       (select version from attune.rule_set) as rule_set_version,
       event.id, event.trigger_ref, event.config, event.payload, event.headers, event.source_ref, event.trace_id,
       event.created
from fitting
cross join batch
-- One by one along the primary key, whatever the statistics say of how many events have a batch.
left join lateral (
    select id, trigger_ref, config, payload, headers, source_ref, trace_id, created
    from attune.event
    where event.id between batch.first_event and batch.last_event and event.batch = batch.first_event
    order by event.id
    limit batch.events
) event on true
