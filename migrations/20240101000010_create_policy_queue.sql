-- What holds work back (policies) and what feeds it in portions (work queues).

create table attune.policy (
    id bigint generated always as identity constraint policy_pkey primary key,
    ref text not null constraint policy_ref_key unique,
    pack bigint constraint policy_pack_fkey references attune.pack on delete cascade,
    pack_ref text,
    -- The scope: one action, or every action of the pack where this is null. By name and not by id: a limit must not be
    -- lost because its action was removed and comes back.
    action_ref text,
    enabled boolean not null default true,
    -- At most so many at once, counted for each combination of these parameters.
    concurrency integer,
    parameters text[] not null default '{}',
    -- At most so many starts in so many seconds.
    rate_count integer,
    rate_seconds double precision,
    method attune.policy_method not null default 'enqueue',
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint policy_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$'),
    constraint policy_has_limit check (concurrency is not null or rate_count is not null),
    constraint policy_has_scope check (pack is not null or action_ref is not null),
    constraint policy_concurrency_positive check (concurrency > 0),
    constraint policy_parameters_of_concurrency check (concurrency is not null or parameters = '{}'),
    constraint policy_rate_complete check ((rate_count is null) = (rate_seconds is null)),
    constraint policy_rate_count_positive check (rate_count > 0),
    -- NaN is more than infinity here.
    constraint policy_rate_seconds_positive check (rate_seconds > 0 and rate_seconds < 'infinity')
);
create trigger policy_updated before update on attune.policy
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- Policies of a pack: admission, and the cascade.
create index policy_pack_idx on attune.policy (pack) where pack is not null;
-- Policies of an action: admission.
create index policy_action_ref_idx on attune.policy (action_ref) where action_ref is not null;

-- Executions that wait alike: of one action, under the same policies, with the same values of the parameters that those
-- count by. Within a lane they are admitted by priority and age; lanes take turns.
create table attune.admission_lane (
    id bigint generated always as identity constraint admission_lane_pkey primary key,
    action_ref text not null,
    -- The policies of the action with the parameters that they count by, as they were when the lane was made. Where they are
    -- others now, what is in the lane is sorted again.
    shape text not null,
    -- A digest of all that makes the lane: it can be found, whatever the values of the parameters are.
    fingerprint text not null constraint admission_lane_fingerprint_key unique,
    -- A list of {"policy": id, "key": digest of the values that it counts by}.
    parts jsonb not null default '[]',
    -- When it was last admitted from.
    turn timestamptz,
    -- The priority of what is first of those that wait in it, or a higher one, as long as nobody has looked since that one has
    -- gone. Null: nothing waits in it.
    priority smallint,
    created timestamptz not null default clock_timestamp(),
    constraint admission_lane_parts_list check (jsonb_typeof(parts) = 'array')
);

-- The lanes in which something waits, in the order in which they are admitted from.
create index admission_lane_waiting_idx on attune.admission_lane (action_ref, priority desc, coalesce(turn, created), id)
    where priority is not null;
-- Those of them that were made under other policies than there are now. A shape may be longer than an index takes.
create index admission_lane_shape_idx on attune.admission_lane (action_ref, md5(shape)) where priority is not null;

-- The executions under policies: those that wait, and those that were admitted and take up a slot. What was admitted is
-- counted from these rows and from what has become of the executions; nothing is counted up or down.
create table attune.admission (
    execution bigint not null constraint admission_pkey primary key
        constraint admission_execution_fkey references attune.execution on delete cascade,
    -- Null: not sorted yet.
    lane bigint constraint admission_lane_fkey references attune.admission_lane on delete set null,
    priority smallint not null default 0,
    admitted timestamptz,
    -- The execution has ended: its slot is free again. Kept until then only for a rate that counts its start.
    ended boolean not null default false,
    counted_until timestamptz,
    created timestamptz not null default clock_timestamp(),
    constraint admission_ended_was_admitted check (not ended or admitted is not null),
    constraint admission_counted_was_admitted check (counted_until is null or admitted is not null)
);
-- What is to be sorted.
create index admission_unsorted_idx on attune.admission (execution) where lane is null;
-- The head of each lane, and the place of an execution in its lane.
create index admission_waiting_idx on attune.admission (lane, priority desc, execution)
    where admitted is null and lane is not null;
-- What takes up slots, or counts for a rate: as many as the policies admit.
create index admission_admitted_idx on attune.admission (admitted) where admitted is not null;
-- The lanes in use; set null when a lane goes.
create index admission_lane_idx on attune.admission (lane);

create table attune.work_queue (
    id bigint generated always as identity constraint work_queue_pkey primary key,
    ref text not null constraint work_queue_ref_key unique,
    pack bigint constraint work_queue_pack_fkey references attune.pack on delete cascade,
    pack_ref text,
    label text,
    description text,
    -- Items are handed out; while false, they only come in.
    enabled boolean not null default true,
    action bigint constraint work_queue_action_fkey references attune.action on delete set null,
    action_ref text not null,
    item_schema jsonb not null default '{}',
    batch_size integer not null default 1,
    -- So many executions work on the queue at once.
    concurrency integer not null default 10,
    max_attempts integer not null default 5,
    -- How long an item waits after its first failure; twice as long after each further one, up to an hour.
    retry_seconds double precision not null default 10,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint work_queue_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$'),
    constraint work_queue_batch_size_positive check (batch_size > 0),
    constraint work_queue_max_attempts_positive check (max_attempts > 0),
    constraint work_queue_concurrency_positive check (concurrency > 0),
    -- NaN is more than infinity here.
    constraint work_queue_retry_seconds_not_negative check (retry_seconds >= 0 and retry_seconds < 'infinity')
);
create trigger work_queue_updated before update on attune.work_queue
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- Queues of a pack: upgrade, removal and the cascade.
create index work_queue_pack_idx on attune.work_queue (pack) where pack is not null;
-- Queues of an action; set null when it goes.
create index work_queue_action_idx on attune.work_queue (action) where action is not null;

create table attune.work_item (
    id bigint generated always as identity constraint work_item_pkey primary key,
    queue bigint not null constraint work_item_queue_fkey references attune.work_queue on delete cascade,
    status attune.work_item_status not null default 'ready',
    priority smallint not null default 0,
    item jsonb not null,
    -- How often it was handed out; tells the lease that holds from those before.
    attempts integer not null default 0,
    -- The execution that the latest attempt was given to.
    execution bigint constraint work_item_execution_fkey references attune.execution on delete set null,
    lease_expires timestamptz,
    -- Not to be handed out before.
    not_before timestamptz not null default clock_timestamp(),
    -- Why the latest attempt that failed did so.
    error text,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint work_item_attempts_not_negative check (attempts >= 0),
    constraint work_item_leased_has_lease check ((status = 'leased') = (lease_expires is not null))
);
create trigger work_item_updated before update on attune.work_item
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- The next item of a queue; with `not_before`, so that items that wait for their time are passed over in the index.
create index work_item_ready_idx on attune.work_item (queue, priority desc, id, not_before) where status = 'ready';
-- Leases that have run out.
create index work_item_lease_idx on attune.work_item (lease_expires) where status = 'leased';
-- What has ended, the oldest end first: retention.
create index work_item_ended_idx on attune.work_item (updated) where status in ('done', 'dead');
-- Items of a queue by status: counts, lists, and the cascade.
create index work_item_queue_idx on attune.work_item (queue, status, id);
-- Set null when the execution goes.
create index work_item_execution_idx on attune.work_item (execution) where execution is not null;
