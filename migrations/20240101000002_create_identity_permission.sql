-- Who may do what: identities, their tokens, permission sets and the assignment of the one to the other.

create table attune.identity (
    id bigint generated always as identity constraint identity_pkey primary key,
    login text not null constraint identity_login_key unique,
    display_name text,
    -- Argon2id in PHC string form; null for identities that sign in elsewhere or only by token.
    password_hash text,
    attributes jsonb not null default '{}',
    enabled boolean not null default true,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint identity_login_not_empty check (login <> ''),
    constraint identity_password_hash_form check (password_hash like '$argon2id$%')
);
create trigger identity_updated before update on attune.identity
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();

create table attune.token (
    id bigint generated always as identity constraint token_pkey primary key,
    identity bigint not null constraint token_identity_fkey references attune.identity on delete cascade,
    name text not null,
    -- SHA-256 of the token: what is stolen from the database opens nothing.
    hash bytea not null constraint token_hash_key unique,
    expires timestamptz,
    created timestamptz not null default clock_timestamp(),
    constraint token_hash_length check (octet_length(hash) = 32)
);
-- Tokens of one identity: listing and the cascade.
create index token_identity_idx on attune.token (identity);

create table attune.permission_set (
    id bigint generated always as identity constraint permission_set_pkey primary key,
    ref text not null constraint permission_set_ref_key unique,
    pack bigint,
    pack_ref text,
    label text,
    description text,
    -- A list of {"resource": text, "actions": [text], "constraints": {}}.
    grants jsonb not null default '[]',
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint permission_set_grants_list check (jsonb_typeof(grants) = 'array'),
    constraint permission_set_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$')
);
create trigger permission_set_updated before update on attune.permission_set
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();

create table attune.permission_assignment (
    id bigint generated always as identity constraint permission_assignment_pkey primary key,
    identity bigint not null
        constraint permission_assignment_identity_fkey references attune.identity on delete cascade,
    permission_set bigint not null
        constraint permission_assignment_permission_set_fkey references attune.permission_set on delete cascade,
    created timestamptz not null default clock_timestamp(),
    constraint permission_assignment_key unique (identity, permission_set)
);
-- Who holds a set: the cascade from permission_set.
create index permission_assignment_permission_set_idx on attune.permission_assignment (permission_set);
