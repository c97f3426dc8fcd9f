//! Packs and their files. Writes `attune.pack` and `attune.pack_file`.
//!
//! With a pack go its rules, triggers and actions: its removal raises the version of the rule set in its own statement.

use sqlx::{PgConnection, PgExecutor};

use super::{RuleRepository, by_id, by_ref, updates};
use crate::error::{Result, StoreError};
use crate::models::pack::{Dependent, NewPack, Pack, PackConfiguration, PackFile, PackUpdate};

/// Functions about `attune.pack`.
#[derive(Debug)]
pub struct PackRepository;

by_id!(read PackRepository, Pack, "pack", "attune.pack", order "ref");
updates!(PackRepository, Pack, "pack");
by_ref!(PackRepository, Pack, "pack", "attune.pack");

impl PackRepository {
    /// Removes a pack with all that it defines and raises the version of the rule set; false when there was none. The
    /// versions of its rules stay.
    pub async fn delete(executor: impl PgExecutor<'_>, id: i64) -> Result<bool> {
        RuleRepository::remove_with_pack(executor, id).await
    }

    /// Makes a pack.
    pub async fn create(executor: impl PgExecutor<'_>, new: &NewPack) -> Result<Pack> {
        let row = sqlx::query_as(
            "insert into attune.pack (
                 ref, label, description, version, author, email, meta, tags, is_standard, source, checksum,
                 runtime_deps, dependencies, conf_schema, environment_config, declared_keys
             )
             values ($1, $2, $3, $4, $5, $6, coalesce($7, '{}'), $8, $9, $10, $11, $12, $13, coalesce($14, '{}'),
                     coalesce($15, '{}'), $16)
             returning *",
        )
        .bind(&new.r#ref)
        .bind(&new.label)
        .bind(&new.description)
        .bind(&new.version)
        .bind(&new.author)
        .bind(&new.email)
        .bind(&new.meta)
        .bind(&new.tags)
        .bind(new.is_standard)
        .bind(&new.source)
        .bind(&new.checksum)
        .bind(&new.runtime_deps)
        .bind(sqlx::types::Json(&new.dependencies))
        .bind(&new.conf_schema)
        .bind(&new.environment_config)
        .bind(sqlx::types::Json(&new.declared_keys))
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Makes a pack or brings it to this definition; its id and configuration stay.
    pub async fn put(executor: impl PgExecutor<'_>, new: &NewPack) -> Result<Pack> {
        let row = sqlx::query_as(
            "insert into attune.pack (
                 ref, label, description, version, author, email, meta, tags, is_standard, source, checksum,
                 runtime_deps, dependencies, conf_schema, environment_config, declared_keys
             )
             values ($1, $2, $3, $4, $5, $6, coalesce($7, '{}'), $8, $9, $10, $11, $12, $13, coalesce($14, '{}'),
                     coalesce($15, '{}'), $16)
             on conflict on constraint pack_ref_key do update
             set label = excluded.label, description = excluded.description, version = excluded.version,
                 author = excluded.author, email = excluded.email, meta = excluded.meta, tags = excluded.tags,
                 is_standard = excluded.is_standard, source = excluded.source, checksum = excluded.checksum,
                 runtime_deps = excluded.runtime_deps,
                 dependencies = excluded.dependencies, conf_schema = excluded.conf_schema,
                 environment_config = excluded.environment_config, declared_keys = excluded.declared_keys
             returning *",
        )
        .bind(&new.r#ref)
        .bind(&new.label)
        .bind(&new.description)
        .bind(&new.version)
        .bind(&new.author)
        .bind(&new.email)
        .bind(&new.meta)
        .bind(&new.tags)
        .bind(new.is_standard)
        .bind(&new.source)
        .bind(&new.checksum)
        .bind(&new.runtime_deps)
        .bind(sqlx::types::Json(&new.dependencies))
        .bind(&new.conf_schema)
        .bind(&new.environment_config)
        .bind(sqlx::types::Json(&new.declared_keys))
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Changes a pack; None leaves a column as it is.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &PackUpdate) -> Result<Pack> {
        let changed = sqlx::query_as(
            "update attune.pack
             set label = coalesce($2, label), description = coalesce($3, description),
                 version = coalesce($4, version), author = coalesce($5, author), email = coalesce($6, email),
                 conf_schema = coalesce($7, conf_schema), config = coalesce($8, config), meta = coalesce($9, meta),
                 tags = coalesce($10, tags)
             where id = $1 and ($11::timestamptz is null or updated = $11)
             returning *",
        )
        .bind(id)
        .bind(&update.label)
        .bind(&update.description)
        .bind(&update.version)
        .bind(&update.author)
        .bind(&update.email)
        .bind(&update.conf_schema)
        .bind(&update.config)
        .bind(&update.meta)
        .bind(&update.tags)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// Makes installations and removals take turns until the transaction ends, also those of packs that do not exist yet
    /// and so have no row to lock.
    pub async fn take_turn(connection: &mut PgConnection) -> Result<()> {
        sqlx::query("select pg_advisory_xact_lock(hashtext('attune.pack'))").execute(connection).await?;
        Ok(())
    }

    /// What outside of the pack uses something of it that is not among the refs to be kept.
    pub async fn dependents(
        executor: impl PgExecutor<'_>,
        pack: i64,
        kept: &[String],
    ) -> Result<Vec<Dependent>> {
        let rows = sqlx::query_as(
            "select 'rule' as entity, rule.ref, rule.pack_ref, 'trigger' as target_entity, trigger.ref as target
             from attune.rule
             join attune.trigger on trigger.id = rule.trigger
             where trigger.pack = $1 and rule.pack is distinct from $1 and trigger.ref <> all($2)
             union all
             select 'rule', rule.ref, rule.pack_ref, 'action', action.ref
             from attune.rule
             join attune.action on action.id = rule.action
             where action.pack = $1 and rule.pack is distinct from $1 and action.ref <> all($2)
             union all
             select 'action', action.ref, action.pack_ref, 'runtime', runtime.ref
             from attune.action
             join attune.runtime on runtime.id = action.runtime
             where runtime.pack = $1 and action.pack is distinct from $1 and runtime.ref <> all($2)
             union all
             select 'sensor', sensor.ref, sensor.pack_ref, 'runtime', runtime.ref
             from attune.sensor
             join attune.runtime on runtime.id = sensor.runtime
             where runtime.pack = $1 and sensor.pack is distinct from $1 and runtime.ref <> all($2)
             union all
             select 'sensor', sensor.ref, sensor.pack_ref, 'trigger', trigger.ref
             from attune.sensor
             join attune.trigger on trigger.ref = any(sensor.trigger_refs)
             where trigger.pack = $1 and sensor.pack is distinct from $1 and trigger.ref <> all($2)
             union all
             select 'queue', work_queue.ref, work_queue.pack_ref, 'action', action.ref
             from attune.work_queue
             join attune.action on action.id = work_queue.action
             where action.pack = $1 and work_queue.pack is distinct from $1 and action.ref <> all($2)
             union all
             select 'policy', policy.ref, policy.pack_ref, 'action', action.ref
             from attune.policy
             join attune.action on action.ref = policy.action_ref
             where action.pack = $1 and policy.pack is distinct from $1 and action.ref <> all($2)
             order by 1, 2, 4, 5
             limit 1000",
        )
        .bind(pack)
        .bind(kept)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// A pack that declares the key with this ref as a secret, if one does.
    pub async fn declaring_secret(executor: impl PgExecutor<'_>, key_ref: &str) -> Result<Option<String>> {
        let pack = sqlx::query_scalar(
            "select ref from attune.pack
             where declared_keys
                   @> jsonb_build_array(jsonb_build_object('ref', $1::text, 'secret', true, 'only_named', false))
             order by ref
             limit 1",
        )
        .bind(key_ref)
        .fetch_optional(executor)
        .await?;
        Ok(pack)
    }

    /// The configuration of a pack; None for one without settings.
    pub async fn configuration(
        executor: impl PgExecutor<'_>,
        pack: i64,
    ) -> Result<Option<PackConfiguration>> {
        let row = sqlx::query_as(
            "select ref, conf_schema, environment_config, config
             from attune.pack
             where id = $1 and conf_schema <> '{}'",
        )
        .bind(pack)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// Replaces all files of a pack.
    pub async fn replace_files(connection: &mut PgConnection, pack: i64, files: &[PackFile]) -> Result<()> {
        sqlx::query("delete from attune.pack_file where pack = $1")
            .bind(pack)
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "insert into attune.pack_file (pack, path, content, executable)
             select $1, file.* from unnest($2::text[], $3::bytea[], $4::boolean[]) as file (path, content, executable)",
        )
        .bind(pack)
        .bind(files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>())
        .bind(files.iter().map(|f| f.content.as_slice()).collect::<Vec<_>>())
        .bind(files.iter().map(|f| f.executable).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        Ok(())
    }

    /// The content of a file of the pack with this ref, if there are both.
    pub async fn file(executor: impl PgExecutor<'_>, pack_ref: &str, path: &str) -> Result<Option<Vec<u8>>> {
        let content = sqlx::query_scalar(
            "select file.content
             from attune.pack
             join attune.pack_file file on file.pack = pack.id
             where pack.ref = $1 and file.path = $2",
        )
        .bind(pack_ref)
        .bind(path)
        .fetch_optional(executor)
        .await?;
        Ok(content)
    }

    /// The files of a pack, by path, with the checksum they belong to: both from one snapshot.
    pub async fn files(connection: &mut PgConnection, pack: i64) -> Result<(Option<String>, Vec<PackFile>)> {
        #[derive(sqlx::FromRow)]
        struct Row {
            checksum: Option<String>,
            path: Option<String>,
            content: Option<Vec<u8>>,
            executable: Option<bool>,
        }
        let rows: Vec<Row> = sqlx::query_as(
            "select pack.checksum, file.path, file.content, file.executable
             from attune.pack
             left join attune.pack_file file on file.pack = pack.id
             where pack.id = $1
             order by file.path",
        )
        .bind(pack)
        .fetch_all(connection)
        .await?;
        let checksum = match rows.first() {
            Some(row) => row.checksum.clone(),
            None => return Err(StoreError::not_found("pack", pack)),
        };
        let files = rows
            .into_iter()
            .filter_map(|row| {
                Some(PackFile { path: row.path?, content: row.content?, executable: row.executable? })
            })
            .collect();
        Ok((checksum, files))
    }
}
