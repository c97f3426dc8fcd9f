-- Runs of actions. A run that ends well is two writes of one row: it is inserted with its parameters, mostly with the worker
-- that it was given to, and updated once with its outcome. Each index costs at both; so there are few (ADR 13).

create table attune.execution (
    id bigint generated always as identity constraint execution_pkey primary key,
    -- None of its references is a foreign key: these are looked up for each row, and cost a little where they are null, too.
    -- The statements that insert lock what they refer to once for all of their rows; attune.forget_in_execution sets null what
    -- goes.
    action bigint,
    action_ref text not null,
    enforcement bigint,
    parent bigint,
    -- The execution that this one runs again.
    original bigint,
    identity bigint,
    -- The worker of the latest attempt; its name outlives it.
    worker bigint,
    worker_name text,
    -- requested: waits for admission; scheduled: any worker may claim it; from there see the chart in docs.
    status attune.execution_status not null default 'requested',
    priority smallint not null default 0,
    -- The key of attune.placement, without a foreign key: placements are never removed, and every insert would lock the
    -- one row that nearly all share.
    placement bigint not null default 1,
    -- Runs inside the worker process, as its action said when it was made: workers have room of its own for it.
    native boolean not null default false,
    -- Waits until then: for its next attempt.
    not_before timestamptz,
    -- Put aside, so that what is paused does not lie in the way of a claim. Whether something is paused is known from
    -- attune.pause alone.
    paused boolean not null default false,
    -- An event told that no live worker can take it.
    unschedulable boolean not null default false,
    -- How many times a worker began to run it.
    attempt integer not null default 0,
    trace_id text,
    started timestamptz,
    finished timestamptz,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    -- The parameters.
    config jsonb not null default '{}',
    -- How it is tried again; null: as its action says.
    retry jsonb,
    -- The parameters again with marks where `config` has a mask, for the worker that puts the values of keys there; null:
    -- no keys are named. Only a worker reads it.
    keyed jsonb,
    -- The outcome of the latest attempt, once that has ended; exactly one of the first two for a process.
    exit_code integer,
    signal integer,
    result jsonb,
    error text,
    -- What the process wrote, of which the middle may not have been kept.
    stdout_bytes bigint,
    stderr_bytes bigint,
    constraint execution_attempt_not_negative check (attempt >= 0),
    constraint execution_finished_is_terminal check (
        (finished is not null) = (status in ('completed', 'failed', 'cancelled', 'timeout', 'abandoned'))
    ),
    constraint execution_running_has_attempt check (status <> 'running' or (attempt > 0 and started is not null)),
    constraint execution_not_before_scheduled check (not_before is null or status = 'scheduled'),
    constraint execution_paused_scheduled check (not paused or status = 'scheduled'),
    constraint execution_code_or_signal check (exit_code is null or signal is null),
    constraint execution_retry_complete check (attune.is_retry(retry)),
    constraint execution_keyed_complete check (
        coalesce(
            jsonb_typeof(keyed -> 'nonce') = 'string' and jsonb_typeof(keyed -> 'parameters') = 'object',
            keyed is null
        )
    )
);
-- A statement that sets the time itself is spared the call.
create trigger execution_updated before update on attune.execution
    for each row when (old.updated = new.updated and old.* is distinct from new.*) execute function attune.set_updated();
-- The queues of the workers, one for each placement, and of each one for native actions: only rows that may be taken now.
create index execution_claimable_idx on attune.execution (placement, native, priority desc, id)
    where status = 'scheduled' and not_before is null and not paused;
-- What waits for its time, the next one first.
create index execution_due_idx on attune.execution (not_before) where not_before is not null;
-- What was put aside, by action: the pause of one may end before that of another. By a term that is in no other index: who
-- asks in this order gets this index, whatever the planner believes of the table.
create index execution_paused_idx on attune.execution ((case when paused then action_ref end), id) where paused;
-- What a worker holds, in the order in which it was given to it: rescue and cancellation; small, since runs end.
create index execution_held_idx on attune.execution (worker, id) where status in ('running', 'canceling');
-- Executions by action, newest first; set null when the action goes.
create index execution_action_ref_idx on attune.execution (action_ref, id);
-- The chain from an enforcement, and set null when it goes.
create index execution_enforcement_idx on attune.execution (enforcement) where enforcement is not null;
-- Children and re-runs, and set null when the target goes.
create index execution_parent_idx on attune.execution (parent) where parent is not null;
create index execution_original_idx on attune.execution (original) where original is not null;
-- Set null when the identity goes.
create index execution_identity_idx on attune.execution (identity) where identity is not null;
-- What went wrong lately, and what waits: lists by status. Completed ones are the mass and are not asked for so; what runs is
-- in the index of what workers hold.
create index execution_status_idx on attune.execution (status, id)
    where status not in ('running', 'canceling', 'completed');

-- What foreign keys would do, for all rows that a statement removes at once.
create function attune.forget_in_execution() returns trigger language plpgsql as $$
begin
    case tg_table_name
        when 'action' then
            update attune.execution set action = null
            from gone where execution.action_ref = gone.ref and execution.action = gone.id;
        when 'enforcement' then
            update attune.execution set enforcement = null from gone where execution.enforcement = gone.id;
        when 'execution' then
            update attune.execution set parent = null from gone where execution.parent = gone.id;
            update attune.execution set original = null from gone where execution.original = gone.id;
        when 'identity' then
            update attune.execution set identity = null from gone where execution.identity = gone.id;
        when 'worker' then
            -- What has ended keeps the worker's name alone, and its key means nothing any more.
            update attune.execution set worker = null
            from gone where execution.worker = gone.id and execution.status in ('running', 'canceling');
    end case;
    return null;
end
$$;
create trigger action_forgotten after delete on attune.action
    referencing old table as gone for each statement execute function attune.forget_in_execution();
create trigger enforcement_forgotten after delete on attune.enforcement
    referencing old table as gone for each statement execute function attune.forget_in_execution();
create trigger execution_forgotten after delete on attune.execution
    referencing old table as gone for each statement execute function attune.forget_in_execution();
create trigger identity_forgotten after delete on attune.identity
    referencing old table as gone for each statement execute function attune.forget_in_execution();
create trigger worker_forgotten after delete on attune.worker
    referencing old table as gone for each statement execute function attune.forget_in_execution();

-- The attempts that were followed by another, or by the waiting for it; written once. The outcome of the last one is in the
-- row of its execution.
create table attune.execution_attempt (
    execution bigint not null constraint execution_attempt_execution_fkey references attune.execution on delete cascade,
    attempt integer not null,
    status attune.execution_status not null,
    worker_name text,
    -- Exactly one of the two for a process that ended; none for what ran in the worker itself.
    exit_code integer,
    signal integer,
    result jsonb,
    error text,
    -- What the process wrote, of which the middle may not have been kept.
    stdout_bytes bigint not null default 0,
    stderr_bytes bigint not null default 0,
    started timestamptz,
    finished timestamptz not null default clock_timestamp(),
    constraint execution_attempt_pkey primary key (execution, attempt),
    constraint execution_attempt_status_ended check (
        status in ('completed', 'failed', 'cancelled', 'timeout', 'abandoned')
    ),
    constraint execution_attempt_code_or_signal check (exit_code is null or signal is null)
);

create table attune.execution_output (
    execution bigint not null constraint execution_output_execution_fkey references attune.execution on delete cascade,
    attempt integer not null,
    -- Counts the chunks of both streams together, so that they can be read in the order of their arrival.
    seq integer not null,
    stream attune.output_stream not null,
    -- Bytes as the process wrote them: they need not be text.
    content bytea not null,
    created timestamptz not null default clock_timestamp(),
    constraint execution_output_pkey primary key (execution, attempt, seq)
);

-- What does not run for now. By name and not by id: a pause must not be lost because its action was removed and comes back.
create table attune.pause (
    id bigint generated always as identity constraint pause_pkey primary key,
    -- The scope: one action, every action of one pack, or everything where both are null.
    action_ref text,
    pack_ref text,
    reason text,
    identity bigint constraint pause_identity_fkey references attune.identity on delete set null,
    -- Who it was, also when that identity is gone.
    login text,
    created timestamptz not null default clock_timestamp(),
    constraint pause_scope_key unique nulls not distinct (action_ref, pack_ref),
    constraint pause_one_scope check (num_nonnulls(action_ref, pack_ref) <= 1)
);
-- Set null when the identity goes.
create index pause_identity_idx on attune.pause (identity) where identity is not null;
