-- What can happen (triggers), who watches for it (sensors), and what can be done (actions).

create table attune.trigger (
    id bigint generated always as identity constraint trigger_pkey primary key,
    ref text not null constraint trigger_ref_key unique,
    pack bigint constraint trigger_pack_fkey references attune.pack on delete cascade,
    pack_ref text,
    label text,
    description text,
    enabled boolean not null default true,
    param_schema jsonb not null default '{}',
    out_schema jsonb not null default '{}',
    -- The unguessable last part of the webhook's address; null: the trigger has no webhook.
    webhook_key text constraint trigger_webhook_key_key unique,
    -- {"signature": {"scheme", "secret", "header"}, "delivery_id_header"}; a secret is named, never held, here.
    webhook jsonb,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint trigger_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$'),
    -- What events refer to: the id together with the name that they keep.
    constraint trigger_id_ref_key unique (id, ref),
    constraint trigger_webhook_complete check ((webhook is null) = (webhook_key is null))
);
create trigger trigger_updated before update on attune.trigger
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- Triggers of a pack: upgrade, removal and the cascade.
create index trigger_pack_idx on attune.trigger (pack) where pack is not null;

create table attune.sensor (
    id bigint generated always as identity constraint sensor_pkey primary key,
    ref text not null constraint sensor_ref_key unique,
    pack bigint constraint sensor_pack_fkey references attune.pack on delete cascade,
    pack_ref text,
    label text,
    description text,
    enabled boolean not null default true,
    runtime bigint constraint sensor_runtime_fkey references attune.runtime on delete set null,
    runtime_ref text not null,
    entrypoint text not null,
    -- The triggers it may report.
    trigger_refs text[] not null default '{}',
    param_schema jsonb not null default '{}',
    config jsonb not null default '{}',
    -- What its process may ask of the API: a list of {"resource": text, "actions": [text]}.
    permissions jsonb not null default '[]',
    -- Counts the beginnings and the ends of its processes that got a token for the API; a token is about one number.
    life bigint not null default 0,
    -- Why it does not run, or what it waits for: written by the role that keeps it running.
    obstacle text,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint sensor_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$'),
    constraint sensor_entrypoint_not_empty check (entrypoint <> ''),
    constraint sensor_permissions_list check (jsonb_typeof(permissions) = 'array')
);
-- A process that begins or ends changes nothing of the sensor.
create trigger sensor_updated before update on attune.sensor
    for each row when (old.life = new.life and old.* is distinct from new.*) execute function attune.set_updated();
-- Sensors of a pack: upgrade, removal and the cascade.
create index sensor_pack_idx on attune.sensor (pack) where pack is not null;
-- Sensors of a runtime: set null when the runtime goes.
create index sensor_runtime_idx on attune.sensor (runtime);
-- Who reports a trigger: asked by its name.
create index sensor_trigger_refs_idx on attune.sensor using gin (trigger_refs);

create table attune.action (
    id bigint generated always as identity constraint action_pkey primary key,
    ref text not null constraint action_ref_key unique,
    pack bigint constraint action_pack_fkey references attune.pack on delete cascade,
    pack_ref text,
    label text,
    description text,
    enabled boolean not null default true,
    runtime bigint constraint action_runtime_fkey references attune.runtime on delete set null,
    runtime_ref text not null,
    entrypoint text not null,
    param_schema jsonb not null default '{}',
    out_schema jsonb not null default '{}',
    parameter_delivery attune.parameter_delivery not null default 'stdin',
    parameter_format attune.parameter_format not null default 'json',
    output_format attune.output_format not null default 'text',
    timeout_seconds double precision not null default 60,
    retry jsonb not null default '{}',
    on_worker_loss attune.worker_loss not null default 'abandon',
    -- How its process is kept apart: {image, limits, sandbox}; empty: by the defaults.
    isolation jsonb not null default '{}',
    -- Where it runs; 1: anywhere.
    placement bigint not null default 1 constraint action_placement_fkey references attune.placement,
    -- What a run may ask of the API besides what is about itself: a list of {"resource": text, "actions": [text]}.
    permissions jsonb not null default '[]',
    -- What runs leave under which name: a list of {"name", "type", "content_type", "description", "keep_versions",
    -- "keep_days"}.
    artifacts jsonb not null default '[]',
    -- The keys whose values runs get: a list of {"ref": text, "required": bool}.
    keys jsonb not null default '[]',
    -- Set by the workflow definition that this action runs; such an action has no process of its own.
    is_workflow boolean not null default false,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint action_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$'),
    constraint action_entrypoint_not_empty check (entrypoint <> ''),
    -- NaN is more than infinity here.
    constraint action_timeout_positive check (timeout_seconds > 0 and timeout_seconds < 'infinity'),
    constraint action_isolation_object check (jsonb_typeof(isolation) = 'object'),
    constraint action_permissions_list check (jsonb_typeof(permissions) = 'array'),
    constraint action_artifacts_list check (jsonb_typeof(artifacts) = 'array'),
    constraint action_keys_list check (jsonb_typeof(keys) = 'array'),
    constraint action_retry_complete check (attune.is_retry(retry))
);
create trigger action_updated before update on attune.action
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- Actions of a pack: upgrade, removal and the cascade.
create index action_pack_idx on attune.action (pack) where pack is not null;
-- Actions of a placement.
create index action_placement_idx on attune.action (placement);
-- Actions of a runtime: set null when the runtime goes.
create index action_runtime_idx on attune.action (runtime);
