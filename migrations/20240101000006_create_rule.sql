-- Rules, every past version of each, and the version of the whole set of rules.

create table attune.rule (
    id bigint generated always as identity constraint rule_pkey primary key,
    ref text not null constraint rule_ref_key unique,
    pack bigint constraint rule_pack_fkey references attune.pack on delete cascade,
    pack_ref text,
    label text,
    description text,
    enabled boolean not null default true,
    mode attune.rule_mode not null default 'active',
    trigger bigint constraint rule_trigger_fkey references attune.trigger on delete set null,
    trigger_ref text not null,
    trigger_params jsonb not null default '{}',
    condition text not null default 'all' constraint rule_condition_check check (condition in ('all', 'any')),
    conditions jsonb not null default '[]',
    -- "window" is a reserved word.
    rule_window jsonb constraint rule_window_object check (jsonb_typeof(rule_window) = 'object'),
    action bigint constraint rule_action_fkey references attune.action on delete set null,
    action_ref text not null,
    action_params jsonb not null default '{}',
    -- How its executions are tried again; null: as their action says.
    retry jsonb,
    -- The settings of its pack that it uses, with their values; null: it uses none. Never a secret.
    config jsonb constraint rule_config_object check (jsonb_typeof(config) = 'object'),
    owner bigint constraint rule_owner_fkey references attune.identity on delete set null,
    -- Counts the changes of this rule, from 1.
    version integer not null default 1,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint rule_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$'),
    -- What enforcements refer to: the id together with the name that they keep.
    constraint rule_id_ref_key unique (id, ref),
    constraint rule_conditions_list check (jsonb_typeof(conditions) = 'array'),
    constraint rule_version_positive check (version > 0),
    constraint rule_retry_complete check (attune.is_retry(retry))
);
create trigger rule_updated before update on attune.rule
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- Rules of a pack: upgrade, removal and the cascade.
create index rule_pack_idx on attune.rule (pack) where pack is not null;
-- Rules of a trigger and of an action: lists, and set null when the target goes.
create index rule_trigger_idx on attune.rule (trigger);
create index rule_action_idx on attune.rule (action);
-- Set null when the owner goes.
create index rule_owner_idx on attune.rule (owner) where owner is not null;

create table attune.rule_version (
    id bigint generated always as identity constraint rule_version_pkey primary key,
    rule bigint constraint rule_version_rule_fkey references attune.rule on delete set null,
    rule_ref text not null,
    -- The trigger that it listened to.
    trigger_ref text not null,
    version integer not null,
    -- The version of the rule set from which on it counts: with event_batch.rule_set_version it tells by which version of
    -- a rule an event was judged.
    rule_set_version bigint not null,
    -- The rule was removed, and this is what it was then.
    removed boolean not null default false,
    -- The whole rule as it was: what an explanation of an old event judges by.
    definition jsonb not null,
    created timestamptz not null default clock_timestamp(),
    constraint rule_version_key unique (rule, version)
);
-- The versions of a rule, also of one that is gone, are found by its name.
create index rule_version_rule_ref_idx on attune.rule_version (rule_ref, id);
-- What changed since a version of the rule set.
create index rule_version_rule_set_version_idx on attune.rule_version (rule_set_version);
-- The rules that a trigger ever had, by name.
create index rule_version_trigger_ref_idx on attune.rule_version (trigger_ref, rule_ref, rule_set_version);

-- One row. Every change of a rule, trigger or action raises the version in the transaction of the change, so that an
-- executor sees in one read whether the rules that it holds in memory are still the rules.
create table attune.rule_set (
    id boolean not null default true constraint rule_set_pkey primary key,
    version bigint not null default 1,
    constraint rule_set_single_row check (id)
);
insert into attune.rule_set default values;
