-- The schema, its enum types, and the functions that any table may use.
--
-- Rules of this schema: ids are bigint; `created` and `updated` are set by the database; a foreign key carries the name
-- of what it points at; where history must outlive its target, the key is set to null and a text twin `*_ref` stays;
-- every constraint and index is named, because errors are mapped by constraint name.

create schema attune;

create type attune.worker_type as enum ('local', 'remote', 'container');
create type attune.worker_status as enum ('active', 'inactive', 'busy', 'error');
create type attune.parameter_delivery as enum ('stdin', 'env', 'file');
create type attune.parameter_format as enum ('json', 'yaml', 'dotenv');
create type attune.output_format as enum ('text', 'json', 'yaml', 'jsonl');
create type attune.worker_loss as enum ('abandon', 'retry');
create type attune.rule_mode as enum ('active', 'shadow');
create type attune.enforcement_status as enum ('created', 'processed', 'disabled');
create type attune.execution_status as enum (
    'requested', 'scheduling', 'scheduled', 'running', 'completed', 'failed', 'canceling', 'cancelled', 'timeout',
    'abandoned'
);
create type attune.output_stream as enum ('stdout', 'stderr');
create type attune.inquiry_status as enum ('pending', 'responded', 'timeout', 'cancelled');
create type attune.policy_method as enum ('enqueue', 'cancel');
create type attune.owner_type as enum ('system', 'identity', 'pack', 'action', 'sensor');
create type attune.notification_state as enum ('created', 'queued', 'processing', 'delivered', 'error');
create type attune.artifact_type as enum ('file', 'table', 'link');
create type attune.work_item_status as enum ('ready', 'leased', 'done', 'dead');

-- clock_timestamp() and not now(): two changes of one transaction have two times, in their order. The triggers that call
-- this do so only when a column differs: a change that changes nothing leaves the row as it was.
create function attune.set_updated() returns trigger language plpgsql as $$
begin
    new.updated = clock_timestamp();
    return new;
end
$$;

-- Whether foreign keys are not checked for this connection row by row, because its statements lock what they refer to, once for
-- all of their rows. Removals by others are refused or take effect as ever: they wait for these locks.
create function attune.leaves_keys_to_statements() returns boolean language sql stable as $$
    select current_setting('session_replication_role') = 'replica'
$$;

-- Says what a foreign key would say: by its name, in its words.
create function attune.refuse_reference(table_name text, column_name text, value bigint) returns boolean language plpgsql as $$
begin
    raise foreign_key_violation using
        message = format('%s refers to a %s that does not exist', table_name, column_name),
        detail = format('Key (%s)=(%s) is not present.', column_name, value),
        schema = 'attune', table = table_name, constraint = table_name || '_' || column_name || '_fkey';
end
$$;

-- Whether this is a way of trying again, as packs' files are read into (delays in seconds); an empty object: never. What
-- passes here can be computed with by attune.retry_delay.
create function attune.is_retry(retry jsonb) returns boolean language sql immutable as $$
    select retry = '{}' or coalesce(
        retry @@ 'strict $.count >= 1 && $.count <= 100 && $.delay >= 0 && $.delay <= 31536000
            && $.factor >= 1 && $.factor <= 10 && $.max_delay >= 0 && $.max_delay <= 31536000
            && $.jitter >= 0 && $.jitter <= 1 && $.on.type() == "array"',
        false
    )
$$;

-- How long to wait before the attempt after this one (the first is 1), which ended so; null: there is none. Chance
-- shortens the delay by up to the share `jitter` of it, and is thrown here alone.
create function attune.retry_delay(retry jsonb, attempt integer, ended attune.execution_status)
returns interval language sql volatile as $$
    select make_interval(
        secs => least(
            (retry ->> 'max_delay')::double precision,
            (retry ->> 'delay')::double precision
                * power((retry ->> 'factor')::double precision, least(attempt - 1, 100))
        ) * (1 - (retry ->> 'jitter')::double precision * random())
    )
    where retry -> 'on' ? ended::text and attempt <= (retry ->> 'count')::double precision
$$;
