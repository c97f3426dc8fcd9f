-- A million events that were matched, with their enforcements and executions, some of every age and kind; and what is under
-- way at the end of it. Ids are given, so that the rows need not be looked up to be joined. Constraints are not checked and
-- indexes are built afterwards (see the caller): the shape of the data is what matters here.

insert into attune.trigger (id, ref)
overriding system value
select n, format('load.trigger_%s', n) from generate_series(1, 1000) n;

insert into attune.action (id, ref, runtime_ref, entrypoint, on_worker_loss)
overriding system value
select n, format('load.action_%s', n), 'load.shell', 'run.sh', 'retry' from generate_series(1, 1000) n;

insert into attune.rule (id, ref, trigger, trigger_ref, action, action_ref)
overriding system value
select n, format('load.rule_%s', n), n, format('load.trigger_%s', n), n, format('load.action_%s', n)
from generate_series(1, 1000) n;

insert into attune.worker (id, name, instance, status, slots, lease_expires)
overriding system value
select n, format('load-%s', n), 'first', 'active', 8,
       -- The last one is lost.
       clock_timestamp() + case when n < 20 then interval '1 hour' else interval '-1 hour' end
from generate_series(1, 20) n;

-- Half of all events are of the first trigger; the other triggers share the rest.
insert into attune.event (id, batch, trigger, trigger_ref, payload, dedup_key, created)
overriding system value
select n, case when n <= 500000 then n - (n - 1) % 500 else n end, kind, format('load.trigger_%s', kind), jsonb_build_object('n', n),
       case when n % 4 = 0 then format('delivery-%s', n) end, timestamptz '2024-01-01' + n * interval '1 second'
from (
    select n, case when n % 2 = 0 then 1 else 2 + n / 2 % 999 end as kind from generate_series(1, 1000000) n
) event;

-- All but the newest two hundred were matched.
insert into attune.event_batch (first_event, last_event, events, matched, rule_set_version)
select batch, max(id), count(*), case when batch <= 999800 then clock_timestamp() end,
       case when batch <= 999800 then 1 end
from attune.event
group by batch;

insert into attune.enforcement (id, rule, rule_ref, trigger_ref, event, status, payload, created)
overriding system value
select id, trigger, format('load.rule_%s', trigger), trigger_ref, id,
       case when id % 10000 = 0 then 'disabled' else 'processed' end::attune.enforcement_status, payload, created
from attune.event
where id <= 999800;

insert into attune.execution (
    id, action, action_ref, enforcement, parent, original, worker, worker_name, status, priority, attempt, started, finished,
    created, config, exit_code
)
overriding system value
select id, rule, format('load.action_%s', rule), id,
       case when id % 1000 = 0 then id - 1 end, case when id % 1000 = 500 then id - 1 end,
       case when status <> 'scheduled' then 1 + id % 20 end,
       case when status <> 'scheduled' then format('load-%s', 1 + id % 20) end, status, 0,
       case when status = 'scheduled' then 0 else 1 end, case when status <> 'scheduled' then created end,
       case when status in ('completed', 'failed', 'timeout') then created end, created, '{"n": 1}',
       case when status in ('completed', 'failed') then 0 end
from (
    select enforcement.*,
           case
               when id > 999500 then 'scheduled'
               when id > 999300 then 'running'
               when id > 999290 then 'canceling'
               when id % 100 = 0 then 'failed'
               when id % 1000 = 1 then 'timeout'
               else 'completed'
           end::attune.execution_status as status
    from attune.enforcement as enforcement (
        id, rule, rule_ref, trigger_ref, config, event, enforcement_status, payload, condition, conditions, error,
        created, updated
    )
) execution;

-- Of what waits, a third may run on no worker that there is, some is paused and some waits for its time.
insert into attune.placement (id, selector) overriding system value values (2, '{"os": "windows"}');
insert into attune.pause (action_ref) values ('load.action_1');
update attune.execution
set placement = case when id % 3 = 0 then 2 else 1 end, paused = id % 10 = 1,
    not_before = case when id % 20 = 5 then clock_timestamp() end
where id > 999500;

-- One in a hundred was tried twice.
update attune.execution set attempt = 2 where id % 100 = 7 and status = 'completed';
insert into attune.execution_attempt (execution, attempt, status, worker_name, exit_code, started, finished)
select id, 1, 'failed', worker_name, 1, started, finished from attune.execution where attempt = 2;

-- Output of one in a hundred.
insert into attune.execution_output (execution, attempt, seq, stream, content)
select id, 1, 0, 'stdout', 'hello' from attune.execution where id % 100 = 0;

-- A hundred changes in each of ten thousand transactions, all long over.
insert into attune.change (xid, entity_type, entities, ref, activity)
select (3 + n / 100 % 300)::text::xid8, 'execution', array[n], 'load.action_1', 'completed' from generate_series(1, 1000000) n;

-- One enforcement in a hundred is that of a window, with the event before it too; and so many events were held by one.
insert into attune.enforcement_event (enforcement, event)
select n, n - part from generate_series(100, 999800, 100) n cross join generate_series(0, 1) part;
insert into attune.window_outcome (event, rule, key, outcome)
select n, 1 + n % 1000, '', '{"outcome": "counted"}' from generate_series(100, 999800, 100) n;

-- Two hundred keys of each rule, of which some have their time in the past.
insert into attune.window_state (rule, key, definition, state, wake)
select rule, format('web-%s', n), '', '{}',
       clock_timestamp() + case when n = 7 then interval '-1 minute' else interval '1 hour' end
from generate_series(1, 1000) rule cross join generate_series(1, 200) n;

-- Some wait for policies that are no more: what is about one of them must not read them all.
insert into attune.admission (execution) select n from generate_series(10, 1000000, 10) n;
