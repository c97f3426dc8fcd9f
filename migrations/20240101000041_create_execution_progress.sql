-- How far runs have come, as they say themselves.

create table attune.execution_progress (
    execution bigint not null constraint execution_progress_pkey primary key
        constraint execution_progress_execution_fkey references attune.execution on delete cascade,
    -- What an earlier attempt said is not how far this one has come.
    attempt integer not null,
    percent double precision,
    message text,
    -- A list of {"name", "status"}.
    steps jsonb,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    -- NaN is more than infinity here.
    constraint execution_progress_percent_range check (percent between 0 and 100),
    constraint execution_progress_steps_list check (jsonb_typeof(steps) = 'array')
)
-- Rows change often and grow little: a changed one finds room on its page.
with (fillfactor = 50);
create trigger execution_progress_updated before update on attune.execution_progress
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();

comment on table attune.execution_progress is 'How far a run has come, as it says itself; only the latest of what it said.';
comment on column attune.execution_progress.steps is 'A list of {"name", "status"}.';
