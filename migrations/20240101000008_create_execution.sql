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
    -- The key of attune.placement, without a foreign key: placements are never removed, and every insert would lock the
    -- one row that nearly all share.
    placement bigint not null default 1,
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
    constraint execution_attempt_not_negative check (attempt >= 0),
    constraint execution_finished_is_terminal check (
        (finished is not null) = (status in ('completed', 'failed', 'cancelled', 'timeout', 'abandoned'))
    ),
    constraint execution_running_has_attempt check (status <> 'running' or (attempt > 0 and started is not null)),
    constraint execution_not_before_scheduled check (not_before is null or status = 'scheduled'),
    constraint execution_paused_scheduled check (not paused or status = 'scheduled')
);
create trigger execution_updated before update on attune.execution
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- The queues of the workers, one for each placement: only rows that may be taken now.
create index execution_claimable_idx on attune.execution (placement, priority desc, id)
    where status = 'scheduled' and not_before is null and not paused;
-- What waits for its time, the next one first.
create index execution_due_idx on attune.execution (not_before) where not_before is not null;
-- What was put aside, by action: the pause of one may end before that of another.
create index execution_paused_idx on attune.execution (action_ref, id) where paused;
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
    config jsonb not null default '{}',
    -- How it is tried again; null: as its action says.
    retry jsonb,
    -- The parameters again with marks where `config` has a mask, for the worker that puts the values of keys there; null:
    -- no keys are named. Only a claim reads it.
    keyed jsonb,
    constraint execution_config_retry_complete check (attune.is_retry(retry)),
    constraint execution_config_keyed_complete check (
        coalesce(
            jsonb_typeof(keyed -> 'nonce') = 'string' and jsonb_typeof(keyed -> 'parameters') = 'object',
            keyed is null
        )
    )
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
