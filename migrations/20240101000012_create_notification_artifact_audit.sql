-- What leaves the system or tells about it: the change feed, notifications, artifacts and the audit log.

-- Every status change once. Readers follow (xid, id): ids alone are drawn before the commit, so a reader of ids would
-- pass over rows of a transaction that commits late; a row is read when no older transaction can still commit.
create table attune.change (
    xid xid8 not null default pg_current_xact_id(),
    id bigint generated always as identity,
    entity_type text not null,
    entity bigint not null,
    ref text not null,
    activity text not null,
    created timestamptz not null default clock_timestamp(),
    constraint change_pkey primary key (xid, id)
);

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
    artifact_type attune.artifact_type not null default 'file',
    owner_type attune.owner_type not null default 'system',
    owner text,
    retention_versions integer,
    retention_days integer,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint artifact_retention_versions_positive check (retention_versions > 0),
    constraint artifact_retention_days_positive check (retention_days > 0)
);
create trigger artifact_updated before update on attune.artifact
    for each row when (old.* is distinct from new.*) execute function attune.set_updated();

create table attune.artifact_version (
    id bigint generated always as identity constraint artifact_version_pkey primary key,
    artifact bigint not null constraint artifact_version_artifact_fkey references attune.artifact on delete cascade,
    version integer not null,
    execution bigint constraint artifact_version_execution_fkey references attune.execution on delete set null,
    content_type text not null,
    content bytea not null,
    created timestamptz not null default clock_timestamp(),
    constraint artifact_version_key unique (artifact, version),
    constraint artifact_version_positive check (version > 0)
);
-- What a run left behind; set null when it goes.
create index artifact_version_execution_idx on attune.artifact_version (execution) where execution is not null;

-- Append-only.
create table attune.audit_event (
    id bigint generated always as identity constraint audit_event_pkey primary key,
    identity bigint constraint audit_event_identity_fkey references attune.identity on delete set null,
    login text,
    activity text not null,
    entity_type text not null,
    entity_ref text not null,
    detail jsonb not null default '{}',
    created timestamptz not null default clock_timestamp()
);
-- The newest first, and what is older than a bound (retention).
create index audit_event_created_idx on attune.audit_event (created desc, id desc);
-- What was done to one thing.
create index audit_event_entity_idx on attune.audit_event (entity_type, entity_ref, id desc);
-- Set null when the identity goes.
create index audit_event_identity_idx on attune.audit_event (identity) where identity is not null;
