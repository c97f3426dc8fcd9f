-- What runs actions: runtimes (how) and workers (where).

create table attune.runtime (
    id bigint generated always as identity constraint runtime_pkey primary key,
    ref text not null constraint runtime_ref_key unique,
    pack bigint constraint runtime_pack_fkey references attune.pack on delete cascade,
    pack_ref text,
    label text,
    description text,
    -- The command that the entrypoint is given to; empty: the entrypoint is executed itself.
    interpreter text[] not null default '{}',
    -- Runs inside the worker process.
    native boolean not null default false,
    -- The language whose packs get an environment with what they need; null: the interpreter alone runs the entrypoint.
    environment text,
    -- Which versions of the interpreter will do.
    version text,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint runtime_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$'),
    constraint runtime_native_interpreter check (not native or interpreter = '{}'),
    constraint runtime_environment_known check (environment in ('python', 'node')),
    -- What would have no effect is a mistake.
    constraint runtime_environment_interpreter check (environment is null or interpreter <> '{}'),
    constraint runtime_version_environment check (version is null or environment is not null)
);
create trigger runtime_updated before update on attune.runtime
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- Runtimes of a pack: upgrade, removal and the cascade.
create index runtime_pack_idx on attune.runtime (pack) where pack is not null;

create table attune.worker (
    id bigint generated always as identity constraint worker_pkey primary key,
    name text not null constraint worker_name_key unique,
    worker_type attune.worker_type not null default 'local',
    status attune.worker_status not null default 'inactive',
    host text,
    -- Drawn anew at each start: a process that was replaced cannot speak for its successor.
    instance text not null,
    slots integer not null default 1,
    labels jsonb not null default '{}',
    capabilities jsonb not null default '{}',
    -- What keeps work away that does not tolerate it.
    taints text[] not null default '{}',
    cordoned boolean not null default false,
    -- Counts pauses: who claims can tell that one was made meanwhile.
    pauses bigint not null default 0,
    -- What it builds or fetches for packs, with the executions that wait for each: [{pack, what, since, step, executions}].
    preparing jsonb not null default '[]',
    heartbeat timestamptz,
    -- The worker's promise to be alive; past it, what it was running is rescued.
    lease_expires timestamptz,
    -- Since when it is known to be lost; null again as soon as its lease is renewed.
    lost timestamptz,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint worker_name_not_empty check (name <> ''),
    constraint worker_slots_positive check (slots > 0),
    constraint worker_preparing_array check (jsonb_typeof(preparing) = 'array')
);
-- A heartbeat is no change: it comes every few seconds, and nobody could change a worker that they had looked at before.
create trigger worker_updated before update on attune.worker
    for each row when (
        (old.name, old.worker_type, old.status, old.host, old.instance, old.slots, old.labels, old.capabilities,
         old.taints, old.cordoned)
        is distinct from
        (new.name, new.worker_type, new.status, new.host, new.instance, new.slots, new.labels, new.capabilities,
         new.taints, new.cordoned)
    ) execute function attune.set_updated();
-- Workers that may be found lost.
create index worker_lease_idx on attune.worker (lease_expires) where lost is null;

-- Room for native actions, so that executions can be born with a worker instead of being looked for by one. Two counters that
-- only grow, each with one side that writes it, so that neither side waits for the other: what is offered and not yet assigned
-- is free.
create table attune.worker_offer (
    worker bigint not null constraint worker_offer_pkey primary key
        constraint worker_offer_worker_fkey references attune.worker on delete cascade,
    -- The process that offers: what a former one offered counts no more.
    instance text not null,
    offered bigint not null default 0,
    -- The last id that the worker has read of what was assigned to it, noted before any of it begins: what is younger never
    -- began when the worker is lost.
    received bigint not null default 0,
    created timestamptz not null default clock_timestamp(),
    constraint worker_offer_offered_not_negative check (offered >= 0)
);
create table attune.worker_assigned (
    worker bigint not null constraint worker_assigned_pkey primary key
        constraint worker_assigned_worker_fkey references attune.worker on delete cascade,
    assigned bigint not null default 0,
    -- The last id that was assigned, what the worker had read of when it was, and since when the worker has read of nothing more:
    -- one that does not read is given nothing, long before its lease is over.
    newest bigint not null default 0,
    received bigint not null default 0,
    since timestamptz not null default clock_timestamp(),
    -- How often something was paused: who assigns by a snapshot from before a pause finds another number here.
    pauses bigint not null default 0,
    created timestamptz not null default clock_timestamp(),
    constraint worker_assigned_assigned_not_negative check (assigned >= 0)
);

-- Where work may run: each combination of a selector and tolerations once, as a short key for the rows that wait. Never
-- removed, so that the key of an execution always means something.
create table attune.placement (
    id bigint generated always as identity constraint placement_pkey primary key,
    -- Labels or capabilities that the worker has.
    selector jsonb not null,
    -- Taints of the worker that do no harm; sorted.
    tolerations text[] not null default '{}',
    -- Since when work has waited for it that no live worker can take.
    unserved_since timestamptz,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint placement_key unique (selector, tolerations),
    constraint placement_selector_object check (jsonb_typeof(selector) = 'object')
);
create trigger placement_updated before update on attune.placement
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- The first one, 1: any worker without taints.
insert into attune.placement (selector) values ('{}');
