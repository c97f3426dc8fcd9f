-- The schema, its enum types, and the one trigger function that any table may use.
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
create type attune.artifact_type as enum ('file', 'table', 'link', 'progress');
create type attune.work_item_status as enum ('ready', 'leased', 'done', 'dead');

-- clock_timestamp() and not now(): two changes of one transaction have two times, in their order. The triggers that call
-- this do so only when a column differs: a change that changes nothing leaves the row as it was.
create function attune.set_updated() returns trigger language plpgsql as $$
begin
    new.updated = clock_timestamp();
    return new;
end
$$;
