-- Runs of actions. The row that changes (execution) is narrow; what is wide is written once, beside it.

create table attune.execution (
    id bigint generated always as identity constraint execution_pkey primary key,
    action bigint constraint execution_action_fkey references attune.action on delete set null,
    action_ref text not null,
    enforcement bigint constraint execution_enforcement_fkey references attune.enforcement on delete set null,
    parent bigint constraint execution_parent_fkey references attune.execution on delete set null,
    -- The execution that this one runs again.
    original bigint constraint execution_original_fkey references attune.execution on delete set null,
    identity bigint constraint execution_identity_fkey references attune.identity on delete set null,
    worker bigint constraint execution_worker_fkey references attune.worker on delete set null,
    -- requested: waits for admission; scheduled: any worker may claim it; from there see the chart in docs.
    status attune.execution_status not null default 'requested',
    priority smallint not null default 0,
    -- How many times a worker began to run it.
    attempt integer not null default 0,
    trace_id text,
    started timestamptz,
    finished timestamptz,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint execution_attempt_not_negative check (attempt >= 0),
    constraint execution_finished_is_terminal check (
        (finished is not null) = (status in ('completed', 'failed', 'cancelled', 'timeout', 'abandoned'))
    ),
    constraint execution_running_has_attempt check (status <> 'running' or (attempt > 0 and started is not null))
);
create trigger execution_updated before update on attune.execution
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- The queue of the workers: only rows that wait.
create index execution_claimable_idx on attune.execution (priority desc, id) where status = 'scheduled';
-- What a worker holds: rescue and cancellation; small, since runs end.
create index execution_held_idx on attune.execution (worker, id) where status in ('running', 'canceling');
-- Set null when the worker goes.
create index execution_worker_idx on attune.execution (worker);
-- The newest first, and what is older than a bound (retention).
create index execution_created_idx on attune.execution (created desc, id desc);
-- Executions by action; newest first.
create index execution_action_ref_idx on attune.execution (action_ref, id desc);
-- Set null when the action goes.
create index execution_action_idx on attune.execution (action);
-- The chain from an enforcement, and set null when it goes.
create index execution_enforcement_idx on attune.execution (enforcement) where enforcement is not null;
-- Children and re-runs, and set null when the target goes.
create index execution_parent_idx on attune.execution (parent) where parent is not null;
create index execution_original_idx on attune.execution (original) where original is not null;
-- Set null when the identity goes.
create index execution_identity_idx on attune.execution (identity) where identity is not null;
-- What went wrong lately, and what has not ended: lists by status. Completed ones are the mass and are not asked for so.
create index execution_status_idx on attune.execution (status, id desc) where status <> 'completed';

-- The parameters, written once with the execution.
create table attune.execution_config (
    execution bigint not null constraint execution_config_pkey primary key
        constraint execution_config_execution_fkey references attune.execution on delete cascade,
    config jsonb not null default '{}'
);

-- One row for each attempt that ended, written once.
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
