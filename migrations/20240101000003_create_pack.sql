-- Packs and their files. The files live in the database, because workers meet the server nowhere else.

create table attune.pack (
    id bigint generated always as identity constraint pack_pkey primary key,
    ref text not null constraint pack_ref_key unique,
    label text not null,
    description text,
    version text not null,
    author text,
    email text,
    conf_schema jsonb not null default '{}',
    config jsonb not null default '{}',
    -- What its file for the environment of the server says.
    environment_config jsonb not null default '{}' constraint pack_environment_config_object
        check (jsonb_typeof(environment_config) = 'object'),
    meta jsonb not null default '{}',
    tags text[] not null default '{}',
    runtime_deps text[] not null default '{}',
    -- The packs that it needs, each with a range of versions.
    dependencies jsonb not null default '{}',
    -- The keys that it needs: a list of {ref, label, description, required}. Never a value.
    declared_keys jsonb not null default '[]' constraint pack_declared_keys_list
        check (jsonb_typeof(declared_keys) = 'array'),
    -- Shipped with Attune itself.
    is_standard boolean not null default false,
    -- Where it was installed from, as the installer named it.
    source text,
    -- SHA-256, in hex, over its files: what workers key their copy by.
    checksum text,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint pack_ref_format check (ref ~ '^[a-z][a-z0-9_-]+$'),
    constraint pack_version_semver check (version ~ '^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$'),
    constraint pack_checksum_format check (checksum ~ '^[0-9a-f]{64}$'),
    constraint pack_dependencies_object check (jsonb_typeof(dependencies) = 'object')
);
create trigger pack_updated before update on attune.pack
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();

create table attune.pack_file (
    pack bigint not null constraint pack_file_pack_fkey references attune.pack on delete cascade,
    path text not null,
    content bytea not null,
    executable boolean not null default false,
    created timestamptz not null default clock_timestamp(),
    constraint pack_file_pkey primary key (pack, path),
    constraint pack_file_path_relative check (path <> '' and path !~ '(^|/)\.\.(/|$)' and path !~ '^/')
);

alter table attune.permission_set
    add constraint permission_set_pack_fkey foreign key (pack) references attune.pack on delete cascade;
-- Sets of a pack: upgrade, removal and the cascade.
create index permission_set_pack_idx on attune.permission_set (pack) where pack is not null;
