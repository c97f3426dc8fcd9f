-- What leaves the system or tells about it: the change feed, notifications, artifacts and the audit log.

-- Every status change once. A statement that brings many entities into the same status writes one row for up to 256 of them:
-- a row for each would be a good part of the price of an execution. The change of each has a number of its own, the row's
-- times 256 and its place in the row; readers follow (xid, number): numbers alone are drawn before the commit, so a reader of
-- numbers would pass over rows of a transaction that commits late; a row is read when no older transaction can still commit.
create table attune.change (
    xid xid8 not null default pg_current_xact_id(),
    id bigint generated always as identity,
    entity_type text not null,
    -- In ascending order, and of one block of 256 ids: the history of an entity is found by its block.
    entities bigint[] not null,
    ref text not null,
    activity text not null,
    created timestamptz not null default clock_timestamp(),
    constraint change_pkey primary key (xid, id),
    constraint change_entities_of_a_block check (
        cardinality(entities) between 1 and 256 and entities[1] >> 8 = entities[cardinality(entities)] >> 8
    )
);
-- The history of one entity.
create index change_block_idx on attune.change ((entities[1] >> 8), id);

-- How far readers that live in the database have read the change feed. What they have not read is not removed.
create table attune.feed_cursor (
    name text not null constraint feed_cursor_pkey primary key,
    xid xid8 not null,
    seq bigint not null,
    created timestamptz not null default clock_timestamp(),
    constraint feed_cursor_name_not_empty check (name <> '')
);
insert into attune.feed_cursor (name, xid, seq) values ('internal_event', '0', 0);

create table attune.notification (
    id bigint generated always as identity constraint notification_pkey primary key,
    channel text not null,
    entity_type text not null,
    entity text not null,
    activity text not null,
    state attune.notification_state not null default 'created',
    content jsonb,
    -- How many times a deliverer took it; the number of the latest attempt.
    attempts integer not null default 0,
    -- Not to be taken before. While it is processed that is the end of its deliverer's lease, so what a deliverer died
    -- with falls due again by itself.
    not_before timestamptz not null default clock_timestamp(),
    -- Why the latest attempt failed.
    error text,
    delivered_at timestamptz,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint notification_channel_not_empty check (channel <> ''),
    constraint notification_created_has_no_attempt check (
        attempts >= 0 and (state = 'created') = (attempts = 0)
    ),
    constraint notification_delivered_complete check ((state = 'delivered') = (delivered_at is not null))
);
create trigger notification_updated before update on attune.notification
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- What has still to be delivered, in the order in which it falls due.
create index notification_due_idx on attune.notification (not_before, id)
    where state in ('created', 'queued', 'processing');
-- What is older than a bound (retention).
create index notification_delivered_idx on attune.notification (delivered_at, id) where state = 'delivered';
-- Those that are not simply done; newest first.
create index notification_state_idx on attune.notification (state, id desc) where state <> 'delivered';
-- Notifications of a channel; newest first.
create index notification_channel_idx on attune.notification (channel, id desc);
-- The notifications about one thing; newest first.
create index notification_entity_idx on attune.notification (entity_type, entity, id desc);

create table attune.artifact (
    id bigint generated always as identity constraint artifact_pkey primary key,
    ref text not null constraint artifact_ref_key unique,
    label text,
    description text,
    artifact_type attune.artifact_type not null default 'file',
    owner_type attune.owner_type not null default 'system',
    -- The owner's ref or login. No foreign key: what a run made outlives the definition of what it ran.
    owner text,
    -- Of the versions, only so many of the newest numbers are kept; null: all.
    retention_versions integer,
    -- Versions are kept for so many days; null: for ever.
    retention_days integer,
    -- Counts the versions, those that are gone included.
    latest_version integer not null default 0,
    -- All of its versions are gone, or none was made yet.
    is_empty boolean not null default true,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint artifact_ref_format check (ref ~ '^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$'),
    constraint artifact_owner_consistent check ((owner_type = 'system') = (owner is null)),
    constraint artifact_retention_versions_positive check (retention_versions > 0),
    constraint artifact_retention_days_positive check (retention_days > 0),
    constraint artifact_latest_version_not_negative check (latest_version >= 0)
);
create trigger artifact_updated before update on attune.artifact
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();
-- The artifacts of an owner, by ref.
create index artifact_owner_idx on attune.artifact (owner_type, owner, ref);
-- Those that have lost all of their versions, the longest ago first: retention.
create index artifact_empty_idx on attune.artifact (updated, id) where is_empty and owner_type = 'action';

create table attune.artifact_version (
    id bigint generated always as identity constraint artifact_version_pkey primary key,
    artifact bigint not null constraint artifact_version_artifact_fkey references attune.artifact on delete cascade,
    version integer not null,
    execution bigint constraint artifact_version_execution_fkey references attune.execution on delete set null,
    content_type text not null,
    -- Of the content, in bytes, and its hash.
    size bigint not null,
    sha256 bytea not null,
    -- Retention removes it from then on; null: never. Follows from what its artifact says: set with the version, when a newer
    -- one takes its place, and when the artifact says something else.
    expires timestamptz,
    created timestamptz not null default clock_timestamp(),
    constraint artifact_version_key unique (artifact, version),
    constraint artifact_version_content_type_not_empty check (content_type <> ''),
    constraint artifact_version_size_not_negative check (size >= 0),
    constraint artifact_version_sha256_length check (octet_length(sha256) = 32),
    constraint artifact_version_positive check (version > 0)
);
-- What a run left behind; set null when it goes.
create index artifact_version_execution_idx on attune.artifact_version (execution) where execution is not null;
-- What is to go, the oldest first: retention.
create index artifact_version_expires_idx on attune.artifact_version (expires, id) where expires is not null;

-- The version that a newer one makes one too many. Not part of the statement that adds that: where two add at once, the second
-- would not see the version of the first. Here it does, since whoever adds a version has the row of its artifact locked.
create function attune.supersede_artifact_version() returns trigger language plpgsql as $$
begin
    update attune.artifact_version
    set expires = clock_timestamp()
    from added
    join attune.artifact on artifact.id = added.artifact
    where artifact_version.artifact = added.artifact
      and artifact_version.version = added.version - artifact.retention_versions;
    return null;
end
$$;
create trigger artifact_version_superseded after insert on attune.artifact_version
    referencing new table as added for each statement execute function attune.supersede_artifact_version();

-- What another retention means for the versions that are there. One artifact after the other, each by its index.
create function attune.apply_artifact_retention() returns trigger language plpgsql as $$
declare
    changed record;
begin
    for changed in
        select after.id, after.latest_version, after.retention_versions, after.retention_days
        from after
        join before using (id)
        where after.retention_versions is distinct from before.retention_versions
           or after.retention_days is distinct from before.retention_days
    loop
        update attune.artifact_version
        set expires = least(
            case when version <= changed.latest_version - changed.retention_versions then clock_timestamp() end,
            created + make_interval(days => changed.retention_days)
        )
        where artifact = changed.id;
    end loop;
    return null;
end
$$;
create trigger artifact_retention after update on attune.artifact
    referencing old table as before new table as after
    for each statement execute function attune.apply_artifact_retention();

-- Notes which artifacts have lost their last version. One that is just being made is not seen here: whoever removes artifacts
-- looks again.
create function attune.note_empty_artifacts() returns trigger language plpgsql as $$
begin
    update attune.artifact
    set is_empty = true
    where id in (select gone.artifact from gone) and not is_empty
      and not exists (select from attune.artifact_version where artifact_version.artifact = artifact.id);
    return null;
end
$$;
create trigger artifact_version_gone after delete on attune.artifact_version
    referencing old table as gone for each statement execute function attune.note_empty_artifacts();

-- The content of a version in pieces of one size, the last one excepted, so that a part of it is found by its number. Written
-- in the transaction that makes the version: none is ever seen without all of its content.
create table attune.artifact_chunk (
    artifact_version bigint not null constraint artifact_chunk_artifact_version_fkey
        references attune.artifact_version on delete cascade,
    seq integer not null,
    content bytea not null,
    constraint artifact_chunk_pkey primary key (artifact_version, seq)
);
-- Most of what is large is compressed already, and what is stored as it is can be read in part.
alter table attune.artifact_chunk alter column content set storage external;

-- Append-only: who did what. Nothing in it is ever changed; the one way to remove anything is attune.expire_audit_events.
create table attune.audit_event (
    id bigint generated always as identity constraint audit_event_pkey primary key,
    -- No foreign key: an entry says who it was even when that identity is gone, and another one has its login.
    identity bigint,
    login text,
    activity text not null,
    entity_type text not null,
    entity_ref text not null,
    detail jsonb not null default '{}',
    created timestamptz not null default clock_timestamp(),
    constraint audit_event_activity_not_empty check (activity <> ''),
    constraint audit_event_entity_type_not_empty check (entity_type <> '')
);
-- A range of time, and what is older than a bound (retention).
create index audit_event_created_idx on attune.audit_event (created, id);
-- What was done to one thing, the newest first.
create index audit_event_entity_idx on attune.audit_event (entity_type, entity_ref, id desc);
-- What somebody did, the newest first.
create index audit_event_identity_idx on attune.audit_event (identity, id desc) where identity is not null;
-- Every deed of a kind, the newest first.
create index audit_event_activity_idx on attune.audit_event (activity, id desc);

create function attune.refuse_audit_change() returns trigger language plpgsql as $$
begin
    -- Set by attune.expire_audit_events while it runs.
    if tg_op = 'DELETE' and current_setting('attune.audit_retention', true) = 'on' then
        return null;
    end if;
    raise exception 'attune.audit_event is append-only: % refused', lower(tg_op)
        using errcode = 'restrict_violation', table = 'audit_event', schema = 'attune';
end
$$;
create trigger audit_event_append_only before update or delete or truncate on attune.audit_event
    for each statement execute function attune.refuse_audit_change();

-- Retention: removes up to `at_most` of the oldest entries that are older than the bound; gives back how many. The switch is
-- local to the transaction and off again before anything else of it runs. (It could not be a setting of the function itself:
-- only a superuser may give one that PostgreSQL does not know.)
create function attune.expire_audit_events(older_than timestamptz, at_most bigint) returns bigint
    language plpgsql as $$
declare
    removed bigint;
begin
    perform set_config('attune.audit_retention', 'on', true);
    delete from attune.audit_event
    where id in (
        select id from attune.audit_event
        where created < older_than
        order by created, id
        limit at_most
        for update skip locked
    );
    get diagnostics removed = row_count;
    perform set_config('attune.audit_retention', 'off', true);
    return removed;
end
$$;
