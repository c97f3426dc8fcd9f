-- Keys: secrets, and values that are none. A value is encrypted under a data key; data keys are encrypted under the master key, which the database
-- never sees.

-- The newest one is in force: new values are encrypted under it. Older ones stay until nothing is encrypted under them.
create table attune.data_key (
    id bigint generated always as identity constraint data_key_pkey primary key,
    -- Nonce and AES-256-GCM ciphertext of the data key under the master key.
    wrapped bytea not null,
    -- The first bytes of a hash of the master key: tells a wrong master key from damaged data.
    master_fingerprint text not null,
    created timestamptz not null default clock_timestamp()
);

create table attune.key (
    id bigint generated always as identity constraint key_pkey primary key,
    ref text not null constraint key_ref_key unique,
    name text not null,
    owner_type attune.owner_type not null default 'system',
    owner_identity bigint constraint key_owner_identity_fkey references attune.identity on delete cascade,
    owner_pack bigint constraint key_owner_pack_fkey references attune.pack on delete cascade,
    owner_action bigint constraint key_owner_action_fkey references attune.action on delete cascade,
    owner_sensor bigint constraint key_owner_sensor_fkey references attune.sensor on delete cascade,
    data_key bigint not null constraint key_data_key_fkey references attune.data_key,
    -- Whether the value is never shown. No update of this column alone shows one: a value is encrypted as a secret or as none.
    secret boolean not null default true,
    -- Nonce and AES-256-GCM ciphertext of the value; the ref, and whether it is a secret, are authenticated with it, so that
    -- values cannot be exchanged.
    value bytea not null,
    -- Counts the values that were set, from 1. Re-encryption sets none.
    version integer not null default 1,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint key_version_positive check (version > 0),
    constraint key_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$'),
    constraint key_owner_consistent check (
        (owner_type = 'identity') = (owner_identity is not null)
        and (owner_type = 'pack') = (owner_pack is not null)
        and (owner_type = 'action') = (owner_action is not null)
        and (owner_type = 'sensor') = (owner_sensor is not null)
    )
);
-- Not when only the encryption differs: `updated` says when somebody changed the key.
create trigger key_updated before update on attune.key
    for each row when (
        (old.ref, old.name, old.owner_type, old.owner_identity, old.owner_pack, old.owner_action, old.owner_sensor,
         old.secret, old.version)
        is distinct from
        (new.ref, new.name, new.owner_type, new.owner_identity, new.owner_pack, new.owner_action, new.owner_sensor,
         new.secret, new.version)
    ) execute function attune.set_updated();
-- Keys of an owner: lists and the cascades.
create index key_owner_identity_idx on attune.key (owner_identity) where owner_identity is not null;
create index key_owner_pack_idx on attune.key (owner_pack) where owner_pack is not null;
create index key_owner_action_idx on attune.key (owner_action) where owner_action is not null;
create index key_owner_sensor_idx on attune.key (owner_sensor) where owner_sensor is not null;
-- What a rotation has still to re-encrypt.
create index key_data_key_idx on attune.key (data_key);
