-- What happened (event), how far the rules have judged it (event_batch), what they decided (enforcement), and what their
-- windows remember of several events.

create table attune.event (
    id bigint generated always as identity constraint event_pkey primary key,
    -- The key of attune.event_batch, without a foreign key: the statement that makes an event makes its batch, and a batch
    -- is removed only when none of its events is left.
    batch bigint not null,
    trigger bigint,
    -- Kept after the trigger is gone.
    trigger_ref text not null,
    -- The trigger's configuration at that moment; rules' trigger_params are compared with it.
    config jsonb not null default '{}',
    payload jsonb not null default '{}',
    -- Lower-cased headers of the request that brought it; null where there was none.
    headers jsonb,
    source bigint constraint event_source_fkey references attune.sensor on delete set null,
    source_ref text,
    -- The sender's name for this delivery: a second event of the same trigger with the same key is the same event.
    dedup_key text,
    replay_of bigint constraint event_replay_of_fkey references attune.event on delete set null,
    trace_id text,
    -- How many internal events led to this one; 0: it came from outside.
    depth smallint not null default 0,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    -- With the name, so that one index serves lists and what is to be done when the trigger goes.
    constraint event_trigger_fkey foreign key (trigger, trigger_ref) references attune.trigger (id, ref)
        on delete set null (trigger),
    constraint event_trigger_ref_not_empty check (trigger_ref <> ''),
    constraint event_depth_not_negative check (depth >= 0)
);
create trigger event_updated before update on attune.event
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- Events of a trigger, by name since names stay; newest first; set null when the trigger goes. Ascending, as all indexes here, and
-- read backwards where the newest come first: what grows at its end fills its pages, and stays half as large.
create index event_trigger_ref_idx on attune.event (trigger_ref, id);
-- Set null when the sensor goes.
create index event_source_idx on attune.event (source) where source is not null;
-- Set null when the replayed event goes.
create index event_replay_of_idx on attune.event (replay_of) where replay_of is not null;
-- A delivery is recorded once.
create unique index event_dedup_key on attune.event (trigger_ref, dedup_key) where dedup_key is not null;

-- The events that one statement recorded, and how far they were judged: one narrow row for all of them, so that neither
-- waiting nor the mark "matched" costs a row for each, and no event is ever rewritten.
create table attune.event_batch (
    -- Its events are those among these ids that have its key: statements that run at the same time draw ids in turns.
    first_event bigint not null constraint event_batch_pkey primary key,
    last_event bigint not null,
    -- How many events were recorded.
    events integer not null,
    -- The time that the rules judged them with.
    matched timestamptz,
    -- The version of the rule set that judged them.
    rule_set_version bigint,
    constraint event_batch_complete check ((matched is null) = (rule_set_version is null)),
    constraint event_batch_range check (events between 1 and last_event - first_event + 1)
);
-- The queue of the matching pass: only rows that wait.
create index event_batch_waiting_idx on attune.event_batch (first_event) where matched is null;

create table attune.enforcement (
    id bigint generated always as identity constraint enforcement_pkey primary key,
    rule bigint,
    rule_ref text not null,
    trigger_ref text not null,
    -- {"rule_version", "action"}: what the decision was made by.
    config jsonb not null default '{}',
    event bigint constraint enforcement_event_fkey references attune.event on delete set null,
    status attune.enforcement_status not null default 'created',
    -- What it hands to the action: the rendered parameters.
    payload jsonb not null default '{}',
    condition text not null default 'all' constraint enforcement_condition_check check (condition in ('any', 'all')),
    conditions jsonb not null default '[]',
    -- Why no execution came of it, where that was a failure.
    error text,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    -- With the name, so that one index serves lists and what is to be done when the rule goes.
    constraint enforcement_rule_fkey foreign key (rule, rule_ref) references attune.rule (id, ref)
        on delete set null (rule),
    -- The promise that a rule decides once about an event. The event comes first: what is decided at the same time lies side by
    -- side, and the enforcements of an event are found by it: its story, and set null when it goes.
    constraint enforcement_event_rule_key unique (event, rule)
);
create trigger enforcement_updated before update on attune.enforcement
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- Enforcements by the name of the rule, newest first; set null when the rule goes.
create index enforcement_rule_ref_idx on attune.enforcement (rule_ref, id);
-- Those that are not simply done.
create index enforcement_status_idx on attune.enforcement (status, id) where status <> 'processed';

-- The events that contributed to a decision of a rule with a window, where they are more than the one in enforcement.event.
create table attune.enforcement_event (
    enforcement bigint not null constraint enforcement_event_enforcement_fkey
        references attune.enforcement on delete cascade,
    event bigint not null constraint enforcement_event_event_fkey references attune.event on delete cascade,
    constraint enforcement_event_pkey primary key (enforcement, event)
);
-- What an event contributed to, and the cascade.
create index enforcement_event_event_idx on attune.enforcement_event (event, enforcement);

-- What the window of a rule remembers of one key. Executors take turns by the lock of the row.
create table attune.window_state (
    rule bigint not null constraint window_state_rule_fkey references attune.rule on delete cascade,
    -- '' for a window without keys.
    key text not null constraint window_state_key_length check (octet_length(key) <= 256),
    -- The fingerprint of the window that it is a state of; to another window it is none.
    definition text not null,
    state jsonb not null,
    -- When the timers pass is to look at it: to fire, or to forget it. No row is without such a time.
    wake timestamptz not null,
    constraint window_state_pkey primary key (rule, key)
);
-- The queue of the timers pass.
create index window_state_wake_idx on attune.window_state (wake);

-- What a window made of an event on which the rule did not fire at once: the answer to "why did nothing happen?".
create table attune.window_outcome (
    event bigint not null constraint window_outcome_event_fkey references attune.event on delete cascade,
    rule bigint not null constraint window_outcome_rule_fkey references attune.rule on delete cascade,
    key text not null,
    outcome jsonb not null,
    constraint window_outcome_pkey primary key (event, rule)
);
-- The cascade when a rule is removed.
create index window_outcome_rule_idx on attune.window_outcome (rule);
