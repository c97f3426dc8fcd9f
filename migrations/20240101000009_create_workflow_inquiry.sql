-- Workflows and the questions they put to people.

create table attune.workflow_definition (
    id bigint generated always as identity constraint workflow_definition_pkey primary key,
    ref text not null constraint workflow_definition_ref_key unique,
    pack bigint constraint workflow_definition_pack_fkey references attune.pack on delete cascade,
    pack_ref text,
    -- The action that it is run as.
    action bigint constraint workflow_definition_action_fkey references attune.action on delete cascade
        constraint workflow_definition_action_key unique,
    version text not null,
    definition jsonb not null,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint workflow_definition_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$')
);
create trigger workflow_definition_updated before update on attune.workflow_definition
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- Definitions of a pack, and the cascade.
create index workflow_definition_pack_idx on attune.workflow_definition (pack) where pack is not null;

-- The state of a run: one compact document, and a row for each task.
create table attune.workflow_state (
    execution bigint not null constraint workflow_state_pkey primary key
        constraint workflow_state_execution_fkey references attune.execution on delete cascade,
    -- The definition as it was when the run began.
    definition jsonb not null,
    state jsonb not null default '{}',
    -- Raised by every step; a step that read an older state is refused.
    revision bigint not null default 0,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp()
);
create trigger workflow_state_updated before update on attune.workflow_state
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();

create table attune.workflow_task (
    id bigint generated always as identity constraint workflow_task_pkey primary key,
    execution bigint not null constraint workflow_task_execution_fkey references attune.execution on delete cascade,
    -- Counts the tasks of the run as they were begun: a task that a loop comes back to is another row. Given by the
    -- conductor, which knows no ids; with the item it is its name for the row.
    seq integer not null,
    task text not null,
    route integer not null default 0,
    -- The place in the list of a task that is run for each of a list; null for any other task.
    item integer,
    -- The run of the task; its latest one where it was tried again.
    child bigint constraint workflow_task_child_fkey references attune.execution on delete set null
        constraint workflow_task_child_key unique,
    result jsonb,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    -- Also the tasks of a run, in order, and the cascade.
    constraint workflow_task_seq_key unique nulls not distinct (execution, seq, item),
    constraint workflow_task_seq_not_negative check (seq >= 0),
    constraint workflow_task_item_not_negative check (item >= 0)
);
create trigger workflow_task_updated before update on attune.workflow_task
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();

create table attune.inquiry (
    id bigint generated always as identity constraint inquiry_pkey primary key,
    execution bigint not null constraint inquiry_execution_fkey references attune.execution on delete cascade,
    -- The attempt that asks, which the question ends with; null: the execution as a whole.
    attempt integer,
    -- What the attempt calls the question: asked again, it is the same.
    dedup_key text,
    prompt text not null,
    response_schema jsonb not null default '{}',
    assigned_to bigint constraint inquiry_assigned_to_fkey references attune.identity on delete set null,
    assigned_role text,
    allow_self_approval boolean not null default true,
    status attune.inquiry_status not null default 'pending',
    response jsonb,
    responded_by bigint constraint inquiry_responded_by_fkey references attune.identity on delete set null,
    responded_at timestamptz,
    timeout_at timestamptz,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint inquiry_dedup_key unique (execution, attempt, dedup_key),
    constraint inquiry_prompt_not_empty check (prompt <> ''),
    constraint inquiry_responded_complete check (
        (status = 'responded') = (responded_at is not null) and (status = 'responded') = (response is not null)
    )
);
create trigger inquiry_updated before update on attune.inquiry
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- The questions of a run, and the cascade.
create index inquiry_execution_idx on attune.inquiry (execution, id);
-- Questions by status; newest first.
create index inquiry_status_idx on attune.inquiry (status, id desc);
-- What waits for a person; also set null when the person goes.
create index inquiry_assigned_to_idx on attune.inquiry (assigned_to, status) where assigned_to is not null;
-- What waits for whoever holds a role.
create index inquiry_assigned_role_idx on attune.inquiry (assigned_role)
    where status = 'pending' and assigned_role is not null;
-- Set null when the person goes.
create index inquiry_responded_by_idx on attune.inquiry (responded_by) where responded_by is not null;
-- What runs out next.
create index inquiry_timeout_idx on attune.inquiry (timeout_at) where status = 'pending' and timeout_at is not null;
